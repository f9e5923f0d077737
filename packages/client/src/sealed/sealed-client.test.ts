/**
 * Claims about end-to-end encrypted prompts at their caller: what a hub that lies gets (nothing), and that an answer
 * goes on over the loss of its device. The hub here is a `fetch`, and may say anything.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type IdlewildError,
  LIMITS,
  digestTokens,
  openWork,
  signDeviceVouch,
  signStatement,
  textOfBytes,
  type AnswerWork,
  type Crypto,
  type InnerEvent,
  type KeyPair,
  type MaybePromise,
  type SealedTerms,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createSealedClient, type SealedClientOptions } from './sealed-client.ts';
import type { SealedAnswerEvent } from './answer.ts';

const DAY_MS = 86_400_000;
const SECRET = 'the king dines on herring';
const ANSWER = ['None', ' yet', ', my', ' lord', '.'];
const random = createSeededRandom(11);
const ports = { crypto: nodeCrypto, random };
const keyOf = (byte: number): KeyPair => nodeCrypto.signingKey(new Uint8Array(32).fill(byte)) as KeyPair;
const boxOf = (byte: number): KeyPair => nodeCrypto.agreementKey(new Uint8Array(32).fill(byte)) as KeyPair;
const [steward, territory] = [keyOf(1), keyOf(2)];

interface Device {
  readonly id: string;
  readonly identity: KeyPair;
  readonly box: KeyPair;
  /** Tokens after which it is lost. */
  dies?: number | undefined;
}
const device = (byte: number, more: Partial<Device> = {}): Device => ({
  id: `dev_${byte}`,
  identity: keyOf(byte),
  box: boxOf(byte + 100),
  ...more,
});

interface World {
  readonly clock: ReturnType<typeof createFakeClock>;
  /** All that went to the hub. */
  readonly sent: { readonly path: string; readonly body: Record<string, unknown>; readonly headers: Headers }[];
  /** What devices opened. */
  readonly worked: { readonly device: string; readonly work: AnswerWork }[];
  readonly client: ReturnType<typeof createSealedClient>;
  answer(): Promise<SealedAnswerEvent[]>;
}

interface Lies {
  /** In place of what is offered. */
  offer?: ((offer: Record<string, unknown>, nth: number) => MaybePromise<Record<string, unknown>>) | undefined;
  /** In place of the stream's events. */
  stream?: (events: Record<string, unknown>[]) => Record<string, unknown>[];
  token?: (event: InnerEvent) => InnerEvent;
}

function createWorld(devices: Device[], lies: Lies = {}, options: Partial<SealedClientOptions> = {}): World {
  const clock = createFakeClock(() => nextTurn());
  const nowMs = clock.now();
  const sent: World['sent'] = [];
  const worked: World['worked'] = [];
  const offers = new Map<string, { terms: SealedTerms; device: Device }>();
  let nth = 0;

  async function offerOf(body: Record<string, unknown>): Promise<Response> {
    const without = (body.without ?? []) as string[];
    const chosen = devices.find(({ id }) => !without.includes(id));
    if (chosen === undefined) return refusal(503, 'no_device', 'nobody is there');
    const { identity, box } = chosen;
    const terms = { device: identity.publicKey, key: box.publicKey, model: 'bafymodel' };
    const bound: SealedTerms = { ...terms, lease: `att_${++nth}`, epoch: 1, dataClass: 'internal' };
    offers.set(`offer ${nth}`, { terms: bound, device: chosen });
    const offer = {
      offer: `offer ${nth}`,
      hold_ms: 5_000,
      lease: bound.lease,
      epoch: 1,
      model: 'bafymodel',
      data_class: 'internal',
      numeric_class: 'class-a',
      device: { id: chosen.id, name: chosen.id, key: textOfBytes(identity.publicKey) },
      agreement_key: textOfBytes(await agreement(chosen, nowMs)),
      vouch: [textOfBytes(await vouch(chosen, nowMs))],
    };
    return Response.json(lies.offer === undefined ? offer : await lies.offer(offer, nth));
  }

  async function answerOf(body: Record<string, string>): Promise<Response> {
    const { terms, device: chosen } = offers.get(body.offer ?? '') as { terms: SealedTerms; device: Device };
    const [enc, sealed] = [bytesOf(body.enc ?? ''), bytesOf(body.sealed ?? '')];
    const opened = await openWork({ enc, sealed, own: chosen.box, terms }, ports);
    worked.push({ device: chosen.id, work: opened.work });
    const events: Record<string, unknown>[] = [];
    const tell = async (event: InnerEvent, t = 'part'): Promise<void> => {
      const { n, sealed: part } = await opened.answer.seal(lies.token === undefined ? event : lies.token(event));
      events.push({ t, n, sealed: textOfBytes(part) });
    };
    await tell({ t: 'answer.started', promptTokens: 9 });
    const from = opened.work.tokens.length;
    const until = Math.min(ANSWER.length, from + (chosen.dies ?? ANSWER.length));
    for (let i = from; i < until; i++) await tell({ t: 'answer.token', i, id: 100 + i, s: ANSWER[i] ?? '' });
    if (chosen.dies === undefined) {
      const receipt = await receiptOf(chosen, terms, from);
      await tell(
        { t: 'answer.finished', finish: 'stop', s: '', promptTokens: 9, answerTokens: until, receipt },
        'done',
      );
    } else {
      events.push({ t: 'lost', code: 'disconnected', message: 'its connection closed' });
      devices.splice(devices.indexOf(chosen), 1);
    }
    const told = lies.stream === undefined ? events : lies.stream(events);
    return new Response(told.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('') + 'data: [DONE]\n\n');
  }

  const fetch = (async (url: string, init: RequestInit) => {
    const path = new URL(url).pathname;
    const body = JSON.parse(init.body as string) as Record<string, string>;
    sent.push({ path, body, headers: new Headers(init.headers) });
    return path === '/v1/sealed/offers' ? offerOf(body) : answerOf(body);
  }) as typeof globalThis.fetch;
  const client = createSealedClient({
    hub: 'http://hub.example',
    key: 'k',
    fetch,
    clock,
    random,
    crypto: nodeCrypto,
    stewards: [steward.publicKey],
    territory: territory.publicKey,
    ...options,
  });
  return {
    clock,
    sent,
    worked,
    client,
    async answer() {
      const events: SealedAnswerEvent[] = [];
      const work = { prompt: { kind: 'text', text: SECRET }, sampling: { seed: 1 }, choice: 0, stop: [] } as const;
      for await (const event of client.answer({ model: 'm', work: { ...work, stop: [] } })) events.push(event);
      return events;
    },
  };
}

const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url'));
const refusal = (status: number, code: string, message: string): Response =>
  Response.json({ error: { code, message } }, { status });
const agreement = ({ identity, box }: Device, nowMs: number, more: object = {}): Promise<Uint8Array> => {
  const life = { issuedAtMs: nowMs, expiresAtMs: nowMs + DAY_MS };
  const said = { v: 1, device: identity.publicKey, key: box.publicKey, ...life, ...more };
  return signStatement('agreement-key', said, identity, nodeCrypto);
};
const vouch = ({ identity }: Device, nowMs: number, more: object = {}, by: KeyPair = steward): Promise<Uint8Array> => {
  const life = { issuedAtMs: nowMs, expiresAtMs: nowMs + DAY_MS };
  const said = {
    territory: territory.publicKey,
    device: identity.publicKey,
    tier: 'vetted' as const,
    ...life,
    ...more,
  };
  return signDeviceVouch(said, by, nodeCrypto);
};
async function receiptOf(
  { identity }: Device,
  { lease, epoch, model }: SealedTerms,
  from: number,
): Promise<Uint8Array> {
  const tokens = ANSWER.map((_, i) => 100 + i).slice(from);
  const tokensDigest = await digestTokens(tokens, nodeCrypto);
  const made = { promptTokens: 9, firstToken: from, tokens: tokens.length, tokensDigest, prefillMs: 1, decodeMs: 1 };
  const said = { v: 1, device: identity.publicKey, lease, epoch, model, numericClass: 'class-a', ...made };
  return signStatement('receipt', said, identity, nodeCrypto);
}

const textOf = (events: readonly SealedAnswerEvent[]): string =>
  events.map((event) => (event.t === 'started' ? '' : event.s)).join('');
/** Whatever a hub was sent, in the encodings that it came in. */
const wasTold = ({ sent }: World): boolean =>
  JSON.stringify(sent).includes(SECRET) || sent.some(({ path }) => path.endsWith('answers'));

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
