/**
 * Who is signed in to other communities of this hub, by sessions that one browser or program holds beside its own.
 *
 * They prove somebody to be a person of those communities, and nothing here: what comes of it is asked of
 * `people/proved.ts`. Each is looked at as its own community would, so one that ended, or is of somebody who is
 * suspended there, proves nothing. Nobody is told of communities but who shows a session of them.
 */
import { codeOf, messageOf } from '@idlewild/protocol';
import { hasOthers, openAmong } from '../people/communities.ts';
import type { Speaker, Speakers } from '../people/proved.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import type { Newcomers } from './newcomers.ts';
import { hashOf, isSecret } from './secret-texts.ts';
import { createPersonSessions, type PersonSessionsDeps, type SessionFacts } from './sessions.ts';

export interface SignedInElsewhere extends Speaker {
  /** Of the community. */
  readonly community: string;
  /** What she is called there. */
  readonly name: string;
  readonly session: SessionFacts;
}

/** All that one browser or program shows of one person. */
export interface PersonElsewhere {
  readonly person: string;
  readonly sessions: readonly [SignedInElsewhere, ...SignedInElsewhere[]];
  /** Why she may not join here as herself. */
  readonly refusal?: string | undefined;
}

export interface Elsewhere {
  /** The same by person. */
  people(tokens: readonly string[]): Promise<PersonElsewhere[]>;
  /** In the order of their tokens; what is no session of another community that is open is left out. */
  of(tokens: readonly string[]): Promise<SignedInElsewhere[]>;
  /** `undefined` in a hub of one community; else those among these, in which somebody was signed in, that are open. */
  places(territories: readonly string[]): Promise<readonly OtherCommunity[] | undefined>;
}

export interface OtherCommunity {
  readonly id: string;
  readonly name: string;
}

export interface ElsewhereDeps extends PersonSessionsDeps {
  readonly newcomers: Pick<Newcomers, 'requireNewHere'>;
}

export function createElsewhere(deps: ElsewhereDeps, territory: string): Elsewhere {
  const { db, crypto, newcomers } = deps;

  async function placeOf(token: string): Promise<OtherCommunity | undefined> {
    const hash = await hashOf(token, crypto);
    // No territory here: this is where it is found out.
    const row = await db
      .selectFrom('person_sessions')
      .select('territory_id')
      .where('hash', '=', hash)
      .where('territory_id', '!=', territory)
      .executeTakeFirst();
    return row === undefined ? undefined : (await openAmong(db, [row.territory_id]))[0];
  }

  async function look(token: string): Promise<SignedInElsewhere | undefined> {
    if (!isSecret('session', token)) return undefined;
    const place = await placeOf(token);
    if (place === undefined) return undefined;
    try {
      const { principal, session, name } = await createPersonSessions(deps, place.id).authenticate(token);
      const { passkey, isOwn } = session;
      return { territory: place.id, community: place.name, person: principal.personId, passkey, isOwn, name, session };
    } catch (error) {
      if (codeOf(error) === 'unauthenticated') return undefined;
      throw error;
    }
  }

  async function of(tokens: readonly string[]): Promise<SignedInElsewhere[]> {
    const found: SignedInElsewhere[] = [];
    for (const token of [...new Set(tokens)].slice(0, SIGN_IN_LIMITS.sessionsElsewhereMax)) {
      const one = await look(token);
      if (one !== undefined) found.push(one);
    }
    return found;
  }

  async function refusalOf(sessions: Speakers): Promise<string | undefined> {
    try {
      await newcomers.requireNewHere(db, sessions);
      return undefined;
    } catch (error) {
      if (codeOf(error) !== 'forbidden' && codeOf(error) !== 'conflict') throw error;
      return messageOf(error);
    }
  }

  return {
    of,
    async places(territories) {
      if (!(await hasOthers(db, territory))) return undefined;
      return openAmong(db, [...new Set(territories)].slice(0, SIGN_IN_LIMITS.sessionsElsewhereMax));
    },
    async people(tokens) {
      const byPerson = Map.groupBy(await of(tokens), ({ person }) => person);
      const found: PersonElsewhere[] = [];
      for (const [person, [first, ...rest]] of byPerson) {
        if (first === undefined) continue;
        const sessions = [first, ...rest] as const;
        found.push({ person, sessions, refusal: await refusalOf(sessions) });
      }
      return found;
    },
  };
}
