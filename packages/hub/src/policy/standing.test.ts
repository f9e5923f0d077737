/** Whatever right it rests on: what runs ends within a second when that goes, on every replica, also without a bus. */
import { newId } from '@idlewild/protocol';
import { nodeRandom, systemClock } from '@idlewild/protocol/node';
import { sql } from 'kysely';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { DatabaseTransaction } from '../db/schema.ts';
import type { Hub } from '../hub.ts';
import { touchPeople } from '../people/versions.ts';
import { testDatabases } from '../testing/databases.ts';
import { watchLostTime } from '../testing/lost-time.ts';
import { openStandingWorld } from './testing/standing-world.ts';

const [, postgres] = await testDatabases();
const WITHIN_MS = 1_000;

interface Setting {
  readonly hub: Hub;
  readonly territory: string;
  readonly key: string;
  readonly person: string;
  readonly project: string;
  readonly model: string;
  change(write: (transaction: DatabaseTransaction) => Promise<unknown>): Promise<void>;
}

const act = { actor: 'test', why: 'a test' };
const TAKEN: readonly (readonly [string, string, (setting: Setting) => Promise<unknown>])[] = [
  [
    'a revoked key',
    'unauthenticated',
    ({ hub, territory, key }) => hub.keys.revoke({ territory, id: key, actor: 'test' }),
  ],
  [
    'a taken role',
    'forbidden',
    ({ territory, person, change }) =>
      change((tx) =>
        tx.deleteFrom('bindings').where('territory_id', '=', territory).where('subject_id', '=', person).execute(),
      ),
  ],
  [
    'a suspended member',
    'forbidden',
    ({ territory, person, change }) =>
      change((tx) =>
        tx
          .updateTable('members')
          .set({ state: 'suspended' })
          .where('territory_id', '=', territory)
          .where('person_id', '=', person)
          .execute(),
      ),
  ],
  [
    'a changed policy',
    'forbidden',
    ({ territory, change }) =>
      change((tx) =>
        tx
          .insertInto('policies')
          .values({
            territory_id: territory,
            name: 'now',
            text: '@id("x") forbid (principal, action == Action::"answer", resource);',
            version: 1,
            changed_at_ms: 0,
            changed_by: 'test',
          })
          .execute(),
      ),
  ],
  ['a closed project', 'forbidden', ({ hub, project }) => hub.projects.close(project, 'test')],
  [
    'a stopped model',
    'model_stopped',
    ({ hub, model }) => hub.policyDesk.stopModel(model, { ...act, name: 'jacobean' }),
  ],
];

describe.skipIf(postgres === undefined)('on three replicas over PostgreSQL, of which two hear nothing', () => {
  async function open() {
    const world = await openStandingWorld({ databases: (await postgres?.openShared(3)) ?? [] });
    onTestFinished(() => world.stop());
    const [hub] = world.hubs as [Hub];
    const territory = hub.territory.id;
    const person = newId('per', nodeRandom);
    await hub.db.insertInto('people').values({ id: person, name: 'Ada', created_at_ms: 0 }).execute();
    const member = {
      territory_id: territory,
      person_id: person,
      name: 'Ada',
      state: 'active',
      joined_at_ms: 0,
    } as const;
    await hub.db.insertInto('members').values(member).execute();
    const bind = async (expiresAtMs: number | null): Promise<void> => {
      const scope = { scope_kind: 'territory', scope_id: '', created_at_ms: 0, created_by: 'test' } as const;
      const subject = { subject_kind: 'person', subject_id: person, role: 'caller' } as const;
      const id = newId('bnd', nodeRandom);
      await hub.db
        .insertInto('bindings')
        .values({ ...scope, ...subject, id, territory_id: territory, expires_at_ms: expiresAtMs })
        .execute();
    };
    const maker = { kind: 'person', personId: person, territory, session: 'sis_test', name: 'Ada' } as const;
    const order = { name: 'maps', purpose: 'education', description: '', maker, actor: 'test' };
    const { id: project } = await hub.projects.create(order);
    const { id, key } = await hub.keys.create({ territory, role: 'caller', person, project, actor: 'test' });
    const change: Setting['change'] = (write) =>
      hub.db.transaction().execute(async (transaction) => {
        await write(transaction);
        await touchPeople(transaction, territory);
      });
    return { world, bind, key, setting: { hub, territory, key: id, person, project, model: world.model, change } };
  }

  test.each(TAKEN)('%s ends every stream', async (_, code, take) => {
    const { world, bind, key, setting } = await open();
    await bind(null);
    const streams = await world.stream(key);
    const lost = watchLostTime(() => sql`select 1`.execute(setting.hub.db));
    const beganAtMs = systemClock.monotonic();
    await take(setting);
    for (const { ended } of streams) {
      const end = await ended;
      expect(end).toMatchObject({ code });
      expect(end.atMs - beganAtMs - lost.between(beganAtMs, end.atMs)).toBeLessThan(WITHIN_MS);
    }
  });

  test('a role that expires ends every stream, though nothing is written', async () => {
    const { world, bind, key, setting } = await open();
    const lost = watchLostTime(() => sql`select 1`.execute(setting.hub.db));
    const endsAtMs = systemClock.monotonic() + 2_500;
    await bind(Date.now() + 2_500);
    const streams = await world.stream(key);
    for (const { ended } of streams) {
      const end = await ended;
      expect(end).toMatchObject({ code: 'forbidden' });
      expect(end.atMs - endsAtMs).toBeGreaterThan(-WITHIN_MS / 2);
      expect(end.atMs - endsAtMs - lost.between(endsAtMs, end.atMs)).toBeLessThan(WITHIN_MS);
    }
  });

  test('what may go on goes on, however much changes around it', async () => {
    const { world, bind, key, setting } = await open();
    await bind(null);
    const streams = await world.stream(key);
    for (let i = 0; i < 5; i++)
      await setting.hub.keys.create({ territory: setting.territory, role: 'caller', actor: 'test' });
    const over = Promise.race(streams.map(({ ended }) => ended));
    const late = new Promise((resolve) => setTimeout(resolve, WITHIN_MS, 'still there'));
    expect(await Promise.race([over, late])).toBe('still there');
  });
});
