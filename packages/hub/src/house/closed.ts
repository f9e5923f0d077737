/**
 * What members of a closed community are told where their keys and sessions are known nowhere any more: that it is
 * closed, and how it may come back.
 *
 * Looked for only where somebody was refused as unknown. Whoever shows nothing that would work if the community were
 * open, a revoked key or the session of a suspended member for one, is told what strangers are told.
 */
import { hash } from 'node:crypto';
import { IdlewildError, SECRET_PREFIXES, holdsSecret, type Clock } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { createCookies } from '../gateway/sign-in/cookies.ts';
import { idleMsOf } from '../sign-in/sessions.ts';
import { territoryIn } from '../gateway/door/territory-path.ts';

export interface ClosedCommunities {
  /** The session that a browser keeps for the community that a path names, whether it is one or not. */
  cookieFor(path: string, cookies: string | undefined): string | undefined;
  /** `undefined` where the secret is of no closed community, or would not work there either. */
  refusalOf(secret: string): Promise<IdlewildError | undefined>;
}

export interface ClosedDeps {
  readonly db: Database;
  /** The database's time. */
  readonly clock: Pick<Clock, 'now'>;
  /** Whether browsers reach the hub over TLS. */
  readonly isSecure: () => boolean;
}

export function createClosedCommunities({ db, clock, isSecure }: ClosedDeps): ClosedCommunities {
  /** No territory here: this is where it is found out. */
  const ofKey = (digest: string) =>
    db
      .selectFrom('keys')
      .innerJoin('territories', 'territories.id', 'keys.territory_id')
      .select(['territories.id', 'territories.name', 'territories.closed_at_ms', 'keys.expires_at_ms'])
      .where('keys.hash', '=', digest)
      .where('keys.revoked_at_ms', 'is', null)
      .where('territories.closed_at_ms', 'is not', null)
      .executeTakeFirst();
  const ofSession = (digest: string) =>
    db
      .selectFrom('person_sessions as session')
      .innerJoin('territories', 'territories.id', 'session.territory_id')
      .innerJoin('members as member', (join) =>
        join
          .onRef('member.territory_id', '=', 'session.territory_id')
          .onRef('member.person_id', '=', 'session.person_id'),
      )
      .select(['territories.id', 'territories.name', 'territories.closed_at_ms'])
      .select(['session.kind', 'session.seen_at_ms', 'session.expires_at_ms'])
      .where('session.hash', '=', digest)
      .where('session.ended_at_ms', 'is', null)
      .where('member.state', '=', 'active')
      .where('territories.closed_at_ms', 'is not', null)
      .executeTakeFirst();

  return {
    cookieFor(path, cookies) {
      const { territory } = territoryIn(path);
      return territory === undefined ? undefined : createCookies(territory, isSecure).read(cookies, 'session');
    },
    async refusalOf(secret) {
      if (!holdsSecret(secret)) return undefined;
      const digest = hash('sha256', secret);
      const found = await (secret.startsWith(SECRET_PREFIXES.session) ? ofSession(digest) : ofKey(digest));
      if (found === undefined || endOf(found) <= clock.now()) return undefined;
      const since = new Date(found.closed_at_ms ?? 0).toISOString();
      return new IdlewildError(
        'community_closed',
        `the community ${JSON.stringify(found.name)} (${found.id}) is closed on this hub since ${since}, and all ` +
          'that it had is kept; ask whoever runs the hub to open it again, or its stewards whether it moved',
      );
    },
  };
}

type Ending =
  | { readonly expires_at_ms: number | null }
  | { readonly expires_at_ms: number; readonly seen_at_ms: number; readonly kind: 'browser' | 'program' };

function endOf(found: Ending): number {
  const end = found.expires_at_ms ?? Number.POSITIVE_INFINITY;
  return 'kind' in found ? Math.min(end, found.seen_at_ms + idleMsOf(found.kind)) : end;
}
