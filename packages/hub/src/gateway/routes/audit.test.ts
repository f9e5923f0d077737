/** The audit log through a hub's HTTP door: what is in it, and that what comes out of it verifies. */
import { openAuditHead, verifyConsistency, verifyEntryProof, fromHex } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { transact } from '../../db/transact.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let auditor: string;
let territory: string;

beforeAll(async () => {
  door = await openTestDoor('jacobean');
  territory = door.hub.territory.id;
  auditor = (await door.hub.keys.create({ territory, role: 'auditor', actor: 'test' })).key;
});
afterAll(() => door.close());

const ask = (path: string, key: string | null = auditor, method = 'GET'): Promise<Response> =>
  fetch(door.url + path, { method, headers: key === null ? {} : { authorization: `Bearer ${key}` } });
async function get<Body>(path: string): Promise<Body> {
  const response = await ask(path);
  const body = (await response.json()) as Body;
  expect(response.status, JSON.stringify(body)).toBe(200);
  return body;
}

interface Listed {
  readonly intact: boolean;
  readonly signed: { readonly entries: number } | null;
  readonly entries: readonly {
    readonly seq: number;
    readonly actor: string;
    readonly action: string;
    readonly subject: string;
    readonly details: Readonly<Record<string, unknown>>;
  }[];
}
const list = (): Promise<Listed> => get<Listed>('/api/audit');
const noted = async (action: string): Promise<[string, unknown, unknown][]> =>
  (await list()).entries
    .filter((entry) => entry.action === action)
    .map(({ actor, details }) => [actor, details.route, details.code]);

test('who used a route with which key is noted, and what was refused to whom, and never what was asked', async () => {
  const { hub } = door;
  const made = await hub.keys.create({ territory, role: 'caller', actor: 'test' });
  const gone = await hub.keys.create({ territory, role: 'steward', actor: 'test' });
  await hub.keys.revoke({ territory, id: gone.id, actor: 'test' });
  expect((await ask('/v1/models', made.key)).status).toBe(200);
  expect((await ask('/api/keys/key_of-somebody', made.key, 'DELETE')).status).toBe(403);
  expect((await ask(`/api/keys/${gone.id}`, made.key, 'DELETE')).status).toBe(403);
  expect((await ask('/api/status?secret=words', gone.key)).status).toBe(401);
  expect((await ask('/api/status', `iw_${'a'.repeat(52)}`)).status).toBe(401);
  expect((await ask('/no/such/words', null)).status).toBe(401);
  for (let id = 0; id < 8; id++) {
    const madeUp = `key_${'abcdefgh'[id]?.repeat(26)}`;
    expect((await ask(`/api/keys/${madeUp}`, `iw_${'a'.repeat(52)}`, 'DELETE')).status).toBe(401);
  }
  await expect.poll(() => noted('used')).toContainEqual([made.id, 'GET /v1/models', undefined]);
  const denied = await noted('denied');
  expect(denied).toContainEqual([made.id, 'DELETE /api/keys/:id', 'forbidden']);
  expect(denied).toContainEqual([gone.id, 'GET /api/status', 'unauthenticated']);
  expect(denied).toContainEqual(['stranger', 'GET /api/status', 'unauthenticated']);
  expect(denied).toContainEqual(['stranger', 'GET no such route', 'unauthenticated']);
  // Ids that a stranger made up are not told apart.
  expect(denied.filter(([actor, route]) => actor === 'stranger' && route === 'DELETE /api/keys/:id')).toHaveLength(1);
  const { entries } = await list();
  expect(entries.filter(({ action }) => action === 'denied').map(({ subject }) => subject)).toContain(gone.id);
  expect(JSON.stringify(entries)).not.toContain('words');
  expect(JSON.stringify(entries)).not.toContain('somebody');
});

test('a caller may not read the log, a steward and an auditor may', async () => {
  const paths = ['', '/entries', '/heads', '/proof?seq=1', '/consistency?from=1'].map((path) => `/api/audit${path}`);
  const steward = (await door.hub.keys.create({ territory, role: 'steward', actor: 'test' })).key;
  for (const path of [...paths, '/api/audit/report?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z']) {
    expect((await ask(path, door.key)).status).toBe(403);
    expect((await ask(path, steward)).status).toBe(200);
    expect((await ask(path)).status).toBe(200);
  }
});

test('what is asked for of the log is found by who, what, on what and when, page by page', async () => {
  const actor = 'per_looked_for';
  for (const subject of ['key_one', 'key_two', 'key_three'])
    await transact(door.hub.db, (transaction) =>
      door.hub.audit.append(transaction, { territory, actor, action: 'limitKey', subject }),
    );
  type Page = Listed & { readonly next: number | null; readonly last: number; readonly actions?: readonly string[] };
  const found = async (query: string): Promise<[string[], Page]> => {
    const page = await get<Page>(`/api/audit?${query}`);
    expect(page.intact).toBe(true);
    return [page.entries.map(({ subject }) => subject), page];
  };
  const [two, { next }] = await found(`actor=${actor}&limit=2`);
  expect(two).toEqual(['key_three', 'key_two']);
  const [one, { next: end, last }] = await found(`actor=${actor}&limit=2&beforeSeq=${next}`);
  expect([one, end]).toEqual([['key_one'], null]);
  expect(last).toBeGreaterThanOrEqual(next ?? 0);
  expect((await found('action=limit*&order=oldest&limit=1'))[0]).toEqual(['key_one']);
  expect((await found(`subject=key_one&subject=key_two&action=limitKey&actor=${actor}`))[0]).toEqual([
    'key_two',
    'key_one',
  ]);
  expect((await found(`actor=${actor}&since=2100-01-01T00:00:00Z`))[0]).toEqual([]);
  expect((await found(`actor=${actor}&until=2000-01-01T00:00:00Z`))[0]).toEqual([]);
  const [none, { actions }] = await found('action=no.such');
  expect([none, actions]).toEqual([[], expect.arrayContaining(['createKey', 'limitKey'])]);
  const wrong = ['since=yesterday', 'limit=0', 'limit=201', 'order=any', 'actor=', `actor=${'a'.repeat(129)}`, 'x=1'];
  for (const query of wrong) expect([query, (await ask(`/api/audit?${query}`)).status]).toEqual([query, 400]);
});

test('heads and proofs that the door gives verify by the key of the community', async () => {
  interface Heads {
    readonly territory: { readonly id: string; readonly key: string };
    readonly heads: readonly { readonly size: number; readonly statement: string; readonly certificate: string }[];
  }
  const before = await get<Heads>('/api/audit/heads');
  expect(before.territory).toMatchObject({ id: territory });
  const key = fromHex(before.territory.key);
  const openHead = async ({ statement, certificate }: Heads['heads'][0]) =>
    openAuditHead({ statement: fromHex(statement), certificate: fromHex(certificate) }, key, nodeCrypto);
  const first = await openHead(before.heads.at(-1) as Heads['heads'][0]);
  expect(first.size).toBeGreaterThan(2);
  await door.hub.keys.create({ territory, role: 'caller', actor: 'test' });
  await get('/api/audit/heads');

  const proof = await get('/api/audit/proof?seq=2');
  expect(await verifyEntryProof(proof, nodeCrypto, territory)).toMatchObject({ entry: { seq: 2 } });
  const grown = await get<{ head: Heads['heads'][0]; path: string[] }>(`/api/audit/consistency?from=${first.size}`);
  const second = await openHead(grown.head);
  expect(second.size).toBeGreaterThan(first.size);
  const claim = { first: first.size, firstRoot: first.root, second: second.size, secondRoot: second.root };
  expect(await verifyConsistency({ ...claim, path: grown.path.map(fromHex) }, nodeCrypto)).toBe(true);
  expect((await ask('/api/audit/proof?seq=100000')).status).toBe(404);
  expect((await ask('/api/audit/proof?seq=0')).status).toBe(400);
});

test('a log that was changed behind the hub is shown as such', async () => {
  const { db } = door.hub;
  expect(await list()).toMatchObject({ intact: true });
  const at = db.updateTable('audit').where('territory_id', '=', territory).where('seq', '=', 2);
  const { subject } = await db.selectFrom('audit').select('subject').where('seq', '=', 2).executeTakeFirstOrThrow();
  await at.set({ subject: 'key_x' }).execute();
  expect(await list()).toMatchObject({ intact: false, brokenAt: 2, why: 'entry 2 was changed' });
  await at.set({ subject }).execute();
  expect(await list()).toMatchObject({ intact: true });
});

test('the transparency report counts what was asked, denied and done, and names nobody', async () => {
  const [from, to] = [Date.now() - 86_400_000, Date.now() + 1_000].map((ms) => new Date(ms).toISOString());
  const { hub } = door;
  const { id: key_id } = await hub.keys.create({ territory, role: 'caller', actor: 'test' });
  const row = { territory_id: territory, key_id, model_cid: 'bafy', prompt_tokens: 1, answer_tokens: 1, failovers: 0 };
  await hub.db
    .insertInto('requests')
    .values([
      { ...row, id: 'req_1', state: 'done', reason: null, created_at_ms: Date.now(), finished_at_ms: 1, exact: 1 },
      { ...row, id: 'req_2', state: 'failed', reason: 'no_device', created_at_ms: Date.now(), exact: 1 },
      { ...row, id: 'req_3', state: 'failed', reason: 'no_device', created_at_ms: 5, exact: 1 },
    ])
    .execute();
  const suspension = { territory, actor: 'key_x', action: 'suspendMember', subject: 'per_x' };
  await transact(hub.db, (transaction) => hub.audit.append(transaction, suspension));
  const today = Math.floor(Date.now() / 86_400_000);
  await hub.db
    .insertInto('refusals')
    .values([
      { territory_id: territory, day: today, reason: 'use:topic', count: 3 },
      { territory_id: territory, day: today - 1, reason: 'use:topic', count: 2 },
      { territory_id: territory, day: today - 9, reason: 'use:topic', count: 100 },
    ])
    .execute();
  const refused = {
    territory_id: territory,
    actor: key_id,
    person_id: null,
    reason: 'use:topic',
    model: 'm',
    at_ms: 1,
  };
  const appeal = { territory_id: territory, actor: key_id, words: 'please', due_at_ms: 1, created_at_ms: Date.now() };
  const decided = { decided_by: null, decided_at_ms: null, note: null };
  for (const [at, state] of (['reversed', 'open', 'reversed'] as const).entries()) {
    const of = { id: `ref_${at}` };
    await hub.db
      .insertInto('refused')
      .values({ ...refused, ...of })
      .execute();
    await hub.db
      .insertInto('appeals')
      .values({ ...appeal, ...decided, id: `app_${at}`, refused_id: of.id, state })
      .execute();
  }
  const report = await get<Record<string, Record<string, unknown>>>(`/api/audit/report?from=${from}&to=${to}`);
  expect(report).toMatchObject({
    community: { id: territory },
    requests: { total: 2, byState: { done: 1, failed: 1, cancelled: 0, open: 0 }, byReason: { no_device: 1 } },
    refusals: { 'use:topic': 5 },
    appeals: { filed: 3, reversed: 2, open: 1, upheld: 0, withdrawn: 0 },
    denials: { forbidden: expect.any(Number), unauthenticated: expect.any(Number) },
    keys: { revoked: 1 },
    energy: { wattHours: { measured: 0, modelled: 0 }, receipts: { measured: 0, modelled: 0, without: 0 }, untold: 1 },
    members: { admitted: 0, removed: 0, suspended: 1 },
    log: { entries: expect.any(Number) },
  });
  expect(report.acts).not.toHaveProperty('used');
  expect(JSON.stringify(report)).not.toContain(key_id);
  const wrong = await ask(`/api/audit/report?from=${to}&to=${from}`);
  expect(wrong.status).toBe(400);
});

test('who was known here is named when she is refused, with the reason and whose it is, and no secret', async () => {
  const { hub } = door;
  const steward = await hub.keys.create({ territory, role: 'steward', actor: 'test' });
  const by = { kind: 'key', keyId: steward.id, territory, role: 'steward', name: '', dataClass: 'internal' } as const;
  const { code } = await hub.signIn.links.invite({ by, name: 'Ada', role: 'member', groups: [] });
  const { token, person } = await hub.signIn.links.redeem(code, { kind: 'browser', label: 'hers' });
  const own = { territory, role: 'member', person, actor: person };
  const [kept, revoked] = [await hub.keys.create(own), await hub.keys.create(own)];
  await hub.keys.revoke({ territory, id: revoked.id, actor: person });
  await hub.people.members.suspend({ territory, id: person, actor: steward.id });
  expect((await ask('/v1/models', token)).status).toBe(401);
  expect((await ask('/v1/models', kept.key)).status).toBe(403);
  const refusal = await ask('/v1/models', revoked.key);
  // Whoever found the text of a key learns from it nothing of whose it was.
  expect([refusal.status, await refusal.text()]).toEqual([401, expect.not.stringContaining(person)]);
  await hub.people.members.resume({ territory, id: person, actor: steward.id });
  await hub.signIn.sessions.end({ actor: person, person });
  expect((await ask('/v1/models', token)).status).toBe(401);
  const entries = async () =>
    (await list()).entries
      .filter(({ action, actor }) => action === 'denied' && [person, kept.id, revoked.id].includes(actor))
      .map(({ actor, details }) => [actor, details.code, details.reason, details.person]);
  const expected = [
    [person, 'unauthenticated', 'suspended', undefined],
    [kept.id, 'forbidden', 'suspended', person],
    [revoked.id, 'unauthenticated', 'revoked', person],
    [person, 'unauthenticated', 'ended', undefined],
  ];
  await expect.poll(async () => new Set(await entries())).toEqual(new Set(expected));
  const all = JSON.stringify(await list());
  for (const secret of [token, kept.key, revoked.key]) expect(all).not.toContain(secret.slice(4, 20));
});
