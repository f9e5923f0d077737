/**
 * What a hub has seen of a sealed prompt: a prompt and an answer that occur nowhere else go through it sealed, and then
 * everything that its process read, wrote and keeps is searched for a piece of either. `people.sealed_traces` is how
 * many pieces are found.
 *
 * Memory is searched as it was before, in the middle and at the end. What was there before, in any form, is left out.
 * Then the same prompt is asked in the open of the same hub, and the same search has to find it: where it does not, it
 * proves nothing, and there is no figure.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { createClient, createSealedClient, type Client } from '@idlewild/client';
import { codeOf, hex } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { filesOf, memoryOf, openFilesOf, type Haystack, type Wiretap } from './haystacks.ts';
import { findTraces, needlesOf, unknownIn, type Token, type Trace } from './traces.ts';

/** A hub that can be looked into, with wiretaps before it. */
export interface SearchedHub {
  readonly pid: number;
  readonly data: string;
  readonly stewardKey: string;
  readonly model: string;
  /** What it printed and logged. */
  printed(): string;
  readonly callers: Wiretap;
  readonly devices: Wiretap;
}

export interface TraceSearchOptions {
  readonly hub: SearchedHub;
  readonly territory: Uint8Array;
  /** Public keys. */
  readonly stewards: readonly Uint8Array[];
  /** Told of each token of the sealed answer: for those who mean to disturb it. */
  onToken?(i: number): void;
}

export interface TraceSearch {
  readonly answer: string;
  readonly failovers: number;
  /** Pieces in all their forms. */
  readonly needles: number;
  /** Of these, those that were there before, and prove nothing. */
  readonly known: number;
  /** Searched after the secret was told. */
  readonly megabytes: number;
  readonly traces: readonly Trace[];
  /** Of the same in the open. */
  readonly control: readonly Trace[];
}

const TOKENS = 80;
const MIDDLE = 40;
/** So that the answer says what nobody ever said. */
const SAMPLING = { seed: 3, temperature: 2 };
/** Words that the hub keeps with its models are part of every text; most pieces have to be this one's alone. */
const KNOWN_SHARE_MAX = 0.2;

export async function searchForTraces(options: TraceSearchOptions): Promise<TraceSearch> {
  const { hub, onToken } = options;
  const steward = createClient({ hub: hub.callers.url, key: hub.stewardKey });
  await warm(steward, hub.model);
  const before = everythingOf(hub);
  // To have stood still looks to a hub like too much work, and until it knows better it takes none.
  await warm(steward, hub.model);
  // Nobody hides a key's name: it has to be found where the hub keeps what it keeps.
  const mark = `mark ${hex(nodeRandom.bytes(12))}`;
  const { key } = await steward.keys.create({ role: 'caller', name: mark });
  const prompt = unheardOf();
  const said = await sealedAnswer(options, { key, prompt, onToken });
  const after = [...said.middle, ...everythingOf(hub)];
  const all = needlesOf([
    { of: 'prompt', text: prompt },
    { of: 'answer', text: said.answer, tokens: said.tokens },
    { of: 'mark', text: mark },
  ]);
  const needles = await unknownIn(all, before);
  const known = all.length - needles.length;
  if (known > KNOWN_SHARE_MAX * all.length) throw new Error(`${known} of ${all.length} pieces were there before`);
  const found = await findTraces(after, needles);
  if (!found.some(({ of, kind }) => of === 'mark' && kind === 'files'))
    throw new Error('the search does not find in files what the hub writes there');
  await warm(steward, hub.model);
  const control = await inTheOpen(options, { key, prompt, answer: said.answer });
  return {
    answer: said.answer,
    failovers: said.failovers,
    needles: all.length,
    known,
    megabytes: after.reduce((sum, { bytes }) => sum + bytes.length, 0) / 1e6,
    traces: found.filter(({ of }) => of !== 'mark'),
    control: (await findTraces(control, needles)).filter(({ of }) => of !== 'mark'),
  };
}

/** Where the open prompt and its answer have to be found, or the search is worth nothing. Returns what is missing. */
export const missingIn = (control: readonly Trace[]): string[] =>
  ['prompt', 'answer'].flatMap((of) =>
    (['sockets of callers', 'sockets of devices', 'memory'] as const)
      .filter((kind) => !control.some((trace) => trace.of === of && trace.kind === kind))
      .map((kind) => `an open ${of} is not found in ${kind}`),
  );

/** Everything that the hub's process has read, written, or has in its memory. */
const everythingOf = (hub: SearchedHub): Haystack[] => [
  ...hub.callers.heard(),
  ...hub.devices.heard(),
  ...filesOf(hub.data),
  ...openFilesOf(hub.pid),
  { kind: 'log', name: 'what it printed', bytes: Buffer.from(hub.printed()) },
  ...memoryOf(hub.pid),
];

const TRIES_MAX = 20;
const TRY_MS = 500;

/** An answer, once the hub gives one. What it needs for any is in its memory from its first on. */
async function warm(steward: Client, model: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      for await (const piece of steward.completion({ model, prompt: 'Before that.', max_tokens: 8, seed: 1 }))
        if (!('text' in piece)) return;
    } catch (error) {
      if (codeOf(error) !== 'too_busy' || tries === TRIES_MAX) throw error;
      await pause(TRY_MS);
    }
  }
}

/** Nothing in it was ever written before: letters of one byte and of more, as strings of V8's in both their widths. */
function unheardOf(): string {
  const random = (count: number, from: number, among: number): string =>
    Array.from({ length: count }, () => String.fromCodePoint(from + Math.floor(nodeRandom.unit() * among))).join('');
  const [LATIN, LATIN_LETTERS, HAN, HAN_LETTERS] = [0xc0, 0x40, 0x4e_00, 0x50_00];
  const words = Array.from({ length: 4 }, () => Buffer.from(nodeRandom.bytes(15)).toString('base64url'));
  return [...words, random(12, LATIN, LATIN_LETTERS), random(10, HAN, HAN_LETTERS), `"${words.length}"\n`].join(' ');
}

interface SealedAnswered {
  readonly answer: string;
  readonly tokens: readonly Token[];
  readonly failovers: number;
  /** The hub's memory while it was at it. */
  readonly middle: readonly Haystack[];
}

async function sealedAnswer(
  { hub, territory, stewards }: TraceSearchOptions,
  { key, prompt, onToken }: { key: string; prompt: string; onToken: TraceSearchOptions['onToken'] },
): Promise<SealedAnswered> {
  const ports = { fetch, clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
  const client = createSealedClient({ hub: hub.callers.url, key, stewards, territory, ...ports });
  const work = {
    prompt: { kind: 'text' as const, text: prompt },
    sampling: SAMPLING,
    choice: 0,
    stop: [],
    tokensMax: TOKENS,
  };
  const tokens: Token[] = [];
  let middle: Haystack[] = [];
  for await (const event of client.answer({ model: hub.model, work })) {
    if (event.t === 'finished') {
      const answer = tokens.map(({ s }) => s).join('') + event.s;
      return { answer, tokens, failovers: event.failovers, middle };
    }
    if (event.t !== 'token') continue;
    tokens.push({ id: event.id, s: event.s });
    if (event.i === MIDDLE) middle = memoryOf(hub.pid);
    onToken?.(event.i);
  }
  throw new Error('a sealed answer has no end');
}

/** Everything, once the same was asked in the open. Throws where the answer is another. */
async function inTheOpen(
  { hub }: TraceSearchOptions,
  { key, prompt, answer }: { key: string; prompt: string; answer: string },
): Promise<Haystack[]> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ model: hub.model, prompt, max_tokens: TOKENS, ...SAMPLING });
  const response = await fetch(`${hub.callers.url}/v1/completions`, { method: 'POST', headers, body });
  const told = (await response.json()) as { choices?: { text: string }[] };
  if (told.choices?.[0]?.text !== answer) throw new Error('an answer in the open is another than the sealed one');
  return everythingOf(hub);
}
