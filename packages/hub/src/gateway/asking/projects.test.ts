/** Claims about projects, allocations, caps, floors and showback, over a real door with OpenAI's own client. */
import { openAnswerReceipt } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { warmModel } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let steward = '';

beforeAll(async () => {
  door = await openTestDoor('jacobean');
  await door.join(({ tokensMax = 40 }) => ({ tokens: Array<string>(tokensMax).fill('ay '), finish: 'length' }));
  steward = (await door.hub.keys.create({ territory: door.hub.territory.id, role: 'steward', actor: 'test' })).key;
});
afterAll(() => door.close());

async function api<Body = Record<string, unknown>>(
  method: string,
  path: string,
  body?: object,
  key = steward,
): Promise<{ status: number; body: Body }> {
  const response = await fetch(`${door.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Body };
}
const member = async (name: string): Promise<{ person: string; key: string; keyId: string }> => {
  const { hub } = door;
  const territory = hub.territory.id;
  const person = await addPerson(name);
  const made = await hub.keys.create({ territory, role: 'member', actor: 'test', person });
  return { person, key: made.key, keyId: made.id };
};
async function addPerson(name: string): Promise<string> {
  const { db, territory } = door.hub;
  const id = `per_${name.toLowerCase().padEnd(26, 'a')}`;
  await db.insertInto('people').values({ id, name, created_at_ms: 0 }).execute();
  await db
    .insertInto('members')
    .values({ territory_id: territory.id, person_id: id, name, state: 'active', joined_at_ms: 0 })
    .execute();
  await db
    .insertInto('bindings')
    .values({
      id: `bnd_${name}`,
      territory_id: territory.id,
      subject_kind: 'person',
      subject_id: id,
      role: 'member',
      scope_kind: 'territory',
      scope_id: '',
      expires_at_ms: null,
      created_at_ms: 0,
      created_by: 'test',
    })
    .execute();
  door.hub.versions.stale();
  return id;
}
const chat = (key: string, maxTokens: number) => {
  const openai = new OpenAI({ apiKey: key, baseURL: `${door.url}/v1`, maxRetries: 0 });
  const messages = [{ role: 'user' as const, content: 'Speak.' }];
  return openai.chat.completions.create({ model: 'jacobean', messages, max_tokens: maxTokens });
};

test('a project asks, is granted, spends it all, is told why no more, asks again, and goes on', async () => {
  const ada = await member('Ada');
  const made = await api('POST', '/api/projects', { name: 'maps', purpose: 'education' }, ada.key);
  expect(made).toMatchObject({ status: 201, body: { name: 'maps', state: 'active', createdBy: ada.keyId } });
  const asked = await api<{ id: string }>(
    'POST',
    '/api/projects/maps/allocations',
    { tokens: 500, deviceHours: 2, bytes: 1_000, why: 'a term' },
    ada.key,
  );
  expect(asked).toMatchObject({
    status: 201,
    body: { state: 'asked', asked: { tokens: 500, deviceHours: 2, bytes: 1_000 } },
  });
  // Whoever leads a project does not grant to it.
  const own = await api('POST', `/api/allocations/${asked.body.id}/grant`, {}, ada.key);
  expect(own.status).toBe(403);
  const granted = await api('POST', `/api/allocations/${asked.body.id}/grant`, { tokens: 100, note: 'for now' });
  expect(granted).toMatchObject({
    status: 200,
    body: { state: 'granted', granted: { tokens: 100, deviceHours: 2 }, leftTokens: 100 },
  });
  const territory = door.hub.territory.id;
  const noted = (await door.hub.audit.list({ territory })).find(({ action }) => action === 'grantAllocation');
  expect(noted?.details).toMatchObject({ tokens: 100, deviceHours: 2, bytes: 1_000 });
  const project = String(made.body.id);
  const key = await door.hub.keys.create({ territory, role: 'caller', actor: 'test', project });
  const first = await chat(key.key, 60);
  const used = first.usage?.total_tokens ?? 0;
  expect(used).toBe(67);
  // The next gets what is left, and ends there.
  const { data, response } = await chat(key.key, 60).withResponse();
  expect(response.headers.get('x-idlewild-tokens-max')).toBe('30');
  expect(data.choices[0]?.finish_reason).toBe('length');
  await expect
    .poll(async () => (await api(`GET`, `/api/allocations/${asked.body.id}`)).body)
    .toMatchObject({
      spent: { tokens: 100 },
      heldTokens: 0,
      leftTokens: 0,
      history: [
        { act: 'asked', note: 'a term', tokens: 500 },
        { act: 'granted', note: 'for now', tokens: 100 },
      ],
    });
  await expect(chat(key.key, 60)).rejects.toMatchObject({
    status: 429,
    code: 'allocation_spent',
    type: 'insufficient_quota',
    message: expect.stringMatching(/has 0 left \(100 spent\); ask for more with "idlewild projects ask maps"/),
  });
  const more = await api<{ id: string }>(
    'POST',
    '/api/projects/maps/allocations',
    { tokens: 400, why: 'more' },
    ada.key,
  );
  await api('POST', `/api/allocations/${more.body.id}/grant`, {});
  expect((await chat(key.key, 60)).usage?.total_tokens).toBe(67);
});

test('who asked takes it back as long as nobody answered, and nobody else does', async () => {
  const [cyn, dan] = [await member('Cyn'), await member('Dan')];
  await api('POST', '/api/projects', { name: 'atlas', purpose: 'education' }, cyn.key);
  const ask = async (): Promise<string> => {
    const asked = { tokens: 50, why: 'a page' };
    return (await api<{ id: string }>('POST', '/api/projects/atlas/allocations', asked, cyn.key)).body.id;
  };
  const id = await ask();
  expect(await api('POST', `/api/allocations/${id}/withdraw`, {}, dan.key)).toMatchObject({ status: 403 });
  expect(await api('POST', `/api/allocations/${id}/withdraw`, { note: 'not needed' }, cyn.key)).toMatchObject({
    status: 200,
    body: { state: 'withdrawn', granted: { tokens: 0 } },
  });
  expect(await api('POST', `/api/allocations/${id}/withdraw`, {}, cyn.key)).toMatchObject({ status: 409 });
  expect(await api('POST', `/api/allocations/${id}/grant`, {})).toMatchObject({ status: 409 });
  expect((await api('GET', `/api/allocations/${id}`)).body).toMatchObject({
    history: [{ act: 'asked' }, { act: 'withdrawn', note: 'not needed', actor: cyn.keyId }],
  });
  const other = await ask();
  await api('POST', `/api/allocations/${other}/grant`, {});
  expect(await api('POST', `/api/allocations/${other}/withdraw`, {}, cyn.key)).toMatchObject({ status: 409 });
  const open = (await api<{ id: string }[]>('GET', '/api/allocations?state=asked')).body;
  expect(open.map((each) => each.id)).not.toContain(id);
});

test('a member with nothing has her floor where work needs an allocation, and then a clear end', async () => {
  const bob = await member('Bob');
  const settings = { allocations: 'required', floorTokens: 100, floorRequests: 5 };
  expect(await api('PATCH', '/api/caps/settings', settings)).toMatchObject({ status: 200, body: settings });
  try {
    expect((await chat(bob.key, 60)).usage?.total_tokens).toBe(67);
    await chat(bob.key, 60);
    await expect
      .poll(async () => (await api('GET', '/api/spending', undefined, bob.key)).body)
      .toMatchObject({
        levels: [{ kind: 'floor', tokens: { most: 100, spent: 100, left: 0 }, requests: { left: 3 } }],
      });
    await expect(chat(bob.key, 60)).rejects.toMatchObject({
      code: 'allocation_spent',
      message: expect.stringMatching(/this key belongs to none; the daily floor of 100 tokens has 0 left.*renews at/),
    });
    await expect(chat(door.key, 60)).rejects.toMatchObject({ code: 'allocation_spent' });
  } finally {
    await api('PATCH', '/api/caps/settings', { allocations: 'optional' });
  }
  expect((await chat(door.key, 60)).usage?.total_tokens).toBe(67);
});

test('an answer whose prompt was longer than thought is cut where the cap is, and ends as at a length', async () => {
  const territory = door.hub.territory.id;
  const key = await door.hub.keys.create({ territory, role: 'caller', actor: 'test' });
  await api('PATCH', '/api/caps', { kind: 'key', subject: key.id, tokensPerDay: 40 });
  // Taken for two tokens and read as seven: of 40 there are 33 left to answer with.
  const answer = await chat(key.key, 60);
  expect(answer.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 33 });
  expect(answer.choices[0]?.finish_reason).toBe('length');
  await expect
    .poll(async () => (await api('GET', '/api/spending', undefined, key.key)).body)
    .toMatchObject({ levels: [{ kind: 'key', tokens: { most: 40, spent: 40, held: 0 } }] });
  await expect(chat(key.key, 1)).rejects.toMatchObject({ code: 'spend_cap', type: 'insufficient_quota' });
});

test('who is held to a cap and ends at a length has a receipt that a device signed and the hub keeps', async () => {
  const { db, territory } = door.hub;
  const key = await door.hub.keys.create({ territory: territory.id, role: 'caller', actor: 'test' });
  await api('PATCH', '/api/caps', { kind: 'key', subject: key.id, tokensPerDay: 1_000 });
  const { choices, ...rest } = await chat(key.key, 6);
  expect(choices[0]?.finish_reason).toBe('length');
  const { idlewild } = rest as unknown as { idlewild: { receipts: string[] } };
  const answer = { text: choices[0]?.message.content ?? '', calls: [] };
  const told = { territory: territory.publicKey, answer };
  const opened = await openAnswerReceipt(Buffer.from(idlewild.receipts[0] ?? '', 'base64url'), told, nodeCrypto);
  expect(opened.device).toMatchObject({ firstToken: 0, tokens: 6 });
  const kept = db
    .selectFrom('requests')
    .innerJoin('receipts', 'receipts.request_id', 'requests.id')
    .select('lease')
    .where('requests.territory_id', '=', territory.id)
    .where('receipts.territory_id', '=', territory.id)
    .where('requests.key_id', '=', key.id);
  await expect.poll(() => kept.execute()).toHaveLength(1);
});

test('a request that is refused or malformed returns all that was held for it', async () => {
  const territory = door.hub.territory.id;
  const key = await door.hub.keys.create({ territory, role: 'caller', actor: 'test' });
  await api('PATCH', '/api/caps', { kind: 'key', subject: key.id, tokensPerDay: 1_000, requestsPerDay: 10 });
  const wrong = await api('POST', '/v1/chat/completions', { model: 'jacobean', messages: 'none' }, key.key);
  expect(wrong.status).toBe(400);
  const nothing = await api(
    'POST',
    '/v1/chat/completions',
    { model: 'nobody', messages: [{ role: 'user', content: 'x' }] },
    key.key,
  );
  expect(nothing.status).toBe(404);
  await expect
    .poll(async () => (await api('GET', '/api/spending', undefined, key.key)).body)
    .toMatchObject({ levels: [{ kind: 'key', tokens: { spent: 0, held: 0 }, requests: { spent: 0 } }] });
});

test("a person's limit by the minute is of all her keys together", async () => {
  const eve = await member('Eve');
  const territory = door.hub.territory.id;
  const second = await door.hub.keys.create({ territory, role: 'member', actor: 'test', person: eve.person });
  await api('PATCH', '/api/caps', { kind: 'person', subject: eve.person, requestsPerMinute: 2 });
  await chat(eve.key, 5);
  await chat(second.key, 5);
  await expect(chat(eve.key, 5)).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
    message: expect.stringMatching(/all keys of this person together may use 2 requests per minute and have 0 left/),
  });
});

test('a limit by the minute for everybody is of each person, and not of each of her keys', async () => {
  const [hal, ivy] = [await member('Hal'), await member('Ivy')];
  const second = await door.hub.keys.create({
    territory: door.hub.territory.id,
    role: 'member',
    actor: 'test',
    person: hal.person,
  });
  const everybody = { kind: 'person', subject: 'everybody' };
  const set = await api('PATCH', '/api/caps', { ...everybody, requestsPerMinute: 2 });
  expect(set).toMatchObject({ status: 200, body: { ...everybody, requestsPerMinute: 2 } });
  try {
    const { caps } = (await api<{ caps: object[] }>('GET', '/api/caps')).body;
    expect(caps).toContainEqual(expect.objectContaining({ ...everybody, requestsPerMinute: 2 }));
    await chat(hal.key, 5);
    await chat(second.key, 5);
    await expect(chat(hal.key, 5)).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
    await chat(ivy.key, 5);
  } finally {
    await api('PATCH', '/api/caps', { ...everybody, requestsPerMinute: 'none' });
  }
});

test('showback adds up, whoever looks sees her own, and stewards see everything', async () => {
  const fay = await member('Fay');
  const made = await api<{ id: string }>('POST', '/api/projects', { name: 'tides', purpose: 'climate' }, fay.key);
  const { id } = (
    await api<{ id: string }>('POST', '/api/projects/tides/allocations', { tokens: 10_000, why: '' }, fay.key)
  ).body;
  await api('POST', `/api/allocations/${id}/grant`, {});
  const territory = door.hub.territory.id;
  const key = await door.hub.keys.create({ territory, role: 'caller', actor: 'test', project: made.body.id });
  await chat(key.key, 10);
  await chat(key.key, 10);
  await chat(fay.key, 10);
  const back = async (query: string, as = steward) =>
    (await api<{ id: string; name: string }[]>('GET', `/api/showback${query}`, undefined, as)).body;
  const tides = { id: made.body.id, name: 'tides', requests: 2, failed: 0, promptTokens: 14, answerTokens: 20 };
  await expect.poll(() => back('?by=project')).toContainEqual(expect.objectContaining(tides));
  await expect
    .poll(() => back('?by=project', fay.key))
    .toEqual([expect.objectContaining(tides), expect.objectContaining({ id: '', requests: 1 })]);
  expect(await back('?by=person&project=tides')).toMatchObject([{ id: '', requests: 2 }]);
  expect(await back('?by=person')).toContainEqual(
    expect.objectContaining({ id: fay.person, name: 'Fay', requests: 1 }),
  );
  expect(await back('?by=key&project=tides')).toMatchObject([{ id: key.id, requests: 2 }]);
  expect(await back('?by=model&project=tides')).toMatchObject([{ name: 'jacobean', answerTokens: 20 }]);
  expect(await back('?by=device&project=tides')).toMatchObject([{ requests: 2, promptTokens: 14, answerTokens: 20 }]);
  const bob = await member('Gus');
  expect(await back('', bob.key)).toEqual([]);
  expect((await api('GET', '/api/showback?project=tides', undefined, bob.key)).status).toBe(404);
  expect((await api<object[]>('GET', '/api/projects', undefined, bob.key)).body).toEqual([]);
  expect((await api('GET', '/api/projects/tides', undefined, bob.key)).status).toBe(404);
  expect((await api('POST', '/api/projects/tides/allocations', { tokens: 1, why: '' }, bob.key)).status).toBe(403);
  expect((await api('GET', `/api/allocations/${id}`, undefined, bob.key)).status).toBe(404);
});

test('caps are for stewards, and say what is wrong with them', async () => {
  expect((await api('PATCH', '/api/caps', { kind: 'territory', tokensPerDay: 1 }, door.key)).status).toBe(403);
  for (const [body, param] of [
    [{ kind: 'territory', subject: 'x', tokensPerDay: 1 }, 'subject'],
    [{ kind: 'key', tokensPerDay: 1 }, 'subject'],
    [{ kind: 'territory' }, 'tokensPerDay'],
    [{ kind: 'key', subject: 'key_x', tokensPerMinute: 1 }, 'tokensPerMinute'],
  ] as const)
    expect(await api('PATCH', '/api/caps', body)).toMatchObject({ status: 400, body: { error: { param } } });
  expect((await api('PATCH', '/api/caps', { kind: 'key', subject: 'key_x', tokensPerDay: 1 })).status).toBe(404);
});

test('texts for vectors are held and charged like prompts', async () => {
  await door.publish('minilm', { kind: 'encoder', dimensions: 1 });
  const cid = (await door.hub.models.resolve(door.hub.territory.id, 'minilm')).cid;
  const device = await door.join(undefined, {
    features: ['embed'],
    name: 'encoder',
    status: { models: [warmModel(cid)] },
  });
  device.onMessage = (message) => {
    if (message.t !== 'embed') return;
    const { lease, epoch, work } = message;
    const vectors = work.inputs.map(() => new Uint8Array(Float32Array.of(1).buffer));
    device.send({ t: 'embed.done', lease, epoch, vectors, tokens: work.inputs.map((text) => text.length) });
  };
  const territory = door.hub.territory.id;
  const key = await door.hub.keys.create({ territory, role: 'caller', actor: 'test' });
  await api('PATCH', '/api/caps', { kind: 'key', subject: key.id, tokensPerDay: 60 });
  const embed = () => api('POST', '/v1/embeddings', { model: 'minilm', input: 'x'.repeat(40) }, key.key);
  expect((await embed()).status).toBe(200);
  const left = async () => (await api('GET', '/api/spending', undefined, key.key)).body;
  await expect.poll(left).toMatchObject({ levels: [{ kind: 'key', tokens: { spent: 40, held: 0 } }] });
  // Ten are thought to be enough, and forty are used: what is beyond is a debt.
  expect((await embed()).status).toBe(200);
  await expect.poll(left).toMatchObject({ levels: [{ kind: 'key', tokens: { spent: 80, held: 0, left: 0 } }] });
  expect(await embed()).toMatchObject({ status: 429, body: { error: { code: 'spend_cap' } } });
});

test('a request under an Idempotency-Key is held and charged once, however often it is asked', async () => {
  const territory = door.hub.territory.id;
  const key = await door.hub.keys.create({ territory, role: 'caller', actor: 'test' });
  await api('PATCH', '/api/caps', { kind: 'key', subject: key.id, tokensPerDay: 1_000 });
  const ask = async (): Promise<string> => {
    const response = await fetch(`${door.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${key.key}`,
        'content-type': 'application/json',
        'idempotency-key': 'the same',
      },
      body: JSON.stringify({ model: 'jacobean', messages: [{ role: 'user', content: 'Speak.' }], max_tokens: 20 }),
    });
    return response.text();
  };
  const [first, second] = await Promise.all([ask(), ask()]);
  expect(second).toBe(first);
  expect(await ask()).toBe(first);
  await expect
    .poll(async () => (await api('GET', '/api/spending', undefined, key.key)).body)
    .toMatchObject({ levels: [{ kind: 'key', tokens: { spent: 27, held: 0 } }] });
});
