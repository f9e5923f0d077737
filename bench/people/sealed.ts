/**
 * What sealing costs a stream, and what a hub sees of it.
 *
 * The same answers of one device, sealed and in the open, by turns in one run, so that whatever else the machine does
 * meets both alike: `people.sealed_stream_ratio` is sealed over open, tokens a second from the question to the end, the
 * offer's round trip and the first token included. Both say the same text.
 */
import { createClient, createSealedClient } from '@idlewild/client';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { addSteward, startListenedHub, steward, territoryOf, vouchFor } from '../../test/sealed-world.ts';
import { createWorld } from '../../test/world.ts';
import type { BenchRun } from '../bench.ts';
import { bundledModel } from '../models.ts';
import { median, percentile, rangeOf } from '../statistics.ts';
import { inWorld } from '../world.ts';
import type { Kind } from './haystacks.ts';
import { missingIn, searchForTraces, type TraceSearch } from './sealed-traces.ts';
import type { Trace } from './traces.ts';

const MODEL = 'jacobean';
const PROMPT = 'First Citizen:\nBefore we proceed any further, hear me speak.\n\n';
const TOKENS = 180;
const PAIRS = 31;
const WARM_PAIRS = 3;
/** On a machine that others keep busy an engine waits for them: then there are fewer pairs, or none. */
const STREAMS_MS_MAX = 60_000;
const ANSWER_MS_MAX = 20_000;
const PAIRS_MIN = 11;

export const measureSealedStream = (run: BenchRun, metric: string): Promise<void> =>
  inWorld({ run, devices: 1, slots: 4, models: { [MODEL]: bundledModel() } }, async (world) => {
    const admin = createClient({ hub: world.url, key: world.stewardKey });
    await addSteward(admin);
    await vouchFor(admin, world.devices[0]?.name ?? '');
    const pairs: Record<Way, number>[] = [];
    const late = AbortSignal.timeout(STREAMS_MS_MAX);
    const ways = await openWays(world, await territoryOf(admin), AbortSignal.timeout(STREAMS_MS_MAX + ANSWER_MS_MAX));
    for (let seed = 1, taken = -WARM_PAIRS; taken < PAIRS; seed++) {
      run.signal.throwIfAborted();
      if (late.aborted && pairs.length >= PAIRS_MIN) break;
      if (late.aborted) throw new Error(`only ${pairs.length} pairs within ${STREAMS_MS_MAX / 1_000} s`);
      if (seed > 4 * PAIRS) throw new Error(`most answers end before ${TOKENS} tokens`);
      const speeds = await pairOf(ways, seed, taken);
      if (speeds === undefined) continue;
      if (taken >= 0) pairs.push(speeds);
      taken++;
    }
    const ratios = pairs.map(({ sealed, open }) => sealed / open);
    // An engine gives way to whatever else the machine does: the outermost pairs tell of that.
    const middle = [percentile(ratios, 0.25), percentile(ratios, 0.75)];
    const of = (way: Way): string => median(pairs.map((speeds) => speeds[way])).toFixed(0);
    run.record(
      metric,
      median(ratios),
      `median of ${pairs.length} pairs, half of them ${rangeOf(middle)}; ${of('sealed')} of ${of('open')} tokens/s, ` +
        `answers of ${TOKENS} tokens of the bundled model, from the question to the end; the same text`,
    );
  });

type Way = 'sealed' | 'open';
interface Said {
  readonly text: string;
  readonly tokens: number;
}
type Ways = Readonly<Record<Way, (seed: number) => Promise<Said>>>;

async function openWays(
  { url, key }: { url: string; key: string },
  territory: Uint8Array,
  signal: AbortSignal,
): Promise<Ways> {
  const plain = createClient({ hub: url, key, fetch });
  const ports = { fetch, clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
  const sealing = createSealedClient({ hub: url, key, territory, stewards: [steward.publicKey], ...ports });
  const work = { prompt: { kind: 'text' as const, text: PROMPT }, choice: 0, stop: [], tokensMax: TOKENS };
  return {
    async sealed(seed) {
      let text = '';
      for await (const event of sealing.answer({ model: MODEL, work: { ...work, sampling: { seed } } }, { signal })) {
        if (event.t !== 'started') text += event.s;
        if (event.t === 'finished') return { text, tokens: event.answerTokens };
      }
      throw new Error('a sealed answer has no end');
    },
    async open(seed) {
      let text = '';
      for await (const piece of plain.completion(
        { model: MODEL, prompt: PROMPT, seed, max_tokens: TOKENS },
        { signal },
      )) {
        if (!('text' in piece)) return { text, tokens: piece.usage.completion_tokens };
        text += piece.text;
      }
      throw new Error('an answer has no end');
    },
  };
}

/** `undefined` when the model ends this answer of its own accord. No way is always first: a device keeps prompts. */
async function pairOf(ways: Ways, seed: number, number: number): Promise<Record<Way, number> | undefined> {
  const inTurn = number % 2 === 0 ? (['sealed', 'open'] as const) : (['open', 'sealed'] as const);
  const speeds = { sealed: 0, open: 0 };
  const texts = new Set<string>();
  for (const way of inTurn) {
    const beganAtMs = performance.now();
    const { text, tokens } = await ways[way](seed);
    speeds[way] = (tokens * 1_000) / (performance.now() - beganAtMs);
    texts.add(text);
    if (tokens < TOKENS) return undefined;
  }
  if (texts.size > 1) throw new Error(`seed ${seed} gave another text sealed than in the open`);
  return speeds;
}

/** In the middle of the sealed answer its device is killed, so that what a hub makes of that is searched, too. */
const KILLED_AT_TOKEN = 50;

export async function measureTraces(run: BenchRun, metric: string): Promise<void> {
  run.say(`${metric}: a hub with wiretaps, and two devices, one of which is killed`);
  const world = await createWorld();
  const { searched, territory, join, end } = await startListenedHub(world);
  try {
    const devices = [await join('ada'), await join('bea')];
    let killing: Promise<void> | undefined;
    const onToken = (i: number): void => {
      if (i === KILLED_AT_TOKEN) killing = devices.find((device) => device.state().answering > 0)?.kill();
    };
    const search = await searchForTraces({ hub: searched, territory, stewards: [steward.publicKey], onToken });
    await killing;
    recordTraces(run, metric, search);
  } finally {
    await world.end();
    await end();
  }
}

function recordTraces(run: BenchRun, metric: string, search: TraceSearch): void {
  const missing = missingIn(search.control);
  if (missing.length > 0) throw new Error(`the search proves nothing: ${missing.join(', ')}`);
  const pieces = (traces: readonly Trace[]): number => new Set(traces.map(({ of, piece }) => `${of} ${piece}`)).size;
  const kinds: readonly Kind[] = ['sockets of callers', 'sockets of devices', 'memory', 'files', 'log'];
  const placed = (traces: readonly Trace[]): string =>
    kinds.map((kind) => `${pieces(traces.filter((trace) => trace.kind === kind))} in ${kind}`).join(', ');
  const found = [...new Set(search.traces.map(({ as, kind, of }) => `${of} as ${as} in ${kind}`))];
  run.record(
    metric,
    pieces(search.traces),
    `${search.needles} forms of pieces of prompt and answer, ${search.known} of them there before and left out, in ` +
      `${search.megabytes.toFixed(0)} MB of sockets, files, log and memory; failovers: ${search.failovers}; pieces ` +
      `of the same in the open: ${placed(search.control)}`,
    found.slice(0, 5),
  );
}
