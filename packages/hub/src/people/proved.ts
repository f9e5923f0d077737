/**
 * For which communities of this hub a session speaks: for the one that it is of, and beyond it for those alone where
 * its person is known by the very passkey that it was opened with.
 *
 *   signed in by            here    elsewhere, as the same person       joins elsewhere as the same person
 *   a steward's link        yes     no                                  no
 *   a provider              yes     no                                  where she is nowhere else
 *   an invitation           yes     as the session she brought along    where it speaks for all her communities
 *   a passkey               yes     where this passkey is hers, too     where it speaks for all her communities
 *   a program she let in    as the session in which she did
 *
 * Whoever decides in a community how people sign in there can be any of its members there: by a link, by a provider of
 * theirs, by a passkey added after either. A passkey gets into a community only with a session or an invitation of that
 * community, so nobody is somebody in a community on the word of another one. It is asked of the database each time: a
 * passkey that was removed somewhere speaks there no longer.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import type { PersonPrincipal, Principal } from '../identity/principal.ts';
import { communitiesOf, hasOthers, type Community } from './communities.ts';

/** What of a session says for whom and by what it speaks. */
export interface Speaker {
  readonly territory: string;
  readonly person: string;
  /** Of that territory. */
  readonly passkey?: string | undefined;
  readonly isOwn: boolean;
}

/** Of one person. */
export type Speakers = readonly [Speaker, ...Speaker[]];

/** What to do about a session that does not speak for another community. */
export const HOW_TO_PROVE =
  'sign in with a passkey that you use in both communities, or sign in there; docs/sign-in.md says how';

/**
 * How much of what somebody has in this hub she is shown: `all`, for there is nothing but this community; what is
 * `here`; by a `passkey`, what is where she has that very one. Whether she is anywhere else makes no difference to it.
 */
export type Shown = 'all' | 'here' | 'passkey';

export async function shownTo(db: Database, asker: Principal): Promise<Shown> {
  if (!(await hasOthers(db, asker.territory))) return 'all';
  if (asker.kind !== 'person') return 'here';
  return (await passkeyOf(db, await speakerOf(db, asker))) === undefined ? 'here' : 'passkey';
}

/** Those of a person's communities for which a session of hers speaks; of anybody else none. */
export async function provedCommunities(db: Database, asker: Principal): Promise<Community[]> {
  if (asker.kind !== 'person') return [];
  const all = await communitiesOf(db, asker.personId);
  const { speaksFor } = await proofOf(db, await speakerOf(db, asker), all);
  return all.filter(({ id }) => speaksFor.has(id));
}

/**
 * Throws `forbidden` for sessions of one person that may not, together, make her a member of a further community: what
 * is hers alone has to speak for all that she has.
 */
export async function requireJoiner(db: Database, speakers: Speakers): Promise<void> {
  const [{ person }] = speakers;
  if (speakers.some((speaker) => speaker.person !== person)) throw new Error('sessions of several people');
  const all = await communitiesOf(db, person);
  const proofs = await Promise.all(speakers.map((speaker) => proofOf(db, speaker, all)));
  const own = proofs.filter(({ isOwn }) => isOwn);
  if (own.length === 0)
    throw new IdlewildError(
      'forbidden',
      'a link that somebody made for you, and a passkey added after it, prove who you are in their community alone; ' +
        'join as somebody new, or sign in there with a passkey or an account that you had before',
    );
  if (all.every(({ id }) => own.some(({ speaksFor }) => speaksFor.has(id)))) return;
  throw new IdlewildError(
    'forbidden',
    `you are in more communities of this hub than you are signed in to; ${HOW_TO_PROVE}, or join as somebody new`,
  );
}

async function speakerOf(db: Database, { territory, personId, session }: PersonPrincipal): Promise<Speaker> {
  const row = await db
    .selectFrom('person_sessions')
    .select(['passkey_id', 'is_own'])
    .where('territory_id', '=', territory)
    .where('id', '=', session)
    .where('person_id', '=', personId)
    .where('ended_at_ms', 'is', null)
    .executeTakeFirst();
  return { territory, person: personId, passkey: row?.passkey_id ?? undefined, isOwn: row?.is_own === 1 };
}

/** With which the session was opened; `undefined` also where it was removed since. */
async function passkeyOf(db: Database, { territory, person, passkey }: Speaker) {
  if (passkey === undefined) return undefined;
  return db
    .selectFrom('passkeys')
    .select(['credential_id', 'public_key'])
    .where('territory_id', '=', territory)
    .where('id', '=', passkey)
    .where('person_id', '=', person)
    .executeTakeFirst();
}

interface Proof {
  readonly speaksFor: ReadonlySet<string>;
  readonly isOwn: boolean;
}

/**
 * A passkey is the same one where its name and its key are: what an authenticator calls itself, anybody can claim when
 * adding one.
 */
async function proofOf(db: Database, speaker: Speaker, among: readonly Community[]): Promise<Proof> {
  const { territory, person, passkey, isOwn } = speaker;
  const here = new Set([territory]);
  if (passkey === undefined) return { speaksFor: here, isOwn };
  const mine = await passkeyOf(db, speaker);
  // Removed since: then the session is worth what this community says, and nothing elsewhere.
  if (mine === undefined) return { speaksFor: here, isOwn: false };
  const places = [territory, ...among.map(({ id }) => id)];
  const rows = await db
    .selectFrom('passkeys')
    .select('territory_id')
    .where('territory_id', 'in', places)
    .where('person_id', '=', person)
    .where('credential_id', '=', mine.credential_id)
    .where('public_key', '=', mine.public_key)
    .execute();
  return { speaksFor: new Set([territory, ...rows.map((row) => row.territory_id)]), isOwn };
}
