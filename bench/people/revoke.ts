/**
 * How soon a right that was taken has nothing more, on three replicas as `idlewild up` starts them, over PostgreSQL and
 * NATS. Streams run over HTTP at each replica; then a steward takes the right with one request to one of them.
 *
 * Time counts from before that request is sent to the last byte of each stream, its error's included: what a steward
 * and a caller could see, and more than from the request's answer. Half of the trials have their bus cut before, in the
 * meanest way: connections stay open and nothing passes, so that the database alone tells. A stream that ends of its
 * own accord, or by another error than the right's, is a fault.
 */
import { request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { createClient, type Client } from '@idlewild/client';
import type { ErrorCode } from '@idlewild/protocol';
import { MODEL, type ReplicaWorld } from '../../test/replicas/world.ts';
import type { BenchRun } from '../bench.ts';
import { inReplicaWorld } from '../replicas/shared.ts';
import { longSeed } from '../replicas/long-seed.ts';
import { percentile } from '../statistics.ts';

const REPLICAS = 3;
/** At each replica, in each trial. */
const STREAMS = 2;
/** Of each kind, with the bus and without. */
const TRIALS = { key: 9, role: 4, model: 4 };
/** Longer than a trial: 200 tokens at 40 a second. */
const TOKENS = 200;
const TOKENS_PER_SECOND = 40 * STREAMS;
const PROMPT = 'Speak until you are stopped.';
/** Replicas look at most this far apart; the right is taken at any moment between two looks. */
const LOOK_MS = 500;

type Kind = keyof typeof TRIALS;

/** What is taken, and by which error its streams end. */
interface Taken {
  readonly door: string;
  readonly code: ErrorCode;
  take(steward: Client): Promise<unknown>;
  /** So that the next trial begins as this one did. */
  giveBack?(steward: Client): Promise<unknown>;
}

const rights: Readonly<Record<Kind, (steward: Client, number: number) => Promise<Taken>>> = {
  async key(steward) {
    const { id, key } = await steward.keys.create({ role: 'caller', name: 'to be revoked' });
    return { door: key, code: 'unauthenticated', take: (by) => by.keys.revoke(id) };
  },
  async role(steward, number) {
    const role = `guest-${number}`;
    await steward.people.roles.create({ name: role, permissions: ['listModels'] });
    const { id, key } = await steward.keys.create({ role, name: 'to lose a role' });
    const binding = await steward.people.bindings.create({ subject: { kind: 'key', id }, role: 'caller' });
    return { door: key, code: 'forbidden', take: (by) => by.people.bindings.remove(binding.id) };
  },
  async model(steward) {
    const { key } = await steward.keys.create({ role: 'caller', name: 'of a model to be stopped' });
    return {
      door: key,
      code: 'model_stopped',
      take: (by) => by.models.stop(MODEL, 'the bench says so'),
      giveBack: (by) => by.models.allow(MODEL),
    };
  },
};

export const measureRevoke = (run: BenchRun, metric: string): Promise<void> =>
  inReplicaWorld({ replicas: REPLICAS }, async (world) => {
    await world.addDevices(REPLICAS, { slots: 8, tokensPerSecond: TOKENS_PER_SECOND, direct: world.replicas });
    await world.whole();
    const tookMs: Record<'told' | 'cut', number[]> = { told: [], cut: [] };
    const faults: string[] = [];
    let number = 0;
    for (const kind of Object.keys(TRIALS) as Kind[]) {
      run.say(`${metric}: ${TRIALS[kind]} trials of a ${kind}, with a bus and without`);
      for (let trial = 0; trial < 2 * TRIALS[kind]; trial++) {
        run.signal.throwIfAborted();
        const way = trial % 2 === 0 ? 'told' : 'cut';
        const ends = await trialOf(world, { kind, number: number++, isCut: way === 'cut' });
        tookMs[way].push(...ends.map((end) => end.afterMs));
        faults.push(...ends.flatMap(({ fault }) => (fault === undefined ? [] : [`a ${kind}'s stream ${fault}`])));
      }
    }
    const of = (way: 'told' | 'cut'): string =>
      `${tookMs[way].length} streams, median ${percentile(tookMs[way], 0.5).toFixed(0)}, 99 % within ` +
      `${percentile(tookMs[way], 0.99).toFixed(0)} ms`;
    run.record(
      metric,
      Math.max(percentile(tookMs.told, 0.99), percentile(tookMs.cut, 0.99)),
      `the worse of both: with the bus cut ${of('cut')}; with the bus ${of('told')}; keys, roles and a stopped model`,
      [...new Set(faults)],
    );
  });

interface End {
  readonly afterMs: number;
  readonly fault: string | undefined;
}

async function trialOf(world: ReplicaWorld, plan: { kind: Kind; number: number; isCut: boolean }): Promise<End[]> {
  const { kind, number, isCut } = plan;
  const { replicas, stewardKey } = world;
  // By turns each of them is the one that is told.
  const stewards = replicas.map((replica) => createClient({ hub: replica.url(), key: stewardKey }));
  const steward = stewards[number % REPLICAS] as Client;
  const taken = await rights[kind](steward, number);
  const streams = replicas.flatMap((replica, index) =>
    Array.from({ length: STREAMS }, (_, stream) =>
      openStream(replica.url(), taken.door, (number * REPLICAS + index) * STREAMS + stream),
    ),
  );
  await Promise.all(streams.map(({ begun }) => begun));
  if (isCut) for (const replica of replicas) replica.bus.silence();
  try {
    await pause(Math.random() * LOOK_MS);
    const sentAtMs = performance.now();
    await taken.take(steward);
    const ends = await Promise.all(streams.map(({ ended }) => ended));
    return ends.map(({ lastAtMs, text }) => ({ afterMs: lastAtMs - sentAtMs, fault: faultOf(text, taken.code) }));
  } finally {
    if (isCut) for (const replica of replicas) replica.bus.restore();
    await taken.giveBack?.(steward);
  }
}

function faultOf(text: string, code: ErrorCode): string | undefined {
  if (text.includes(`"code":"${code}"`)) return undefined;
  const other = /"code":"([a-z_]+)"/.exec(text)?.[1];
  return other === undefined ? 'was not stopped' : `ended with ${other}`;
}

interface Ended {
  readonly lastAtMs: number;
  readonly text: string;
}

interface OpenStream {
  /** Resolves with its first bytes. */
  readonly begun: Promise<void>;
  readonly ended: Promise<Ended>;
}

/** A right that was given this moment is known everywhere within half a second: until then it is asked for again. */
const TRIES_MAX = 40;
const TRY_MS = 50;

function openStream(url: string, key: string, number: number): OpenStream {
  const begun = Promise.withResolvers<void>();
  const listen = async (): Promise<Ended> => {
    for (let tries = 1; ; tries++) {
      const { status, ...ended } = await listenOnce(url, key, number, begun.resolve);
      if (status === 200) return ended;
      if (tries === TRIES_MAX) throw new Error(`a stream was refused with ${status}: ${ended.text.slice(0, 200)}`);
      await pause(TRY_MS);
    }
  };
  const ended = listen();
  ended.catch(begun.reject);
  return { begun: begun.promise, ended };
}

function listenOnce(
  url: string,
  key: string,
  number: number,
  onBegun: () => void,
): Promise<Ended & { readonly status: number }> {
  const prompt = `${PROMPT} ${number}`;
  const seed = longSeed(prompt, 0, TOKENS);
  const body = JSON.stringify({ model: MODEL, prompt, seed, max_tokens: TOKENS, stream: true });
  const headers = {
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/v1/completions`, { method: 'POST', agent: false, headers }, (response) => {
      const status = response.statusCode ?? 0;
      let text = '';
      let lastAtMs = 0;
      response.setEncoding('utf8').on('data', (chunk: string) => {
        lastAtMs = performance.now();
        text += chunk;
        if (status === 200) onBegun();
      });
      response.once('close', () => resolve({ status, lastAtMs, text }));
    });
    sent.setNoDelay(true);
    sent.once('error', reject);
    sent.end(body);
  });
}
