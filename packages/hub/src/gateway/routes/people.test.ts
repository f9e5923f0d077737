/** Claims about members, groups, roles and what is one's own, over HTTP: who may, and what comes of it at once. */
import { decodeInvite, joinTokenOf } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { joinScriptedDevice, warmModel } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { addMember } from '../../people/members.ts';

interface Told {
  readonly status: number;
  readonly body: never;
}

let door: TestDoor;
let steward: string;
beforeAll(async () => {
  door = await openTestDoor('jacobean');
  steward = (await door.hub.keys.create({ territory: door.hub.territory.id, role: 'steward', actor: 'test' })).key;
});
afterAll(() => door.close());

async function ask(key: string, method: string, path: string, body?: object): Promise<Told> {
  const response = await fetch(door.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as never };
}

/** Somebody with a role, and a key of her own that may do whatever she may. */
async function person(name: string, role: string): Promise<{ readonly id: string; readonly key: string }> {
  const { db, audit, territory, keys } = door.hub;
  const deps = { clock: systemClock, random: nodeRandom, audit };
  const order = { territory: territory.id, actor: 'test', name, role };
  const { id } = await db.transaction().execute((transaction) => addMember(transaction, deps, order));
  const { key } = await keys.create({ territory: territory.id, role, person: id, actor: id });
  return { id, key };
}
const messageOf = ({ body }: Told): string => (body as { error: { message: string } }).error.message;

test.each(['Ada\u200b', 'Ada\u202e', 'A\u001b[31mda', 'A\nda', 'A\u2028da'])('nothing is called %j', async (name) => {
  const { key } = await person(`Bea ${name.length} ${name.codePointAt(1)} ${name.codePointAt(3)}`, 'member');
  const publicKey = Buffer.from(nodeRandom.bytes(32)).toString('base64url');
  for (const [asker, path, body] of [
    [key, '/api/keys/own', { role: 'caller', name }],
    [steward, '/api/keys', { role: 'caller', name }],
    [steward, '/api/stewards', { name, key: publicKey }],
    [steward, '/api/models', { name, manifest: 'bafyreia2pc6ospjrvferyxv3z25sxowki4cqkl7zaxitlhdggri5xmtm3q' }],
    [steward, '/api/providers', { name, issuer: 'https://example.test', clientId: 'x' }],
  ] as const)
    expect(await ask(asker, 'POST', path, body)).toMatchObject({
      status: 400,
      body: { error: { param: 'name', message: expect.stringContaining('cannot be seen') as string } },
    });
  expect(await ask(steward, 'PATCH', '/api/territory', { name })).toMatchObject({ status: 400 });
});

test('a member asks with a key of her own until she is suspended, and again when she is resumed', async () => {
  const ada = await person('Ada', 'member');
  const made = await ask(ada.key, 'POST', '/api/keys/own', { role: 'caller', name: 'notebook' });
  expect(made).toMatchObject({ status: 201, body: { role: 'caller', expiresAt: null } });
  const { key } = made.body as { key: string };
  const mayList = async (): Promise<number> => (await ask(key, 'GET', '/v1/models')).status;
  expect(await mayList()).toBe(200);
  expect(await ask(steward, 'POST', `/api/members/${ada.id}/suspend`)).toMatchObject({ body: { state: 'suspended' } });
  expect(await mayList()).toBe(403);
  expect(await ask(steward, 'POST', `/api/members/${ada.id}/resume`)).toMatchObject({ body: { state: 'active' } });
  expect(await mayList()).toBe(200);
  expect(await ask(steward, 'DELETE', `/api/members/${ada.id}`)).toMatchObject({ body: { name: 'Ada', keys: 2 } });
  expect(await mayList()).toBe(401);
});

test('a group of a role is a role, at once, and no longer than the group', async () => {
  const ben = await person('Ben', 'caller');
  const group = (await ask(steward, 'POST', '/api/groups', { name: 'auditors' })).body as { id: string };
  const subject = { kind: 'group', id: group.id };
  const bound = await ask(steward, 'POST', '/api/bindings', { subject, role: 'auditor', expiresInSeconds: 3_600 });
  expect(bound).toMatchObject({ status: 201, body: { subject: { name: 'auditors' }, scope: { kind: 'territory' } } });
  expect(await ask(steward, 'PUT', `/api/groups/${group.id}/members/${ben.id}`)).toMatchObject({ status: 204 });
  // His key was made for a caller, and stays one.
  expect((await ask(ben.key, 'GET', '/api/members')).status).toBe(403);
  const order = { territory: door.hub.territory.id, role: 'auditor', person: ben.id, actor: ben.id };
  const { key } = await door.hub.keys.create(order);
  expect((await ask(key, 'GET', '/api/members')).status).toBe(200);
  expect(await ask(key, 'GET', '/api/bindings?role=auditor')).toMatchObject({ body: [{ subject: { kind: 'group' } }] });
  expect((await ask(key, 'DELETE', `/api/groups/${group.id}`)).status).toBe(403);
  expect((await ask(steward, 'DELETE', `/api/groups/${group.id}`)).status).toBe(204);
  expect((await ask(key, 'GET', '/api/members')).status).toBe(403);
});

test('who may edit roles does not edit her way up', async () => {
  const permissions = ['manageRoles', 'bindRole', 'manageGroups', 'manageMembers', 'createKey', 'readPeople'];
  expect(await ask(steward, 'POST', '/api/roles', { name: 'desk', permissions })).toMatchObject({ status: 201 });
  const eve = await person('Eve', 'desk');
  const higher = [
    ['PUT', '/api/roles/desk', { permissions: [...permissions, 'readAudit'] }],
    ['PUT', '/api/roles/steward', { permissions: [] }],
    ['POST', '/api/roles', { name: 'master', permissions: ['revokeDevice'] }],
    ['POST', '/api/roles', { name: 'st3ward', permissions: [] }],
    ['POST', '/api/bindings', { subject: { kind: 'person', id: eve.id }, role: 'steward' }],
    ['POST', '/api/bindings', { subject: { kind: 'person', id: eve.id }, role: 'auditor', expiresInSeconds: 1 }],
    [
      'POST',
      '/api/bindings',
      { subject: { kind: 'person', id: eve.id }, role: 'steward', scope: { kind: 'pool', id: 'lab' } },
    ],
    ['POST', '/api/keys', { role: 'steward' }],
    ['POST', '/api/keys', { role: 'caller' }],
    ['POST', '/api/keys/own', { role: 'steward' }],
  ] as const;
  for (const [method, path, body] of higher) {
    expect([400, 403, 409], `${method} ${path}`).toContain((await ask(eve.key, method, path, body)).status);
  }
  const told = await ask(eve.key, 'PUT', '/api/roles/desk', { permissions: [...permissions, 'readAudit'] });
  expect(messageOf(told)).toMatch(/you do not hold readAudit in the whole territory.*ask a steward/);
  expect(await ask(steward, 'GET', '/api/roles/desk')).toMatchObject({ body: { permissions: permissions.toSorted() } });
  // Less is hers to give.
  expect(await ask(eve.key, 'POST', '/api/roles', { name: 'reader', permissions: ['readPeople'] })).toMatchObject({
    status: 201,
  });
  expect((await ask(eve.key, 'POST', '/api/keys', { role: 'reader' })).status).toBe(201);
});

test('everybody may know who she is; what she may do is what the policy says', async () => {
  const cyn = await person('Cyn', 'lender');
  const me = await ask(cyn.key, 'GET', '/api/me');
  expect(me).toMatchObject({
    status: 200,
    body: {
      kind: 'key',
      name: 'Cyn',
      person: cyn.id,
      territory: door.hub.territory.name && { id: door.hub.territory.id },
    },
  });
  const { may } = me.body as { may: string[] };
  expect(may).toEqual(expect.arrayContaining(['readSelf', 'listOwnDevices', 'inviteOwnDevice']));
  expect(may).not.toContain('answer');
  expect((await ask(steward, 'GET', '/api/me')).body).toMatchObject({ kind: 'key', person: null, communities: [] });
  await ask(steward, 'POST', '/api/roles', { name: 'bystander', permissions: [] });
  const dan = await person('Dan', 'bystander');
  expect((await ask(dan.key, 'GET', '/api/me')).body).toMatchObject({
    name: 'Dan',
    roles: [{}, { role: 'bystander' }],
  });
});

test("a device that joins with a lender's own invite is hers to see and to take back", async () => {
  const fay = await person('Fay', 'lender');
  const gus = await person('Gus', 'lender');
  expect((await ask(steward, 'POST', '/api/invites/own', {})).status).toBe(403);
  expect((await ask(fay.key, 'POST', '/api/invites/own', { uses: 1_000 })).status).toBe(400);
  const invite = await ask(fay.key, 'POST', '/api/invites/own', {});
  expect(invite.status).toBe(201);
  const { secret } = decodeInvite((invite.body as { token: string }).token);
  const device = await joinScriptedDevice({
    accept: (channel) => door.hub.local.accept(channel),
    territory: door.hub.territory.publicKey,
    clock: systemClock,
    random: nodeRandom,
    crypto: nodeCrypto,
    joinToken: joinTokenOf(secret),
    status: { models: [warmModel(door.model.cid)] },
  });
  await device.joined;
  const mine = async (key: string): Promise<{ id: string; state: string }[]> =>
    (await ask(key, 'GET', '/api/devices/own')).body;
  const [listed] = await mine(fay.key);
  expect(listed).toMatchObject({ state: 'ready', tier: 'member', territory: { id: door.hub.territory.id } });
  expect(await mine(gus.key)).toEqual([]);
  const path = `/api/devices/own/${listed?.id ?? ''}`;
  expect((await ask(gus.key, 'DELETE', path)).status).toBe(404);
  expect((await ask(fay.key, 'POST', `${path}/drain`)).status).toBe(204);
  expect(await mine(fay.key)).toMatchObject([{ state: 'draining' }]);
  expect((await ask(fay.key, 'DELETE', path)).status).toBe(204);
  expect(await mine(fay.key)).toEqual([]);
  await expect.poll(() => door.hub.sessions.get(listed?.id ?? '')).toBeUndefined();
});

test('an invite may be for a member, and for nobody who is none', async () => {
  const hal = await person('Hal', 'lender');
  expect((await ask(steward, 'POST', '/api/invites', { for: hal.id })).status).toBe(201);
  expect((await ask(steward, 'POST', '/api/invites', { for: `per_${'a'.repeat(26)}` })).status).toBe(404);
});

test('names that steer a terminal or a log are refused', async () => {
  const ivy = await person('Ivy', 'member');
  for (const name of ['a\nb', '\u001b[2J', 'x\u202ey', '', 'y'.repeat(300)]) {
    expect((await ask(steward, 'PATCH', `/api/members/${ivy.id}`, { name })).status, JSON.stringify(name)).toBe(400);
  }
  expect(await ask(steward, 'PATCH', `/api/members/${ivy.id}`, { name: ' Ivy  II ' })).toMatchObject({
    body: { name: 'Ivy II' },
  });
  expect(await ask(steward, 'GET', `/api/members?name=${encodeURIComponent('Ivy II')}`)).toMatchObject({
    body: [{ id: ivy.id, roles: ['member'] }],
  });
  expect(await ask(steward, 'GET', `/api/members/${ivy.id}`)).toMatchObject({
    body: { keys: 1, devices: 0, groups: [] },
  });
});
