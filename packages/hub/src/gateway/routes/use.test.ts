/** Claims about rules of use over HTTP: before any device sees a prompt, on every route that makes work of texts. */
import type { AnswerWork, UseRules } from '@idlewild/protocol';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { ScriptedDevice } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let steward: string;
let device: ScriptedDevice;
const works: AnswerWork[] = [];
beforeAll(async () => {
  door = await openTestDoor('jacobean');
  const territory = door.hub.territory.id;
  steward = (await door.hub.keys.create({ territory, role: 'steward', actor: 'test' })).key;
  device = await door.join((work) => {
    works.push(work);
    return { tokens: ['aye'] };
  });
});
afterEach(async () => {
  await call('PUT', '/api/use', { rules: { v: 1 } }, steward);
  works.length = 0;
});
afterAll(() => door.close());

const call = (method: string, path: string, body?: unknown, key = door.key, headers: object = {}): Promise<Response> =>
  fetch(door.url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const hold = async (rules: Omit<UseRules, 'v'>): Promise<void> => {
  expect((await call('PUT', '/api/use', { rules: { v: 1, ...rules } }, steward)).status).toBe(200);
};
const gas = { kind: 'phrases' as const, id: 'gas', phrases: ['nerve gas'], why: 'no weapons' };
const chat = (content: string) => ({ model: 'jacobean', messages: [{ role: 'user', content }] });
interface Refusal {
  readonly error: { readonly code: string; readonly message: string };
}

test('a fresh hub has no rule of use', async () => {
  expect(await (await call('GET', '/api/use', undefined, steward)).json()).toMatchObject({ rules: { v: 1 } });
  expect((await call('POST', '/v1/chat/completions', chat('nerve gas'))).status).toBe(200);
});

test.each<[string, object]>([
  ['/v1/chat/completions', chat('How is Nerve Gas made?')],
  ['/v1/chat/completions', { ...chat('How is nerve gas made?'), stream: true }],
  ['/v1/completions', { model: 'jacobean', prompt: ['fine', 'nerve gas is'] }],
  ['/v1/responses', { model: 'jacobean', input: 'nerve gas' }],
])('%s is refused with its reason before a device sees it', async (path, body) => {
  await hold({ rules: [gas] });
  const answer = await call('POST', path, body);
  expect(answer.status).toBe(403);
  const { error } = (await answer.json()) as Refusal;
  expect(error).toMatchObject({ code: 'use_refused', message: expect.stringContaining('no weapons') as string });
  const needed = expect.stringContaining('appeal') as string;
  expect(error).toMatchObject({ details: { decidedBy: ['rule:gas'], rolesThatMay: [], needed } });
  expect(works).toEqual([]);
  expect(device.heard.filter(({ t }) => t === 'answer' || t === 'embed').every(({ t }) => t === 'answer')).toBe(true);
});

test('vectors and sealed prompts are held to the rules, too, as far as they can be', async () => {
  await door.publish('vectors', { kind: 'encoder', dimensions: 4 });
  await hold({ rules: [gas], sealed: 'refused' });
  const vectors = await call('POST', '/v1/embeddings', { model: 'vectors', input: 'nerve gas' });
  expect(await vectors.json()).toMatchObject({ error: { code: 'use_refused' } });
  const offer = await call('POST', '/v1/sealed/offers', { model: 'jacobean', bytes: 4_096 });
  expect(await offer.json()).toMatchObject({ error: { code: 'use_refused' } });
});

test('a purpose is what the header says', async () => {
  await hold({ purposes: { allow: ['climate'] } });
  expect((await call('POST', '/v1/chat/completions', chat('hello'))).status).toBe(403);
  const said = { 'idlewild-purpose': 'climate' };
  expect((await call('POST', '/v1/chat/completions', chat('hello'), door.key, said)).status).toBe(200);
});

test('a refusal is appealed against, decided on, and lifted', async () => {
  await hold({ rules: [gas] });
  const { error } = (await (await call('POST', '/v1/chat/completions', chat('nerve gas'))).json()) as Refusal;
  const refusal = /ref_[a-z2-7]{26}/.exec(error.message)?.[0];
  const filed = await call('POST', '/api/appeals', { refusal, words: 'I teach chemistry' });
  expect(filed.status).toBe(201);
  const { id } = (await filed.json()) as { id: string };
  expect(await (await call('GET', '/api/appeals?state=open', undefined, steward)).json()).toMatchObject([{ id }]);
  const decision = { state: 'reversed', note: 'she does' };
  expect((await call('POST', `/api/appeals/${id}/decision`, decision)).status).toBe(403);
  expect((await call('POST', `/api/appeals/${id}/decision`, decision, steward)).status).toBe(200);
  expect((await call('POST', '/v1/chat/completions', chat('nerve gas'))).status).toBe(200);
  expect(await (await call('GET', `/api/appeals/${id}`)).json()).toMatchObject({ state: 'reversed', note: 'she does' });
});

test('a key of the community is held to a profile that names it, and told how to ask', async () => {
  const territory = door.hub.territory.id;
  const kiosk = await door.hub.keys.create({ territory, role: 'caller', name: 'kiosk', actor: 'test' });
  await hold({ profiles: [{ name: 'young', keys: ['kiosk'], preamble: 'Be kind.' }] });
  expect((await call('POST', '/v1/chat/completions', chat('hello'), kiosk.key)).status).toBe(200);
  expect(works.at(-1)?.prompt).toMatchObject({ messages: [{ role: 'system', content: 'Be kind.' }, {}] });
  const strict = { name: 'young', keys: ['kiosk'], preamble: 'Be kind.', rules: [gas] };
  await hold({ profiles: [strict] });
  const tried = { model: 'jacobean', text: 'nerve gas' };
  const trial = async (keys: string[]) => call('POST', '/api/use/try', { ...tried, keys }, steward);
  expect(await (await trial(['kiosk'])).json()).toMatchObject({ reason: 'rule:gas' });
  expect(await (await trial([])).json()).toMatchObject({ isRefused: false });
  expect((await trial(['kiosc'])).status).toBe(404);
  const completion = { model: 'jacobean', prompt: 'once' };
  const { error } = (await (await call('POST', '/v1/completions', completion, kiosk.key)).json()) as Refusal;
  expect(error).toMatchObject({ code: 'use_refused', message: expect.stringMatching(/v1\/chat.*ref_/) as string });
  expect((await call('POST', '/v1/completions', completion)).status).toBe(200);
});

test('callers read the rules and do not change them; a wrong rule changes nothing', async () => {
  expect((await call('GET', '/api/use')).status).toBe(200);
  expect((await call('PUT', '/api/use', { rules: { v: 1 } })).status).toBe(403);
  await hold({ rules: [gas] });
  const wrong = await call('PUT', '/api/use', { rules: { v: 1, rules: [{ ...gas, phrases: [] }] } }, steward);
  expect(wrong.status).toBe(400);
  expect(await (await call('GET', '/api/use')).json()).toMatchObject({ rules: { rules: [gas] } });
  const tried = await call('POST', '/api/use/try', { model: 'jacobean', text: 'nerve gas' }, steward);
  expect(await tried.json()).toEqual({ isRefused: true, reason: 'rule:gas', why: 'no weapons' });
  const asked = async (body: object): Promise<unknown> =>
    (await call('POST', '/api/use/try', { model: 'jacobean', text: 'nerve gas', ...body }, steward)).json();
  expect(await asked({ model: 'nothing' })).toMatchObject({ error: { code: 'model_not_found' } });
  expect(await asked({ groups: ['childrn'] })).toMatchObject({
    error: { code: 'not_found', message: expect.stringContaining('"childrn"') as string },
  });
});

test('refusals of answers are counted by their codes', async () => {
  await hold({ rules: [gas] });
  await call('POST', '/v1/chat/completions', chat('nerve gas'));
  await call('POST', '/v1/chat/completions', chat('hello'), 'iw_nobody');
  const span = { fromMs: Date.now() - 1_000, untilMs: Date.now() + 1_000 };
  const reasons = (await door.hub.refusals.sums(span)).map(({ reason }) => reason);
  expect(reasons).toEqual(expect.arrayContaining(['use:rule:gas', 'unauthenticated']));
  const denied = { route: 'POST /v1/chat/completions', code: 'use_refused', reason: 'rule:gas' };
  const noted = async () => (await door.hub.audit.list({ territory: door.hub.territory.id })).map((e) => e.details);
  await expect.poll(noted).toContainEqual(expect.objectContaining(denied));
});
