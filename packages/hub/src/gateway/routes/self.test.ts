/** Who lends in two communities of one hub sees and takes back her devices in both, through either one's door. */
import { createMemoryBlobStore, joinTokenOf } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets, secretsOf } from '../../identity/secrets.ts';
import { insertTerritory, makeTerritoryKey } from '../../identity/territory.ts';
import { silentLog } from '../../log.ts';
import { addMember } from '../../people/members.ts';
import { joinScriptedDevice } from '../../testing/scripted-device.ts';
import { aloneAt, testMetrics } from '../../testing/test-door.ts';
import { createHubServer } from '../hub-server.ts';

/** Two territories of one process, the first behind a door that knows the other. */
async function twoHubs(): Promise<{ readonly home: Hub; readonly library: Hub; readonly url: string }> {
  const database = await openDatabase({ file: ':memory:', clock: systemClock });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const secrets = createMemorySecrets();
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto, log: silentLog };
  const metrics = testMetrics(() => home);
  const deps = { ...ports, database, store, secrets, meter: metrics.meter };
  const home: Hub = await createHub(deps);
  const key = await makeTerritoryKey(ports, (id) => secretsOf(secrets, id));
  await database.db
    .transaction()
    .execute((transaction) =>
      insertTerritory(transaction, { ...ports, audit: home.audit }, { ...key, name: 'library' }, 'test'),
    );
  const library: Hub = await createHub({ ...deps, territory: key.id });
  let url = '';
  const elsewhere = (territory: string): Hub | undefined => (territory === key.id ? library : undefined);
  const app = await createHubServer({ ...aloneAt(home, database, () => url), ...ports, metrics, hub: home, elsewhere });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => {
    await Promise.all([home.stop(), library.stop()]);
    await app.close();
    await database.close();
  });
  return { home, library, url };
}

const admit = ({ db, audit, territory }: Hub, name: string, person?: string): Promise<{ readonly id: string }> =>
  db
    .transaction()
    .execute((transaction) =>
      addMember(
        transaction,
        { clock: systemClock, random: nodeRandom, audit },
        { territory: territory.id, role: 'lender', actor: 'test', name, person },
      ),
    );

async function admitPasskey({ db, territory }: Hub, person: string): Promise<string> {
  const row = {
    id: `pky_${territory.name}`,
    territory_id: territory.id,
    person_id: person,
    credential_id: 'her phone',
    public_key: new Uint8Array(77),
    counter: 0,
    transports_json: '[]',
    name: '',
    is_synced: 0,
    created_at_ms: 0,
    used_at_ms: null,
  } as const;
  await db.insertInto('passkeys').values(row).execute();
  return row.id;
}

async function lend({ invites, local, territory }: Hub, person: string): Promise<void> {
  const order = { territory: territory.id, uses: 1, expiresInMs: 60_000, createdBy: person, person };
  const { secret } = await invites.create(order);
  const device = await joinScriptedDevice({
    accept: (channel) => local.accept(channel),
    territory: territory.publicKey,
    clock: systemClock,
    random: nodeRandom,
    crypto: nodeCrypto,
    joinToken: joinTokenOf(secret),
    status: { models: [] },
  });
  await device.joined;
}

test('a lender signed in to one community sees what she lends to another, and takes it back', async () => {
  const { home, library, url } = await twoHubs();
  const { id } = await admit(home, 'Ada');
  await admit(library, 'Ada of the library', id);
  const other = await admit(library, 'Ben');
  await lend(home, id);
  await lend(library, id);
  await lend(library, other.id);
  const ask = async (token: string, method: string, path: string): Promise<{ status: number; body: never }> => {
    const answer = await fetch(url + path, { method, headers: { authorization: `Bearer ${token}` } });
    const text = await answer.text();
    return { status: answer.status, body: (text === '' ? null : JSON.parse(text)) as never };
  };
  // Her passkey is one in both; a session by a link would speak for one of them.
  await admitPasskey(library, id);
  const order = { person: id, kind: 'program', via: 'passkey', isOwn: true, label: 'test' } as const;
  const passkey = await admitPasskey(home, id);
  const { token } = await home.db
    .transaction()
    .execute((transaction) => home.signIn.sessions.open(transaction, { ...order, passkey }));
  const mine = async (): Promise<{ id: string; territory: { id: string; name: string }; state: string }[]> =>
    (await ask(token, 'GET', '/api/devices/own')).body;
  expect((await mine()).map(({ territory, state }) => [territory.id, state]).sort()).toEqual(
    [
      [home.territory.id, 'ready'],
      [library.territory.id, 'ready'],
    ].sort(),
  );
  expect((await ask(token, 'GET', '/api/me')).body).toMatchObject({
    communities: expect.arrayContaining([
      { id: library.territory.id, name: 'library', called: 'Ada of the library', state: 'active' },
    ]),
  });
  const there = (await mine()).find(({ territory }) => territory.id === library.territory.id);
  const path = `/api/devices/own/${there?.id ?? ''}`;
  expect((await ask(token, 'POST', `${path}/drain?territory=${library.territory.id}`)).status).toBe(204);
  expect((await ask(token, 'DELETE', path)).status).toBe(204);
  expect(library.sessions.get(there?.id ?? '')).toBeUndefined();
  expect(await mine()).toHaveLength(1);
  expect([...library.sessions.list()]).toHaveLength(1);
  expect((await library.audit.list({ territory: library.territory.id }))[0]).toMatchObject({
    actor: id,
    action: 'leaveDevice',
  });
  // While she is suspended at home, too, her devices are hers, and nothing else is.
  const { id: homely } = (await mine())[0] ?? { id: '' };
  await home.people.members.suspend({ territory: home.territory.id, id, actor: 'test' });
  await expect.poll(async () => (await ask(token, 'GET', '/api/models')).status).toBe(401);
  expect((await mine()).map((device) => device.id)).toEqual([homely]);
  expect((await ask(token, 'GET', '/api/me')).body).toMatchObject({ state: 'suspended' });
  expect((await ask(token, 'POST', '/api/invites/own')).status).toBe(401);
  expect((await ask(token, 'POST', `/api/devices/own/${homely}/drain`)).status).toBe(204);
  await home.db.updateTable('members').set({ state: 'active' }).where('person_id', '=', id).execute();
  home.versions.stale();
  // A key of hers is of its own community alone.
  const { key } = await home.keys.create({ territory: home.territory.id, role: 'lender', person: id, actor: id });
  expect((await ask(key, 'GET', '/api/devices/own')).body).toMatchObject([{ territory: { id: home.territory.id } }]);
});
