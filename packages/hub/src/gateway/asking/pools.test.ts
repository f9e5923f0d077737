/** Claims about roles that are bound to a pool, over HTTP: who answers, who is listed, what may be changed. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

interface Told {
  readonly status: number;
  readonly body: never;
}
interface Keyed {
  readonly id: string;
  readonly key: string;
}
type Name = 'ada' | 'bea' | 'eve';

let door: TestDoor;
let steward: string;
const devices = new Map<Name, string>();
const answered: string[] = [];

beforeAll(async () => {
  door = await openTestDoor('jacobean');
  const { hub } = door;
  steward = (await hub.keys.create({ territory: hub.territory.id, role: 'steward', actor: 'test' })).key;
  for (const name of ['ada', 'bea', 'eve'] as const) {
    const device = await door.join(
      () => {
        answered.push(name);
        return { tokens: ['well', ' met'] };
      },
      { name },
    );
    devices.set(name, (await device.joined).device);
  }
  for (const [name, pool] of [
    ['ada', 'lab'],
    ['bea', 'attic'],
  ] as const)
    await ask(steward, 'PUT', `/api/devices/${devices.get(name)}/pools/${pool}`);
  const permissions = ['listDevices', 'showDevice', 'drainDevice', 'tierDevice', 'poolDevice'];
  await ask(steward, 'POST', '/api/roles', { name: 'caretaker', permissions });
  await ask(steward, 'POST', '/api/roles', { name: 'guest', permissions: ['listModels'] });
});
afterAll(() => door.close());

async function ask(key: string, method: string, path: string, body?: object): Promise<Told> {
  const response = await fetch(door.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') === true;
  return { status: response.status, body: (isJson ? JSON.parse(text) : text) as never };
}

/** A key whose own role permits to list models, with these roles on pools. */
async function guest(...bound: readonly (readonly [role: string, pool: string])[]): Promise<Keyed> {
  const { hub } = door;
  const made = await hub.keys.create({ territory: hub.territory.id, role: 'guest', actor: 'test' });
  for (const [role, pool] of bound) await bind(made.id, role, pool);
  return made;
}
async function bind(key: string, role: string, pool: string): Promise<string> {
  const order = { subject: { kind: 'key', id: key }, role, scope: { kind: 'pool', id: pool } };
  const told = await ask(steward, 'POST', '/api/bindings', order);
  expect(told).toMatchObject({ status: 201 });
  return (told.body as { id: string }).id;
}
const chat = (key: string, more: object = {}): Promise<Told> =>
  ask(key, 'POST', '/v1/chat/completions', {
    model: 'jacobean',
    messages: [{ role: 'user', content: 'Hail' }],
    ...more,
  });
const answeredBy = async (work: () => Promise<unknown>): Promise<string[]> => {
  answered.length = 0;
  await work();
  return [...new Set(answered)].sort();
};

test('a right on a pool is answered by its devices alone: whole, streamed, in several choices', async () => {
  const { key } = await guest(['caller', 'lab']);
  expect(await answeredBy(async () => expect(await chat(key)).toMatchObject({ status: 200 }))).toEqual(['ada']);
  expect(await answeredBy(() => chat(key, { stream: true }))).toEqual(['ada']);
  expect(await answeredBy(() => chat(key, { n: 4 }))).toEqual(['ada']);
  expect(answered).toHaveLength(4);
});

test('on two pools it is answered by devices of both, and by no others', async () => {
  const { key } = await guest(['caller', 'lab'], ['caller', 'attic']);
  expect(await answeredBy(() => Promise.all(Array.from({ length: 8 }, () => chat(key))))).toEqual(['ada', 'bea']);
});

test('who may nowhere is refused, who may on an empty pool learns why nobody answers', async () => {
  const none = await guest();
  expect(await chat(none.key)).toMatchObject({ status: 403, body: { error: { code: 'forbidden' } } });
  const { id, key } = await guest(['caller', 'cellar']);
  expect(await chat(key)).toMatchObject({
    status: 503,
    body: {
      error: { message: expect.stringContaining('3 are not of the pool cellar, whose devices alone may answer') },
    },
  });
  const said = await ask(key, 'POST', '/api/policy/explain', { action: 'answer', on: 'jacobean' });
  const message = expect.stringContaining('for devices of the pool cellar only');
  expect(said).toMatchObject({ body: { isAllowed: true, pools: ['cellar'], message } });
  const held = await bind(id, 'caller', 'lab');
  expect(await chat(key)).toMatchObject({ status: 200 });
  expect(await ask(steward, 'DELETE', `/api/bindings/${held}`)).toMatchObject({ status: 204 });
  expect(await chat(key)).toMatchObject({ status: 503 });
});

test('a role on a pool shows and changes its devices alone', async () => {
  const { key } = await guest(['caretaker', 'lab']);
  const at = (name: Name, path = ''): string => `/api/devices/${devices.get(name)}${path}`;
  expect(await ask(key, 'GET', '/api/devices')).toMatchObject({ status: 200, body: [{ name: 'ada', pools: ['lab'] }] });
  expect(await ask(steward, 'GET', '/api/devices')).toMatchObject({ body: { length: 3 } });
  expect(await ask((await guest()).key, 'GET', '/api/devices')).toMatchObject({ status: 403 });
  expect(await ask(key, 'GET', at('ada'))).toMatchObject({ status: 200 });
  expect(await ask(key, 'PATCH', at('ada'), { tier: 'vetted' })).toMatchObject({ status: 204 });
  for (const name of ['bea', 'eve'] as const) {
    expect(await ask(key, 'GET', at(name))).toMatchObject({ status: 403 });
    expect(await ask(key, 'POST', at(name, '/drain'))).toMatchObject({ status: 403 });
    expect(await ask(key, 'PATCH', at(name), { tier: 'vetted' })).toMatchObject({ status: 403 });
    expect(await ask(key, 'PUT', at(name, '/pools/lab'))).toMatchObject({ status: 403 });
  }
  // Neither out of her pool nor into her own power.
  expect(await ask(key, 'PUT', at('ada', '/pools/attic'))).toMatchObject({ status: 403 });
  expect(await ask(key, 'DELETE', at('bea', '/pools/attic'))).toMatchObject({ status: 403 });
  const both = await guest(['caretaker', 'lab'], ['caretaker', 'cellar']);
  expect(await ask(both.key, 'PUT', at('ada', '/pools/cellar'))).toMatchObject({ status: 403 });
  expect(await ask(steward, 'PUT', at('ada', '/pools/attic'))).toMatchObject({ status: 204 });
  expect(await ask(key, 'DELETE', at('ada', '/pools/attic'))).toMatchObject({ status: 403 });
  expect(await ask(steward, 'DELETE', at('ada', '/pools/attic'))).toMatchObject({ status: 204 });
});

test('who puts a device into a pool holds on it all that somebody has on the pool, or she gave it away', async () => {
  const { hub } = door;
  const permissions = ['poolDevice', 'listDevices'];
  await ask(steward, 'POST', '/api/roles', { name: 'sorter', permissions });
  const { id, key } = await hub.keys.create({ territory: hub.territory.id, role: 'sorter', actor: 'test' });
  const eve = `/api/devices/${devices.get('eve')}/pools`;
  expect(await ask(key, 'PUT', `${eve}/shelf`)).toMatchObject({ status: 204 });
  await bind(id, 'caretaker', 'porch');
  const refused = await ask(key, 'PUT', `${eve}/porch`);
  expect(refused).toMatchObject({
    status: 403,
    body: { error: { details: { lacked: expect.arrayContaining(['tierDevice']) } } },
  });
  await bind(id, 'caretaker', 'shelf');
  // She holds it there now, by the pool that it is in.
  expect(await ask(key, 'PUT', `${eve}/porch`)).toMatchObject({ status: 204 });
});

test('what forbids in a pool forbids there however its name is written', async () => {
  const text = `@id("no-vault") forbid (principal, action == Action::"poolDevice", resource)
    when { resource.pools.contains("vault") };`;
  const policy = { policies: [{ name: 'vault', text }], why: 'nobody moves anything there' };
  expect(await ask(steward, 'PUT', '/api/policy', policy)).toMatchObject({ status: 200 });
  const eve = devices.get('eve');
  for (const pool of ['vault', ' vault', 'ｖａｕｌｔ', 'ⓥault']) {
    const told = await ask(steward, 'PUT', `/api/devices/${eve}/pools/${encodeURIComponent(pool)}`);
    expect([pool, told.status]).toEqual([pool, 403]);
  }
  const { body } = await ask(steward, 'GET', `/api/devices/${eve}`);
  expect((body as { pools: string[] }).pools).not.toContain('vault');
  expect(await ask(steward, 'DELETE', '/api/policy/vault')).toMatchObject({ status: 200 });
});
