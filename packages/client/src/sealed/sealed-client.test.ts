/**
 * Claims about end-to-end encrypted prompts at their caller: what a hub that lies gets (nothing), and that an answer
 * goes on over the loss of its device. The hub here is a `fetch`, and may say anything.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type IdlewildError,
  LIMITS,
  signStatement,
  textOfBytes,
  type AnswerWork,
  type Crypto,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import {
  ANSWER,
  DAY_MS,
  SECRET,
  agreement,
  device,
  textOf,
  vouch,
  wasTold,
  worldsOf,
  type Lies,
} from './testing/lying-hub.ts';

const createWorld = worldsOf(() => nextTurn());

test('an answer comes from a device that a pinned steward vouches for', async () => {
  const world = createWorld([device(10)]);
  const events = await world.answer();
  expect(textOf(events)).toBe(ANSWER.join(''));
  expect(events[0]).toEqual({ t: 'started', promptTokens: 9, cachedTokens: 0 });
  expect(events.at(-1)).toMatchObject({
    t: 'finished',
    finish: 'stop',
    answerTokens: 5,
    failovers: 0,
    exact: true,
    devices: [{ id: 'dev_10' }],
  });
  expect(world.worked[0]?.work.prompt).toEqual({ kind: 'text', text: SECRET });
  expect(JSON.stringify(world.sent)).not.toContain('herring');
});

const [honest, other, liar] = [device(10), device(12), device(13)];
const nowMs = createFakeClock(() => nextTurn()).now();
const text = async (bytes: Promise<Uint8Array>): Promise<string> => textOfBytes(await bytes);

test.each<[string, Lies['offer']]>([
  [
    'a device of its own',
    async (offer) => ({
      ...offer,
      device: { ...(offer.device as object), key: textOfBytes(liar.identity.publicKey) },
      agreement_key: await text(agreement(liar, nowMs)),
    }),
  ],
  [
    'a device of its own, with its own word',
    async (offer) => ({
      ...offer,
      device: { ...(offer.device as object), key: textOfBytes(liar.identity.publicKey) },
      agreement_key: await text(agreement(liar, nowMs)),
      vouch: [await text(vouch(liar, nowMs, {}, liar.identity))],
    }),
  ],
  ['another key', async (offer) => ({ ...offer, agreement_key: await text(agreement(liar, nowMs)) })],
  [
    'a key that it signed itself',
    async (offer) => ({
      ...offer,
      agreement_key: await text(
        agreement({ ...liar, identity: honest.identity, box: liar.box }, nowMs, {}).then(async () =>
          signStatement(
            'agreement-key',
            {
              v: 1,
              device: honest.identity.publicKey,
              key: liar.box.publicKey,
              issuedAtMs: nowMs,
              expiresAtMs: nowMs + DAY_MS,
            },
            liar.identity,
            nodeCrypto,
          ),
        ),
      ),
    }),
  ],
  ['the key of another device', async (offer) => ({ ...offer, agreement_key: await text(agreement(other, nowMs)) })],
  [
    'a key that says it is of another',
    async (offer) => ({
      ...offer,
      agreement_key: await text(agreement(honest, nowMs, { device: other.identity.publicKey })),
    }),
  ],
  [
    'a key that has expired',
    async (offer) => ({
      ...offer,
      agreement_key: await text(agreement(honest, nowMs - DAY_MS - LIMITS.clockSkewMs - 1)),
    }),
  ],
  [
    'a key that lasts too long',
    async (offer) => ({
      ...offer,
      agreement_key: await text(agreement(honest, nowMs, { expiresAtMs: nowMs + 2 * DAY_MS })),
    }),
  ],
  ['a device that nobody vouches for', (offer) => ({ ...offer, vouch: [] })],
  ['the word for another device', async (offer) => ({ ...offer, vouch: [await text(vouch(other, nowMs))] })],
  [
    'the word of another steward',
    async (offer) => ({ ...offer, vouch: [await text(vouch(honest, nowMs, {}, liar.identity))] }),
  ],
  ['a word of long ago', async (offer) => ({ ...offer, vouch: [await text(vouch(honest, nowMs - 3 * DAY_MS))] })],
  [
    'a word of another community',
    async (offer) => ({ ...offer, vouch: [await text(vouch(honest, nowMs, { territory: liar.identity.publicKey }))] }),
  ],
  ['something else in place of a word', (offer) => ({ ...offer, vouch: ['AAAA'] })],
  ['another purpose', (offer) => ({ ...offer, purpose: 'gambling' })],
])('a hub that offers %s is found out before anything is sent', async (_, lie) => {
  const world = createWorld([honest], { offer: lie });
  await expect(world.answer()).rejects.toMatchObject({ code: 'device_unvouched' });
  expect(wasTold(world)).toBe(false);
});

test('a key that is older than one that was seen is found out', async () => {
  const world = createWorld([honest], {
    offer: async (offer, nth) =>
      nth === 1
        ? offer
        : { ...offer, agreement_key: await text(agreement({ ...honest, box: liar.box }, nowMs - 1_000)) },
  });
  await world.answer();
  await expect(world.answer()).rejects.toThrow('older than one that it has shown');
  expect(world.worked).toHaveLength(1);
});

test('a caller that wants vetted devices, or one model, takes no other', async () => {
  const public_ = async (offer: Record<string, unknown>): Promise<Record<string, unknown>> => ({
    ...offer,
    vouch: [await text(vouch(honest, nowMs, { tier: 'public' }))],
  });
  const world = createWorld([honest], { offer: public_ }, { tiers: ['vetted', 'member'] });
  await expect(world.answer()).rejects.toThrow('tier "public"');
  expect(wasTold(world)).toBe(false);
  const pinned = createWorld([honest]);
  const work = { prompt: { kind: 'text', text: SECRET }, sampling: { seed: 1 }, choice: 0, stop: [] };
  const asked = pinned.client.answer({
    model: 'm',
    cid: 'bafyother',
    work: work as unknown as Omit<AnswerWork, 'tokens'>,
  });
  await expect(asked.next()).rejects.toMatchObject({ code: 'device_unvouched' });
  expect(wasTold(pinned)).toBe(false);
});

test('beside a device that is not vouched for another is taken', async () => {
  const world = createWorld([liar, honest], {
    offer: (offer) => ((offer.device as { id: string }).id === liar.id ? { ...offer, vouch: [] } : offer),
  });
  expect(textOf(await world.answer())).toBe(ANSWER.join(''));
  expect(world.worked.map((one) => one.device)).toEqual([honest.id]);
});

test('over the loss of its device an answer goes on with the tokens that there are, none twice', async () => {
  const world = createWorld([device(10, { dies: 2 }), device(12, { dies: 1 }), device(14)]);
  const events = await world.answer();
  expect(textOf(events)).toBe(ANSWER.join(''));
  expect(events.filter(({ t }) => t === 'started')).toHaveLength(1);
  expect(events.flatMap((event) => (event.t === 'token' ? [event.i] : []))).toEqual([0, 1, 2, 3, 4]);
  expect(events.at(-1)).toMatchObject({ failovers: 2, exact: true });
  expect(world.worked.map(({ work }) => work.tokens)).toEqual([[], [100, 101], [100, 101, 102]]);
  expect(world.sent.filter(({ path }) => path.endsWith('offers')).at(-1)?.body).toMatchObject({
    numeric_class: 'class-a',
  });
});

test('what a prompt needs is told to the hub where its caller wants that, and else nothing of it', async () => {
  const world = createWorld([honest]);
  const prompt = { kind: 'text', text: SECRET } as const;
  const work = { prompt, sampling: { seed: 1 }, choice: 0, stop: [], logprobs: 2 };
  await world.answer({ work });
  await world.answer({ work, tellNeeds: true });
  const bodies = world.sent.filter(({ path }) => path.endsWith('offers')).map(({ body }) => body);
  expect(bodies.map((body) => (body as { needs?: unknown }).needs)).toEqual([undefined, ['logprobs']]);
});

test('another numeric class goes on, and the answer says that it is not exact', async () => {
  const world = createWorld([device(10, { dies: 2 }), device(12)], {
    offer: (offer, nth) => ({ ...offer, numeric_class: `class-${nth}` }),
  });
  expect((await world.answer()).at(-1)).toMatchObject({ failovers: 1, exact: false });
});

test.each<[string, NonNullable<Lies['stream']>]>([
  ['leaves one out', (events) => events.toSpliced(2, 1)],
  ['repeats one', (events) => events.toSpliced(2, 0, events[2] as object as Record<string, unknown>)],
  ['swaps two', (events) => [...events.slice(0, 2), ...events.slice(2, 4).toReversed(), ...events.slice(4)]],
  ['renumbers', (events) => events.toSpliced(2, 1).map((event, n) => ({ ...event, n }))],
  ['says done before the end', (events) => [...events.slice(0, 2), { ...events[2], t: 'done' }]],
  ['makes one up', (events) => [...events.slice(0, 2), { t: 'part', n: 2, sealed: textOfBytes(new Uint8Array(144)) }]],
  ['sends nonsense', () => [{ t: 'answer', text: 'in the open' }]],
])('a hub that changes the stream (%s) is found out', async (_, stream) => {
  await expect(createWorld([honest], { stream }).answer()).rejects.toMatchObject({ code: 'sealed_broken' });
});

test.each(['disconnected', 'stalled', 'hub_stopping', 'use_refused'])(
  'a hub that hides a token in a failure (%s), so that the answer goes on without it, is found out',
  async (code) => {
    const stream: Lies['stream'] = (events) => {
      const failure = { t: 'failed', error: { code, message: 'it is gone' } };
      return events.map((event, n) => (n === 2 ? { ...event, ...failure } : event)).slice(0, 3);
    };
    const world = createWorld([honest, other], { stream });
    const told: string[] = [];
    const asked = world.client.answer({
      model: 'm',
      work: { prompt: { kind: 'text', text: SECRET }, sampling: { seed: 1 }, choice: 0, stop: [] },
    });
    const failing = (async () => {
      for await (const event of asked) if (event.t === 'token') told.push(event.s);
    })();
    await expect(failing).rejects.toMatchObject({ code: 'sealed_broken' });
    expect(told).toEqual(ANSWER.slice(0, 1));
    expect(world.worked).toHaveLength(1);
  },
);

test('a device that skips a token, or signs for others, is found out', async () => {
  const skips = createWorld([honest], {
    token: (event) => (event.t === 'answer.token' && event.i > 1 ? { ...event, i: event.i + 1 } : event),
  });
  await expect(skips.answer()).rejects.toMatchObject({ code: 'sealed_broken' });
  const lies = createWorld([honest], {
    token: (event) => (event.t === 'answer.token' ? { ...event, id: event.id + 1 } : event),
  });
  await expect(lies.answer()).rejects.toMatchObject({ code: 'sealed_broken' });
});

test('a stream that is cut off goes on elsewhere; with nobody left the answer fails, and says so', async () => {
  let cut = true;
  const half = createWorld([device(10), device(12)], {
    stream: (events) => {
      const told = cut ? events.slice(0, 3) : events;
      cut = false;
      return told;
    },
  });
  expect(textOf(await half.answer())).toBe(ANSWER.join(''));
  expect(half.worked[1]?.work.tokens).toEqual([100, 101]);
  const alone = createWorld([device(10, { dies: 2 })]);
  const failing = alone.answer().catch((error: unknown) => error as IdlewildError);
  let isOver = false;
  void failing.then(() => (isOver = true));
  for (let i = 0; i < 100 && !isOver; i++) await alone.clock.advance(1_000);
  expect(await failing).toMatchObject({ code: 'attempts_exhausted' });
});

test('a hub that breaks off again and again has the prompt read so many times, and no more', async () => {
  let nth = 0;
  const stream: Lies['stream'] = (events) => {
    // A token now and then, so that it is never in vain for long.
    const told = events.slice(0, ++nth % 7 === 0 ? 2 : 1);
    return [...told, { t: 'lost', code: 'hub_stopping', message: 'the hub is stopping' }];
  };
  const world = createWorld([device(10), device(12)], { stream });
  const failing = world.answer().catch((error: unknown) => error as IdlewildError);
  let isOver = false;
  void failing.then(() => (isOver = true));
  for (let i = 0; i < 200 && !isOver; i++) await world.clock.advance(1_000);
  expect(await failing).toMatchObject({ code: 'attempts_exhausted' });
  expect(world.worked.at(-1)?.work.tokens).toHaveLength(4);
  expect(world.worked).toHaveLength(32);
});

test('no device is told under which scope another has what it read', async () => {
  const world = createWorld([device(10, { dies: 2 }), device(12)]);
  const work = { prompt: { kind: 'text', text: SECRET }, sampling: { seed: 1 }, choice: 0, stop: [] } as const;
  for (const scope of [undefined, 'mine'])
    await world.answer({ work: { ...work, stop: [], ...(scope === undefined ? {} : { scope }) } });
  const scopes = world.worked.map((one) => `${one.device} ${one.work.scope}`);
  expect(scopes).toHaveLength(3);
  expect(new Set(scopes.map((text) => text.split(' ')[1])).size).toBe(3);
  expect(scopes.join()).not.toContain('mine');
});

test('it works with a crypto that never answers at once, as browsers have it', async () => {
  const slowly = Object.fromEntries(
    Object.entries(nodeCrypto).map(([name, act]) => [
      name,
      async (...given: unknown[]) => (act as (...all: unknown[]) => unknown)(...given),
    ]),
  ) as unknown as Crypto;
  const world = createWorld([device(10, { dies: 3 }), device(12)], {}, { crypto: slowly });
  expect(textOf(await world.answer())).toBe(ANSWER.join(''));
});

test('a conversation goes back to its device, and chat gives pieces of text and an end', async () => {
  const world = createWorld([device(10)]);
  const messages = [{ role: 'user', content: SECRET }] as const;
  const ask = async (): Promise<string> => {
    let said = '';
    for await (const piece of world.client.chat({ model: 'm', messages, seed: 3 }, { dataClass: 'internal' }))
      said += 'text' in piece ? piece.text : ` [${piece.finish} ${piece.usage.total_tokens} ${piece.idlewild.seed}]`;
    return said;
  };
  expect(await ask()).toBe(`${ANSWER.join('')} [stop 14 3]`);
  await ask();
  const offers = world.sent.filter(({ path }) => path.endsWith('offers'));
  expect(offers.map(({ body }) => body.near)).toEqual([undefined, 'dev_10']);
  expect(offers[0]?.headers.get('idlewild-data-class')).toBe('internal');
  const scopes = world.worked.map(({ work }) => work.scope);
  expect(scopes[0]).toMatch(/^sealed\.[0-9a-f]{32}$/);
  expect(scopes[1]).toBe(scopes[0]);
  expect(JSON.stringify(world.sent)).not.toContain(scopes[0]);
});
