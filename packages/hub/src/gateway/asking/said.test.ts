/** Claims about what requests say of their texts, and what stewards say of devices, over HTTP. */
import { signDeviceVouch, wellKnownKey, type DataClass } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ScriptedDevice } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let steward: string;
let device: ScriptedDevice;
let deviceId: string;
const DAY_MS = 86_400_000;
const lends = { v: 2, classes: ['public', 'internal', 'confidential'], causes: [], refused: ['betting'], gpu: 'never' };

beforeAll(async () => {
  door = await openTestDoor('tiny');
  steward = await keyOf('steward');
});
afterAll(() => door.close());
beforeEach(async () => {
  await door.empty();
  device = await door.join(() => ({ tokens: ['ay'] }), { consent: lends });
  deviceId = (await device.joined).device;
});

const keyOf = async (role: 'steward' | 'caller', dataClass?: DataClass): Promise<string> => {
  const order = { territory: door.hub.territory.id, role, actor: 'test' };
  return (await door.hub.keys.create({ ...order, ...(dataClass === undefined ? {} : { dataClass }) })).key;
};
const ask = (path: string, body: object, headers: Record<string, string> = {}, key = door.key): Promise<Response> =>
  fetch(door.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'tiny', ...body }),
  });
const chat = (headers: Record<string, string> = {}, key = door.key): Promise<Response> =>
  ask('/v1/chat/completions', { messages: [{ role: 'user', content: 'so?' }] }, headers, key);
const call = (method: string, path: string, body?: object): Promise<Response> =>
  fetch(door.url + path, {
    method,
    headers: {
      authorization: `Bearer ${steward}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
/** Newest first, without the notes of who used what. */
const acts = async () =>
  (await door.hub.audit.list({ territory: door.hub.territory.id })).filter(({ action }) => action !== 'used');
const orders = () => device.heard.filter((message) => message.t === 'answer');

test.each([
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 'so?' }] }],
  ['/v1/completions', { prompt: 'so' }],
  ['/v1/responses', { input: 'so?' }],
])('class and purpose of a request to %s reach its device, and are written down', async (path, body) => {
  const said = { 'Idlewild-Data-Class': 'public', 'Idlewild-Purpose': 'climate' };
  const open = await keyOf('caller', 'public');
  expect((await ask(path, body, said, open)).status).toBe(200);
  expect(orders()).toMatchObject([{ dataClass: 'public', cause: 'climate' }]);
  const row = await door.hub.db
    .selectFrom('requests')
    .select(['data_class', 'cause'])
    .where('territory_id', '=', door.hub.territory.id)
    .orderBy('created_at_ms', 'desc')
    .executeTakeFirst();
  expect(row).toEqual({ data_class: 'public', cause: 'climate' });
});

test('who says nothing asks as the key is for', async () => {
  await call('PATCH', `/api/devices/${deviceId}`, { tier: 'vetted' });
  for (const dataClass of ['public', 'internal', 'confidential'] as const)
    expect((await chat({}, await keyOf('caller', dataClass))).status).toBe(200);
  expect(orders().map((order) => order.dataClass)).toEqual(['public', 'internal', 'confidential']);
});

test('a request may be more delicate than its key, and never less', async () => {
  const internal = await keyOf('caller', 'internal');
  await call('PATCH', `/api/devices/${deviceId}`, { tier: 'vetted' });
  expect((await chat({ 'Idlewild-Data-Class': 'confidential' }, internal)).status).toBe(200);
  const refused = await chat({ 'Idlewild-Data-Class': 'public' }, internal);
  expect(refused.status).toBe(400);
  const { error } = (await refused.json()) as { error: { message: string; param: string } };
  expect(error.message).toMatch(/this key is for internal data/);
  expect(error.param).toBe('Idlewild-Data-Class');
  expect(orders()).toHaveLength(1);
});

test.each([
  ['Idlewild-Data-Class', 'secret'],
  ['Idlewild-Data-Class', ''],
  ['Idlewild-Purpose', 'Not a slug'],
  ['Idlewild-Purpose', 'x'.repeat(65)],
])('a header %s that says "%s" is refused by name', async (name, value) => {
  const refused = await chat({ [name]: value });
  expect(refused.status).toBe(400);
  expect(((await refused.json()) as { error: { param: string } }).error.param).toBe(name);
  expect(orders()).toEqual([]);
});

test('who gets no device is told which may not see it, and a purpose that lenders refuse finds none', async () => {
  const secret = await chat({ 'Idlewild-Data-Class': 'confidential' });
  expect(secret.status).toBe(503);
  expect(await secret.text()).toMatch(/it may not see confidential data: 1 is only a member's/);
  const betting = await chat({ 'Idlewild-Purpose': 'betting' });
  expect(await betting.text()).toMatch(/1's lender refuses work for \\"betting\\"/);
  expect(orders()).toEqual([]);
});

test('who gets no device by a policy of the community is told which, as its explanation would tell', async () => {
  const readText = 'action == Action::"readText"';
  const forbid = `@id("quiet") forbid (principal, ${readText}, resource) unless { principal == Tier::"own" };`;
  expect((await call('PUT', '/api/policy', { policies: [{ name: 'texts', text: forbid }] })).status).toBe(200);
  const refused = await chat();
  expect(refused.status).toBe(503);
  const { error } = (await refused.json()) as { error: { message: string; code: string; details: object } };
  expect(error).toMatchObject({ code: 'no_device', details: { decidedBy: ['texts/quiet'] } });
  expect(error.message).toContain(
    '1 device holds this model; it may not see internal data: ' +
      '1 is only a member\'s, which "texts/quiet" forbids; a steward can change that: idlewild policy show texts',
  );
  const explained = await ask('/api/policy/explain', { action: 'answer', class: 'internal', model: undefined });
  expect(await explained.text()).toContain('texts/quiet');
  expect((await call('DELETE', '/api/policy/texts')).status).toBe(200);
  // Where it is the community's usual rule, nothing is said of policies.
  const usual = (await (await chat({ 'Idlewild-Data-Class': 'confidential' })).json()) as { error: object };
  expect(usual.error).not.toHaveProperty('details');
});

test('an invite into a pool needs the pool, and the right to put devices into it', async () => {
  const { hub } = door;
  const { id: territory } = hub.territory;
  const invite = (pool: string, key = steward): Promise<Response> =>
    ask('/api/invites', { pool, model: undefined }, {}, key);
  const typo = await invite('lbas');
  expect([typo.status, await typo.text()]).toEqual([404, expect.stringContaining('there is no pool')]);
  expect((await call('PUT', `/api/devices/${deviceId}/pools/labs`)).status).toBe(204);
  expect((await invite('labs')).status).toBe(201);
  expect((await invite('Labs')).status).toBe(400);
  const { id: actor } = await hub.keys.create({ territory, role: 'steward', actor: 'test' });
  await hub.people.roles.create({ territory, name: 'inviter', permissions: ['createInvite'], actor });
  const { key } = await hub.keys.create({ territory, role: 'inviter', actor });
  // The role is known within half a second.
  await expect.poll(async () => (await ask('/api/invites', { model: undefined }, {}, key)).status).toBe(201);
  expect((await invite('labs', key)).status).toBe(403);
});

test('an Idempotency-Key names a question with its class: asked for other eyes it is another', async () => {
  await call('PATCH', `/api/devices/${deviceId}`, { tier: 'vetted' });
  const named = { 'Idempotency-Key': 'once' };
  expect((await chat({ ...named, 'Idlewild-Data-Class': 'confidential' })).status).toBe(200);
  expect((await chat({ ...named, 'Idlewild-Data-Class': 'confidential' })).headers.get('idempotent-replayed')).toBe(
    'true',
  );
  const other = await chat(named);
  expect(other.status).toBe(409);
  expect(await other.text()).toMatch(/idempotency_conflict/);
});

test('stewards say a tier and pools, and everybody who may see the device sees them', async () => {
  const shown = async (): Promise<unknown> => (await call('GET', `/api/devices/${deviceId}`)).json();
  expect(await shown()).toMatchObject({ tier: 'member', person: null, pools: [], vouchedUntil: null });
  expect((await call('PATCH', `/api/devices/${deviceId}`, { tier: 'public' })).status).toBe(204);
  expect((await call('PUT', `/api/devices/${deviceId}/pools/labs`)).status).toBe(204);
  expect(await shown()).toMatchObject({ tier: 'public', pools: ['labs'], lends: { refused: ['betting'] } });
  expect((await call('DELETE', `/api/devices/${deviceId}/pools/labs`)).status).toBe(204);
  expect((await call('DELETE', `/api/devices/${deviceId}/pools/labs`)).status).toBe(404);
  expect((await call('PATCH', `/api/devices/${deviceId}`, { tier: 'own' })).status).toBe(400);
  expect((await call('PATCH', `/api/devices/${deviceId}`, {})).status).toBe(400);
  const asCaller = await fetch(`${door.url}/api/devices/${deviceId}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json' },
    body: '{"tier":"vetted"}',
  });
  expect(asCaller.status).toBe(403);
});

test('an invite says what devices become that join with it', async () => {
  const made = await call('POST', '/api/invites', { tier: 'public' });
  expect(made.status).toBe(201);
  expect((await acts())[0]).toMatchObject({ action: 'createInvite', details: { tier: 'public' } });
});

test('a steward’s word is kept when one of the list signed it, and shown no more when she is off it', async () => {
  const key = await nodeCrypto.signingKey(new Uint8Array(32).fill(7));
  const impostor = await nodeCrypto.signingKey(new Uint8Array(32).fill(8));
  const nowMs = Date.now();
  const vouch = {
    territory: door.hub.territory.publicKey,
    device: device.key.publicKey,
    tier: 'vetted' as const,
    issuedAtMs: nowMs,
    expiresAtMs: nowMs + 90 * DAY_MS,
  };
  const put = async (signer: typeof key, said = vouch): Promise<Response> => {
    const chain = [wellKnownKey(await signDeviceVouch(said, signer, nodeCrypto))];
    return call('PUT', `/api/devices/${deviceId}/vouch`, { chain });
  };
  const shown = async () =>
    ((await (await call('GET', `/api/devices/${deviceId}`)).json()) as { vouchedUntil: string | null }).vouchedUntil;
  expect((await put(key)).status).toBe(400);
  const added = await call('POST', '/api/stewards', { name: 'ada', key: wellKnownKey(key.publicKey) });
  expect(added.status).toBe(201);
  const { id } = (await added.json()) as { id: string };
  expect((await put(impostor)).status).toBe(400);
  expect((await put(key, { ...vouch, device: key.publicKey })).status).toBe(400);
  expect(await shown()).toBeNull();
  expect((await put(key)).status).toBe(200);
  expect(await shown()).toBe(new Date(vouch.expiresAtMs).toISOString());
  const kept = (await door.hub.vouches.of(door.hub.territory.id, [deviceId])).get(deviceId);
  expect(kept?.chain).toEqual([await signDeviceVouch(vouch, key, nodeCrypto)]);
  expect(await (await call('GET', '/api/stewards')).json()).toMatchObject([{ id, name: 'ada', removedAt: null }]);
  expect((await call('DELETE', `/api/stewards/${id}`)).status).toBe(204);
  expect(await shown()).toBeNull();
  expect((await put(key)).status).toBe(400);
  expect((await call('POST', '/api/stewards', { name: 'ada', key: wellKnownKey(key.publicKey) })).status).toBe(409);
  // Denials and uses are noted some time later, between them.
  const noted = ['denied', 'used'];
  const actions = (await acts()).map(({ action }) => action).filter((action) => !noted.includes(action));
  expect(actions.slice(0, 3)).toEqual(['addSteward', 'vouchDevice', 'addSteward']);
});
