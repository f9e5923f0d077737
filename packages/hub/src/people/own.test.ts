/** What is one's own: seen in all of one's territories, and of nobody else. */
import { nodeCrypto } from '@idlewild/protocol/node';
import { describe, expect, test } from 'vitest';
import { createKeys } from '../identity/keys.ts';
import { testDatabases } from '../testing/databases.ts';
import { addDevice } from '../testing/device-rows.ts';
import { walled } from '../testing/territory-wall.ts';
import { createGroups } from './groups.ts';
import { createOwnDevices } from './own-devices.ts';
import { selfOf } from './self.ts';
import { createPeopleWorld, ELSEWHERE, HERE } from './testing/people-world.ts';

const THIRD = 'ter_c';
const signedIn = (personId: string, territory = HERE) =>
  ({ kind: 'person', personId, session: `sis_${personId}`, territory }) as const;

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const world = await createPeopleWorld(await walled(await open()));
    const device = (territory: string, id: string, person: string | null) =>
      addDevice(world.db, { id, territory, person, name: id.slice(4) });
    const ada = await world.add('Ada', 'lender');
    await world.add('Countess', 'member', { territory: ELSEWHERE, person: ada.id });
    const ben = await world.add('Ben', 'lender');
    // One passkey, of hers in both.
    await world.passkey(ada.id, HERE);
    await world.passkey(ada.id, ELSEWHERE);
    await world.session(ada.id, { passkey: `pky_${ada.id}_${HERE}` });
    await device(HERE, 'dev_notebook', ada.id);
    await device(ELSEWHERE, 'dev_notebook', ada.id);
    await device(ELSEWHERE, 'dev_tower', ada.id);
    await device(HERE, 'dev_other', ben.id);
    await device(HERE, 'dev_nobody', null);
    return { ...world, device, ada, ben, own: createOwnDevices(world) };
  }

  test('a lender sees her own devices in all her territories, and no other device', async () => {
    const { own, ada, ben, db } = await setUp();
    const seen = async (asker: Parameters<typeof own.list>[0]) =>
      (await own.list(asker)).map(({ id, territory }) => `${territory.id} ${id}`);
    expect(await seen(signedIn(ada.id))).toEqual([
      `${HERE} dev_notebook`,
      `${ELSEWHERE} dev_notebook`,
      `${ELSEWHERE} dev_tower`,
    ]);
    expect(await seen(signedIn(ben.id))).toEqual([`${HERE} dev_other`]);
    // A key is of one territory, and so is what it shows.
    const key = {
      kind: 'key',
      keyId: 'key_x',
      territory: HERE,
      role: 'lender',
      name: '',
      dataClass: 'internal',
    } as const;
    expect(await seen({ ...key, person: ada.id })).toEqual([`${HERE} dev_notebook`]);
    await expect(own.list(key)).rejects.toMatchObject({ code: 'forbidden' });
    // Where she is no member any more, nothing is hers; and a closed territory serves nobody.
    await db.updateTable('territories').set({ closed_at_ms: 1 }).where('id', '=', ELSEWHERE).execute();
    expect(await seen(signedIn(ada.id))).toEqual([`${HERE} dev_notebook`]);
  });

  test('she takes a device back wherever it is, also while she is suspended there; others cannot', async () => {
    const { own, ada, ben, audit, db } = await setUp();
    await expect(own.takeBack({ asker: signedIn(ben.id), id: 'dev_tower' })).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(own.drain({ asker: signedIn(ben.id), id: 'dev_notebook' })).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(own.takeBack({ asker: signedIn(ada.id), id: 'dev_notebook' })).rejects.toMatchObject({
      code: 'conflict',
    });
    await db.updateTable('members').set({ state: 'suspended' }).where('territory_id', '=', ELSEWHERE).execute();
    const there = { asker: signedIn(ada.id), id: 'dev_notebook', territory: ELSEWHERE };
    expect(await own.drain(there)).toMatchObject({ territory: { id: ELSEWHERE } });
    await own.takeBack(there);
    const rows = await db
      .selectFrom('devices')
      .select(['territory_id', 'left_at_ms'])
      .where('id', '=', 'dev_notebook')
      .orderBy('territory_id')
      .execute();
    expect(rows).toEqual([
      { territory_id: HERE, left_at_ms: null },
      { territory_id: ELSEWHERE, left_at_ms: expect.any(Number) },
    ]);
    expect(
      (await audit.list({ territory: ELSEWHERE })).map(({ actor, action }) => `${actor} ${action}`).slice(0, 2),
    ).toEqual([`${ada.id} leaveDevice`, `${ada.id} drainDevice`]);
    await expect(own.takeBack(there)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('whoever asks learns who she is, in which communities, and through what she has each role', async () => {
    const world = await setUp();
    const { ada, bind, db } = world;
    const groups = createGroups(world);
    const group = await groups.create({ territory: HERE, name: 'night', actor: 'hub' });
    const boss = await world.add('Boss', 'steward');
    await groups.add({ territory: HERE, id: group.id, person: ada.id, actor: boss.id });
    await bind(group.id, 'auditor', { scope: { kind: 'pool', id: 'lab' }, untilMs: world.clock.now() + 1 });
    await db
      .insertInto('territories')
      .values({ id: THIRD, name: THIRD, public_key: new Uint8Array(32), created_at_ms: 0 })
      .execute();
    const self = await selfOf(world, signedIn(ada.id));
    expect(self).toMatchObject({
      kind: 'person',
      id: ada.id,
      name: 'Ada',
      state: 'active',
      groups: [{ id: group.id, name: 'night' }],
      communities: [
        { id: HERE, called: 'Ada' },
        { id: ELSEWHERE, called: 'Countess' },
      ],
    });
    expect(self.roles.map(({ role, by, group: of }) => [role, by, of])).toEqual([
      ['auditor', 'group', 'night'],
      ['lender', 'person', undefined],
    ]);
    const keys = createKeys({ ...world, crypto: nodeCrypto, territory: HERE });
    const { key } = await keys.create({ territory: HERE, role: 'caller', person: ada.id, actor: ada.id });
    const byKey = await selfOf(world, await keys.authenticate(key));
    expect(byKey).toMatchObject({ kind: 'key', name: 'Ada', person: ada.id, communities: [] });
    expect(byKey.roles.map(({ role, by }) => [role, by])).toEqual([
      ['caller', 'key'],
      ['auditor', 'group'],
      ['lender', 'person'],
    ]);
  });

  test('what she is shown is said by how she signed in, and never whether there is more', async () => {
    const world = await setUp();
    const { ada, ben, db } = world;
    const shown = async (person: string): Promise<string> => (await selfOf(world, signedIn(person))).shows;
    expect(await shown(ada.id)).toBe('passkey');
    // A passkey of his that nobody elsewhere knows, and the same session without.
    await world.passkey(ben.id, HERE);
    await world.session(ben.id, { passkey: `pky_${ben.id}_${HERE}` });
    expect(await shown(ben.id)).toBe('passkey');
    await db.deleteFrom('passkeys').where('territory_id', '=', HERE).execute();
    // She is elsewhere, too, he is not.
    expect([await shown(ada.id), await shown(ben.id)]).toEqual(['here', 'here']);
    await db.updateTable('territories').set({ closed_at_ms: 1 }).where('id', '=', ELSEWHERE).execute();
    expect([await shown(ada.id), await shown(ben.id)]).toEqual(['all', 'all']);
  });
});
