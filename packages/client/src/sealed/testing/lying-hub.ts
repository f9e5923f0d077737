/**
 * A hub that may say anything, as a `fetch`, with devices that open what is sealed to them: what tests of
 * end-to-end encrypted prompts at their caller have in common.
 */
import {
  commitmentOf,
  digestAnswer,
  digestTokens,
  idOfKey,
  openWork,
  signDeviceVouch,
  signSealedReceipt,
  signStatement,
  textOfBytes,
  type AnswerWork,
  type InnerEvent,
  type KeyPair,
  type MaybePromise,
  type SealedTerms,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { createSealedClient, type SealedClientEvent, type SealedClientOptions } from '../sealed-client.ts';
import type { SealedRequest } from '../answer.ts';

export const DAY_MS = 86_400_000;
export const SECRET = 'the king dines on herring';
export const ANSWER = ['None', ' yet', ', my', ' lord', '.'];
const random = createSeededRandom(11);
const ports = { crypto: nodeCrypto, random };
export const keyOf = (byte: number): KeyPair => nodeCrypto.signingKey(new Uint8Array(32).fill(byte)) as KeyPair;
const boxOf = (byte: number): KeyPair => nodeCrypto.agreementKey(new Uint8Array(32).fill(byte)) as KeyPair;
const [steward, territory, hub] = [keyOf(1), keyOf(2), keyOf(3)];
export const community = territory.publicKey;

export interface Device {
  readonly id: string;
  readonly identity: KeyPair;
  readonly box: KeyPair;
  /** Tokens after which it is lost. */
  dies?: number | undefined;
  /** Token that it makes otherwise. */
  readonly slips?: number | undefined;
  /** So many of its tokens are what a draft says, in place of what it would make. */
  readonly nods?: number | undefined;
  readonly numericClass?: string | undefined;
}
export const device = (byte: number, more: Partial<Device> = {}): Device => ({
  id: `dev_${byte}`,
  identity: keyOf(byte),
  box: boxOf(byte + 100),
  ...more,
});

export interface World {
  readonly clock: ReturnType<typeof createFakeClock>;
  /** All that went to the hub. */
  readonly sent: { readonly path: string; readonly body: Record<string, unknown>; readonly headers: Headers }[];
  /** What devices opened. */
  readonly worked: { readonly device: string; readonly work: AnswerWork }[];
  readonly client: ReturnType<typeof createSealedClient>;
  answer(more?: Partial<SealedRequest>): Promise<SealedClientEvent[]>;
}

export interface Lies {
  /** What honest devices make; absent: `ANSWER`. */
  readonly words?: readonly string[];
  /** In place of what is offered. */
  offer?: ((offer: Record<string, unknown>, nth: number) => MaybePromise<Record<string, unknown>>) | undefined;
  /** In place of the stream's events. */
  stream?: (events: Record<string, unknown>[]) => Record<string, unknown>[];
  token?: (event: InnerEvent) => InnerEvent;
  /** Of what it signs. */
  receipt?: (receipt: Parameters<typeof signSealedReceipt>[0]) => Parameters<typeof signSealedReceipt>[0];
}

/** `settle` runs what is pending in the platform. */
export const worldsOf =
  (settle: () => Promise<void>) =>
  (devices: Device[], lies?: Lies, options?: Partial<SealedClientOptions>): World =>
    createWorld(createFakeClock(settle), devices, lies, options);

function createWorld(
  clock: World['clock'],
  devices: Device[],
  lies: Lies = {},
  options: Partial<SealedClientOptions> = {},
): World {
  const nowMs = clock.now();
  const { words = ANSWER } = lies;
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
      numeric_class: chosen.numericClass ?? 'class-a',
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
    const until = Math.min(words.length, from + (chosen.dies ?? words.length));
    const ids = words.map((_, i) => (i < (chosen.nods ?? 0) ? opened.work.draft?.[i] : undefined) ?? idOf(chosen, i));
    for (let i = from; i < until; i++)
      await tell({ t: 'answer.token', i, id: ids[i] as number, s: words[i] as string });
    if (chosen.dies === undefined) {
      const receipt = await receiptOf(chosen, terms, { from, ids, words }, opened.work.sampling.seed);
      const end = { finish: 'stop', s: '', promptTokens: 9, answerTokens: until } as const;
      await tell({ t: 'answer.finished', ...end, receipt }, 'done');
      Object.assign(events.at(-1) ?? {}, { receipt: textOfBytes(await hubReceipt(chosen, terms, until - from)) });
    } else {
      events.push({ t: 'lost', code: 'disconnected', message: 'its connection closed' });
      devices.splice(devices.indexOf(chosen), 1);
    }
    const told = lies.stream === undefined ? events : lies.stream(events);
    return new Response(told.map((event) => `data: ${JSON.stringify(event)}\n\n`).join('') + 'data: [DONE]\n\n');
  }

  async function hubReceipt(of: Device, { lease, epoch, model }: SealedTerms, tokens: number): Promise<Uint8Array> {
    const { digest, salt } = await textSigned(words);
    const life = { issuedAtMs: nowMs, expiresAtMs: nowMs + DAY_MS };
    const certified = { v: 1, territory: territory.publicKey, hub: hub.publicKey, ...life };
    const honest: Parameters<typeof signSealedReceipt>[0] = {
      territory: territory.publicKey,
      certificate: await signStatement('hub-certificate', certified, territory, nodeCrypto),
      atMs: nowMs,
      request: 'req_1',
      modelName: 'm',
      dataClass: 'internal',
      device: await idOfKey('dev', of.identity.publicKey, nodeCrypto),
      ...{ lease, epoch, model, promptBytes: 1_024, promptTokens: 9, tokens },
      commitment: await commitmentOf(salt, digest, nodeCrypto),
    };
    return signSealedReceipt(lies.receipt?.(honest) ?? honest, hub, nodeCrypto);
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
    async answer(more = {}) {
      const events: SealedClientEvent[] = [];
      const work = { prompt: { kind: 'text', text: SECRET }, sampling: { seed: 1 }, choice: 0, stop: [] } as const;
      for await (const event of client.answer({ model: 'm', work: { ...work, stop: [] }, ...more })) events.push(event);
      return events;
    },
  };
}

const idOf = ({ slips }: Device, i: number): number => (i === slips ? 999 : 100 + i);
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url'));
const refusal = (status: number, code: string, message: string): Response =>
  Response.json({ error: { code, message } }, { status });
export const agreement = ({ identity, box }: Device, nowMs: number, more: object = {}): Promise<Uint8Array> => {
  const life = { issuedAtMs: nowMs, expiresAtMs: nowMs + DAY_MS };
  const said = { v: 1, device: identity.publicKey, key: box.publicKey, ...life, ...more };
  return signStatement('agreement-key', said, identity, nodeCrypto);
};
export const vouch = (
  { identity }: Device,
  nowMs: number,
  more: object = {},
  by: KeyPair = steward,
): Promise<Uint8Array> => {
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
async function textSigned(
  words: readonly string[],
): Promise<{ readonly digest: Uint8Array; readonly salt: Uint8Array }> {
  return {
    digest: await digestAnswer({ text: words.join(''), calls: [] }, nodeCrypto),
    salt: new Uint8Array(32).fill(4),
  };
}
async function receiptOf(
  of: Device,
  { lease, epoch, model }: SealedTerms,
  { from, ids, words }: { from: number; ids: readonly number[]; words: readonly string[] },
  seed: number,
): Promise<Uint8Array> {
  const { identity, numericClass = 'class-a' } = of;
  const sealed = { ...(await textSigned(words)), seed, finish: 'stop' };
  const tokens = ids.slice(from);
  const tokensDigest = await digestTokens(tokens, nodeCrypto);
  const made = { promptTokens: 9, firstToken: from, tokens: tokens.length, tokensDigest, prefillMs: 1, decodeMs: 1 };
  const said = { v: 1, device: identity.publicKey, lease, epoch, model, numericClass, ...made, sealed };
  return signStatement('receipt', said, identity, nodeCrypto);
}

export const textOf = (events: readonly SealedClientEvent[]): string =>
  events.map((event) => (event.t === 'started' ? '' : event.s)).join('');
/** Whatever a hub was sent, in the encodings that it came in. */
export const wasTold = ({ sent }: World): boolean =>
  JSON.stringify(sent).includes(SECRET) || sent.some(({ path }) => path.endsWith('answers'));
