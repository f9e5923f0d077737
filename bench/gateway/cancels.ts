/**
 * From a caller closing its socket to the engine standing still.
 *
 * What is watched is the computing itself: the processor time of the engines' processes, as Linux counts it. An engine
 * has stopped when that counter stands still for longer than the longest run; the moment is that of its last movement.
 */
import { readFileSync, readdirSync } from 'node:fs';
import type { ClientRequest } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { BenchRun } from '../bench.ts';
import { createSeededChance, durationsOf, percentile } from '../statistics.ts';
import { enginePidsOf, type World } from '../world.ts';
import { askHub, createConnections } from '../ask.ts';

export interface Cancels {
  readonly model: string;
  readonly cancels: number;
  /** At which token the last of them comes. */
  readonly tokensMax: number;
}

/** Three times the longest run that an engine means to make. */
const STILL_MS = 150;
/** Less between two looks is a timer or the collector of an idle process: the shortest run takes five times as much. */
const MOVED_NS = 200_000;
/** An engine that computes on for so long was not cancelled. */
const STOP_MS_MAX = 3_000;

export async function measureCancels(run: BenchRun, world: World, plans: readonly Cancels[]): Promise<void> {
  const engines = world.devices.flatMap(({ pid }) => enginePidsOf(pid));
  const chance = createSeededChance(1);
  const tookMs: number[] = [];
  const notes: string[] = [];
  for (const { model, cancels, tokensMax } of plans) {
    run.say(`gateway.cancel_ms_p99: ${cancels} cancels of ${model}`);
    const ofModel: number[] = [];
    for (let seed = 1; ofModel.length < cancels; seed++) {
      run.signal.throwIfAborted();
      ofModel.push(await cancelOnce(world, engines, { model, seed, atPiece: 1 + Math.floor(chance() * tokensMax) }));
    }
    tookMs.push(...ofModel);
    notes.push(`${cancels} of ${model} after 1 to ${tokensMax} tokens, ${durationsOf(ofModel)}`);
  }
  const note = `${notes.join('; ')}; until the engines' processor time stood still for ${STILL_MS} ms`;
  run.record('gateway.cancel_ms_p99', percentile(tookMs, 0.99), note);
}

interface Cancel {
  readonly model: string;
  readonly seed: number;
  readonly atPiece: number;
}

async function cancelOnce(world: World, engines: readonly number[], cancel: Cancel): Promise<number> {
  const { model, seed, atPiece } = cancel;
  const connections = createConnections();
  let sent: ClientRequest | undefined;
  await new Promise<void>((resolve, reject) => {
    const ask = { model, prompt: 'The king:\n', seed, tokensMax: 400 };
    askHub(world, connections, ask, {
      onRequest: (request) => {
        sent = request;
      },
      onPieces: (count) => {
        if (count >= atPiece) resolve();
      },
    }).then(() => resolve() /* it ended by itself: then there is nothing to stop, and 0 ms would be told */, reject);
  });
  sent?.on('error', () => undefined);
  const cancelledMs = performance.now();
  sent?.destroy();
  connections.destroy();
  return untilStill(engines, cancelledMs);
}

async function untilStill(engines: readonly number[], fromMs: number): Promise<number> {
  let spent = computedNs(engines);
  let movedMs = fromMs;
  for (;;) {
    await pause(1);
    const now = computedNs(engines);
    const nowMs = performance.now();
    if (now - spent >= MOVED_NS) movedMs = nowMs;
    spent = now;
    if (nowMs - movedMs >= STILL_MS || nowMs - fromMs >= STOP_MS_MAX) return movedMs - fromMs;
  }
}

/** Nanoseconds of processor time of all threads (schedstat, proc(5)). */
function computedNs(pids: readonly number[]): number {
  let sum = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 1)[0]);
    }
  }
  return sum;
}
