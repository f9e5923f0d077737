/** Signing in to a territory of a test's own: all rooms over an empty database, a steward's key and a fake clock. */
import { createSeededRandom, createFakeClock } from '@idlewild/protocol/testing';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createAudit } from '../../audit/audit.ts';
import type { OpenDatabase } from '../../db/open.ts';
import type { KeyPrincipal } from '../../identity/principal.ts';
import { createKeys } from '../../identity/keys.ts';
import { silentLog } from '../../log.ts';
import { createSignIn, type SignInDeps } from '../sign-in.ts';
import { addTerritories } from '../../testing/territories.ts';

export const TERRITORY = 'ter_a';
export const OTHER_TERRITORY = 'ter_b';

export async function openWorld(
  open: (clock: ReturnType<typeof createFakeClock>) => Promise<OpenDatabase>,
  { seed = 1, ...more }: Partial<Pick<SignInDeps, 'resolve'>> & { readonly seed?: number } = {},
) {
  const clock = createFakeClock(async () => {});
  const database = await open(clock);
  const { db } = database;
  await addTerritories(db, TERRITORY, OTHER_TERRITORY);
  const random = createSeededRandom(seed);
  const audit = createAudit({ db, crypto: nodeCrypto, clock });
  const deps = { database, crypto: nodeCrypto, random, clock, audit, log: silentLog, key: new Uint8Array(32), ...more };
  const signIn = await createSignIn(deps, TERRITORY);
  const keys = createKeys({ db, crypto: nodeCrypto, random, clock, audit });
  const keyOf = async (role: string): Promise<KeyPrincipal> => {
    const { id } = await keys.create({ territory: TERRITORY, role, actor: 'test' });
    return { kind: 'key', keyId: id, territory: TERRITORY, role, name: '', dataClass: 'internal' };
  };
  const steward = await keyOf('steward');
  return {
    ...signIn,
    signIn,
    db,
    clock,
    audit,
    keys,
    keyOf,
    steward,
    elsewhere: await createSignIn(deps, OTHER_TERRITORY),
    /** A further one, with a steward's key. */
    async community(id: string) {
      await addTerritories(db, id);
      const made = await keys.create({ territory: id, role: 'steward', actor: 'test' });
      const by: KeyPrincipal = {
        kind: 'key',
        keyId: made.id,
        territory: id,
        role: 'steward',
        name: '',
        dataClass: 'internal',
      };
      return { ...(await createSignIn(deps, id)), by };
    },
    /** A new member, signed in by an invitation. */
    async member(name: string, role = 'member') {
      const { code } = await signIn.links.invite({ by: steward, name, role, groups: [] });
      const session = await signIn.links.redeem(code, { kind: 'browser', label: 'a browser' });
      return { session, signedIn: await signIn.sessions.authenticate(session.token) };
    },
    async acts(): Promise<string[]> {
      return (await audit.list({ territory: TERRITORY })).map(({ action }) => action);
    },
  };
}
export type World = Awaited<ReturnType<typeof openWorld>>;
