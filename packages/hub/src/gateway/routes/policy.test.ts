/** Claims about policies over HTTP: how they are changed, what a refusal says, and what ends when a right is taken. */
import { systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { watchLostTime } from '../../testing/lost-time.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let steward: string;
beforeAll(async () => {
  door = await openTestDoor('jacobean');
  steward = await keyOf('steward');
  await door.publish('vectors', { kind: 'encoder', dimensions: 4 });
  await door.publish('labels', { kind: 'classifier', labels: ['a', 'b'] });
});
afterAll(() => door.close());

const keyOf = async (role: string): Promise<string> =>
  (await door.hub.keys.create({ territory: door.hub.territory.id, role, actor: 'test' })).key;
const call = (method: string, path: string, body?: unknown, key = steward, headers: object = {}): Promise<Response> =>
  fetch(door.url + path, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const json = async (answer: Promise<Response>): Promise<unknown> => (await answer).json();
const apply = (name: string, text: string, more: object = {}): Promise<Response> =>
  call('PUT', '/api/policy', { policies: [{ name, text }], ...more });
const chat = { model: 'jacobean', messages: [{ role: 'user', content: 'hello' }] };
const NO_SECRETS = `@id("no-secrets") forbid (principal, action == Action::"answer", resource)
when { context has dataClass && context.dataClass == DataClass::"confidential" };`;

test('a refusal says what decided, what would be needed, and whom to ask, also for programs', async () => {
  const answer = await call('GET', '/api/keys', undefined, door.key);
  expect(answer.status).toBe(403);
  expect(await answer.json()).toMatchObject({
    error: {
      code: 'forbidden',
      message:
        'this key (caller) may not listKeys: no policy permits it; it takes the role steward or auditor; ask a steward',
      details: { action: 'listKeys', decidedBy: [], rolesThatMay: ['steward', 'auditor'] },
    },
  });
});

test('a policy that does not hold is refused with the place, and nothing changes', async () => {
  const before = await json(call('GET', '/api/policy'));
  for (const [text, fault] of [
    ['@id("x") permit (principal action, resource);', { line: 1, column: 28 }],
    ['\n@id("x") permit (principal, action == Action::"fly", resource);', { line: 2, message: /unrecognized action/ }],
    ['@id("x") permit (principal in Role::"stewart", action, resource);', { message: /stewart/ }],
    ['@id("x") permit (principal is Key, action, resource) when { principal.colour == "red" };', { message: /colour/ }],
    ['@id("x") permit (principal, action, resource) when { context.dataClass == DataClass::"publc" };', {}],
    ['permit (principal, action, resource);', { message: /@id/ }],
    ['@id("x") permit (principal == ?principal, action, resource);', { message: /template/ }],
  ] as const) {
    const answer = await apply('odd', text);
    expect(answer.status, text).toBe(400);
    const { error } = (await answer.json()) as { error: { code: string; details: { faults: object[] } } };
    expect(error.code).toBe('policy_invalid');
    expect(
      error.details.faults.some((each) => matches(each, fault)),
      JSON.stringify(error.details),
    ).toBe(true);
  }
  expect(await json(call('GET', '/api/policy'))).toEqual(before);
});

const matches = (given: object, wanted: Record<string, unknown>): boolean =>
  Object.entries(wanted).every(([name, value]) => {
    const own = (given as Record<string, unknown>)[name];
    return value instanceof RegExp ? value.test(String(own)) : own === value;
  });

test('a policy is tried, holds from the next request on, and is taken back; all of it is written down', async () => {
  const ask = (): Promise<Response> =>
    call('POST', '/v1/chat/completions', chat, door.key, { 'idlewild-data-class': 'confidential' });
  const preview = await json(apply('quiet', NO_SECRETS, { dryRun: true }));
  expect(preview).toMatchObject({ changed: ['quiet'] });
  expect((preview as { changes: unknown[] }).changes).toContainEqual({
    who: 'role:caller',
    what: 'answer (confidential)',
    isAllowed: false,
  });
  // No device: not refused by a policy.
  expect((await ask()).status).toBe(503);
  expect((await apply('quiet', NO_SECRETS, { why: 'not on shared machines' })).status).toBe(200);
  expect(await json(ask())).toMatchObject({
    error: {
      code: 'forbidden',
      details: { decidedBy: ['quiet/no-secrets'], on: door.model.cid, dataClass: 'confidential' },
    },
  });
  expect(await json(call('GET', '/api/policy'))).toMatchObject({ own: [{ name: 'quiet', version: 1 }] });
  expect((await call('DELETE', '/api/policy/quiet?why=mistaken')).status).toBe(200);
  expect((await ask()).status).toBe(503);
  expect(await json(call('GET', '/api/policy/quiet/history'))).toMatchObject([
    { version: 2, text: null, why: 'mistaken' },
    { version: 1, text: NO_SECRETS, why: 'not on shared machines' },
  ]);
  const entries = await door.hub.audit.list({ territory: door.hub.territory.id });
  expect(entries.map(({ action }) => action)).toEqual(expect.arrayContaining(['changePolicy', 'removePolicy']));
  expect((await call('DELETE', '/api/policy/quiet')).status).toBe(404);
});

test('a policy that no lasting steward could take back is refused by name, tried or applied', async () => {
  for (const [text, lost] of [
    ['@id("all") forbid (principal, action, resource);', ['readPolicy', 'changePolicy']],
    ['@id("all") forbid (principal, action == Action::"changePolicy", resource);', ['changePolicy']],
    [
      '@id("all") forbid (principal, action == Action::"readPolicy", resource) when { context.hour < 24 };',
      ['readPolicy'],
    ],
    ['@id("all") forbid (principal, action, resource) unless { principal in Group::"nobody" };', undefined],
  ] as const) {
    for (const more of [{ dryRun: true }, {}]) {
      const answer = await apply('shut', text, more);
      expect(answer.status, text).toBe(400);
      const { error } = (await answer.json()) as { error: { message: string; details: { actions: string[] } } };
      expect(error).toMatchObject({ code: 'policy_invalid', details: { policies: ['shut/all'] } });
      expect(error.message).toMatch(/"shut\/all" would take .* from every lasting steward/);
      if (lost !== undefined) expect(error.details.actions).toEqual(lost);
    }
  }
  expect(await json(call('GET', '/api/policy'))).toMatchObject({ own: [] });
  const unless = '@id("all") forbid (principal, action, resource) unless { principal in Role::"steward" };';
  const night = '@id("night") forbid (principal, action == Action::"readPolicy", resource) when { context.hour > 6 };';
  for (const text of [unless, night]) {
    expect((await apply('shut', text, { dryRun: true })).status, text).toBe(200);
  }
});

test('who may not do everything changes no policy, whatever role names the action', async () => {
  const custom = { name: 'policy-writer', permissions: ['changePolicy', 'readPolicy'] };
  expect((await call('POST', '/api/roles', custom)).status).toBe(201);
  const key = await keyOf('policy-writer');
  const policies = [{ name: 'mine', text: '@id("all") permit (principal, action, resource);' }];
  expect(await json(call('PUT', '/api/policy', { policies, dryRun: true }, key))).toMatchObject({ changed: ['mine'] });
  expect(await json(call('PUT', '/api/policy', { policies }, key))).toMatchObject({ error: { code: 'forbidden' } });
  expect(await json(call('GET', '/api/policy'))).toMatchObject({ own: [] });
});

test('a decision is explained to whoever it is about, and to who may read policies', async () => {
  const self = await json(call('POST', '/api/policy/explain', { action: 'answer', on: 'jacobean' }, door.key));
  expect(self).toMatchObject({ isAllowed: true, decidedBy: ['role:caller'] });
  const { id } = await door.hub.keys.create({ territory: door.hub.territory.id, role: 'lender', actor: 'test' });
  const about = { as: id, action: 'answer' };
  expect((await call('POST', '/api/policy/explain', about, door.key)).status).toBe(403);
  expect(await json(call('POST', '/api/policy/explain', about))).toMatchObject({
    isAllowed: false,
    rolesThatMay: expect.arrayContaining(['steward', 'member', 'caller']),
  });
});

test('an explanation of an answer says which policy keeps devices from reading the text', async () => {
  const explain = (): Promise<unknown> =>
    json(call('POST', '/api/policy/explain', { action: 'answer', on: 'jacobean', class: 'internal' }, door.key));
  const forbid = '@id("none") forbid (principal, action == Action::"readText", resource == DataClass::"internal")';
  expect((await apply('texts', `${forbid};`)).status).toBe(200);
  expect(await explain()).toMatchObject({
    isAllowed: false,
    decidedBy: ['texts/none'],
    message: expect.stringContaining('"texts/none" lets no device read internal texts') as string,
  });
  expect((await apply('texts', `${forbid} unless { principal == Tier::"vetted" };`)).status).toBe(200);
  expect(await explain()).toMatchObject({
    isAllowed: true,
    message: expect.stringContaining('by "texts/none" only devices of the tiers vetted read internal') as string,
  });
  expect((await call('DELETE', '/api/policy/texts')).status).toBe(200);
});

test('cases are held against what holds and against what is proposed', async () => {
  const cases = [
    {
      as: 'role:caller',
      action: 'answer',
      on: 'jacobean',
      class: 'confidential',
      expect: 'deny',
      by: 'quiet/no-secrets',
    },
    { as: 'role:caller', action: 'answer', on: 'jacobean', class: 'public', expect: 'allow' },
    { as: 'tier:public', action: 'readText', on: 'internal', expect: 'deny' },
    { as: { roles: ['lender'] }, action: 'createInvite', expect: 'deny' },
  ];
  const outcomes = async (body: object): Promise<boolean[]> => {
    const results = (await json(call('POST', '/api/policy/test', body))) as { isAsExpected: boolean }[];
    return results.map(({ isAsExpected }) => isAsExpected);
  };
  expect(await outcomes({ cases })).toEqual([false, true, true, true]);
  expect(await outcomes({ cases, policies: [{ name: 'quiet', text: NO_SECRETS }] })).toEqual([true, true, true, true]);
  expect(await json(call('GET', '/api/policy'))).toMatchObject({ own: [] });
});

/** A request of each route that makes work for devices, by its path. */
const WORK: Readonly<Record<string, object>> = {
  '/v1/chat/completions': chat,
  '/v1/completions': { model: 'jacobean', prompt: 'once' },
  '/v1/responses': { model: 'jacobean', input: 'once' },
  '/v1/embeddings': { model: 'vectors', input: 'once' },
  '/v1/classify': { model: 'labels', input: 'once' },
  '/v1/sealed/offers': { model: 'jacobean', bytes: 4_096 },
};
/** What it takes an offer to come to; refused without one. */
const LATER = ['/v1/sealed/answers', '/v1/sealed/refusals'];
/** What cancels work, or says that there is none. */
const NO_WORK = /^\/v1\/(chat\/completions|responses|answers)\/:/;

test('every route that makes work asks for the very model, class and purpose', async () => {
  const asking = door.routes.filter(({ action, method }) => action === 'answer' && method === 'POST');
  const paths = asking.map(({ url }) => url).filter((url) => !NO_WORK.test(url));
  expect(paths.toSorted()).toEqual([...Object.keys(WORK), ...LATER].toSorted());
  await apply('quiet', NO_SECRETS);
  for (const [path, body] of Object.entries(WORK)) {
    const secret = await call('POST', path, body, door.key, { 'idlewild-data-class': 'confidential' });
    expect(await secret.json(), path).toMatchObject({ error: { details: { decidedBy: ['quiet/no-secrets'] } } });
  }
  await call('DELETE', '/api/policy/quiet');
});

/** A device that says a word every few milliseconds until it is told to stop. */
async function talker(): Promise<void> {
  const device = await door.join();
  const talking = new Map<string, NodeJS.Timeout>();
  device.onMessage = (message) => {
    if (message.t === 'cancel') clearInterval(talking.get(message.lease));
    if (message.t !== 'answer') return;
    const { lease, epoch } = message;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 7 });
    let i = 0;
    talking.set(
      lease,
      setInterval(() => device.send({ t: 'answer.token', lease, epoch, i, id: i++, s: 'la ' }), 5),
    );
  };
}

/** Resolves with the error at the end of a stream, once `act` was done in the middle of it; and how long that took. */
async function endOf(key: string, act: () => Promise<unknown>): Promise<{ code: string; message: string; ms: number }> {
  const answer = await call('POST', '/v1/chat/completions', { ...chat, stream: true }, key);
  expect(answer.status).toBe(200);
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  let actedAtMs: number | undefined;
  const lost = watchLostTime();
  for (;;) {
    const { done, value } = await reader.read();
    text += decoder.decode(value, { stream: true });
    if (actedAtMs === undefined && text.includes('la ')) {
      await act();
      actedAtMs = systemClock.monotonic();
    }
    if (done) break;
  }
  const error = /"error":(\{.*?\})\}?\n/s.exec(text)?.[1] ?? '{}';
  const { code, message } = JSON.parse(error.slice(0, error.indexOf('}') + 1).replace(/,"details":\{.*$/, '}')) as {
    code: string;
    message: string;
  };
  const endedAtMs = systemClock.monotonic();
  const lostMs = lost.between(actedAtMs ?? 0, endedAtMs);
  return { code, message, ms: endedAtMs - (actedAtMs ?? 0) - lostMs };
}

test('what runs ends within a second when its right goes: key, policy, model', async () => {
  await talker();
  const { hub } = door;
  const territory = hub.territory.id;
  const revoked = await hub.keys.create({ territory, role: 'caller', actor: 'test' });
  const byKey = await endOf(revoked.key, () => call('DELETE', `/api/keys/${revoked.id}`));
  expect(byKey).toMatchObject({ code: 'unauthenticated' });
  const byPolicy = await endOf(door.key, () =>
    apply('stop', '@id("now") forbid (principal, action == Action::"answer", resource);'),
  );
  expect(byPolicy).toMatchObject({ code: 'forbidden', message: expect.stringContaining('"stop/now"') });
  await call('DELETE', '/api/policy/stop');
  const byStop = await endOf(door.key, () => call('POST', '/api/models/jacobean/stop', { why: 'it tells secrets' }));
  expect(byStop).toMatchObject({ code: 'model_stopped', message: expect.stringContaining('it tells secrets') });
  for (const { ms } of [byKey, byPolicy, byStop]) expect(ms).toBeLessThan(1_000);
  expect(await json(call('POST', '/v1/chat/completions', chat, door.key))).toMatchObject({
    error: { code: 'model_stopped' },
  });
  expect(await json(call('POST', '/api/policy/explain', { action: 'answer', on: 'jacobean' }))).toMatchObject({
    isAllowed: false,
    decidedBy: ['stopped-model'],
  });
  const stopped = { at: expect.stringMatching(/^20.*Z$/), why: 'it tells secrets' };
  const listed = async (): Promise<unknown> =>
    ((await json(call('GET', '/api/models'))) as { name: string }[]).find(({ name }) => name === 'jacobean');
  expect(await listed()).toMatchObject({ stopped });
  expect(await json(call('GET', '/api/models/jacobean'))).toMatchObject({ stopped });
  expect((await call('POST', '/api/models/jacobean/stop', {}, door.key)).status).toBe(403);
  expect((await call('POST', '/api/models/jacobean/allow', {})).status).toBe(204);
  expect(await listed()).toMatchObject({ stopped: null });
  const again = await call('POST', '/v1/chat/completions', { ...chat, stream: true }, door.key);
  expect(again.status).toBe(200);
  await again.body?.cancel();
  const entries = await hub.audit.list({ territory });
  expect(entries.map(({ action }) => action)).toEqual(expect.arrayContaining(['stopModel', 'allowModel']));
});
