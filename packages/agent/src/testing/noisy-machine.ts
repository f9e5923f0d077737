/**
 * A machine whose signals are noisy, and never far from the lines where the default rules pause: what is true, and what
 * is read of it. In each block of its day some things happen, and the rest is quiet; all by one seed.
 *
 * True are the person, the film, the plug, the load of a minute. Read are touches that are told by the second, gaps
 * between songs, plugs that bounce, ticks of the system's accounting, sensors that are off by some degrees.
 */
import type { Random } from '@idlewild/protocol';
import type { Signals } from '../core/lending/idleness/port.ts';

export interface Reading {
  readonly truth: Signals;
  readonly read: Signals;
}

export interface NoisyMachine {
  /** Times must not go back. */
  at(ms: number): Reading;
}

const BLOCK_MS = 1_200_000;
const QUIET: Truth = {
  lastTouchMs: -Infinity,
  locked: false,
  fullScreen: false,
  audio: false,
  camera: false,
  otherCpu: 0.03,
  otherGpu: 0.01,
  onBattery: false,
  charge: 0.9,
  celsius: 48,
  memoryPressure: 0,
  memoryFree: 0.5,
  meteredNetwork: false,
  programs: [],
};

interface Truth extends Omit<Signals, 'inputIdleMs'> {
  readonly lastTouchMs: number;
}

/** What may happen, and for how long it stays as it is. Levels lie around the default lines, on both sides of them. */
const EVENTS: Readonly<Record<string, (random: Random, ms: number, before: Truth) => Partial<Truth>>> = {
  // Gaps of somebody who reads lie around the three minutes after which nobody is there.
  person: (random, ms) => (random.unit() < 0.6 ? { lastTouchMs: ms, locked: false } : { locked: random.unit() < 0.2 }),
  load: (random) => ({ otherCpu: pick(random, [0.03, 0.1, 0.13, 0.15, 0.17, 0.2, 0.23, 0.27, 0.3, 0.6]) }),
  gpu: (random) => ({ otherGpu: pick(random, [0.01, 0.05, 0.09, 0.11, 0.15, 0.18, 0.22, 0.5]) }),
  heat: (random) => ({ celsius: pick(random, [55, 70, 73, 76, 80, 83, 84, 86, 88]) }),
  memory: (random) => ({
    memoryPressure: pick(random, [0, 0.02, 0.03, 0.05, 0.09, 0.11, 0.2]),
    memoryFree: pick(random, [0.5, 0.2, 0.14, 0.12, 0.1, 0.085, 0.075]),
  }),
  power: (random) => ({ onBattery: random.unit() < 0.5 }),
  charge: (random) => ({ charge: pick(random, [0.28, 0.29, 0.295, 0.31, 0.33, 0.34, 0.35, 0.36]) }),
  film: (random) => ({ audio: random.unit() < 0.6, fullScreen: random.unit() < 0.5 }),
  call: (random) => ({ camera: random.unit() < 0.6, audio: random.unit() < 0.6 }),
  network: (random) => ({ meteredNetwork: random.unit() < 0.5 }),
  game: (random) => ({ programs: random.unit() < 0.5 ? ['game'] : [] }),
};

export function createNoisyMachine(random: Random): NoisyMachine {
  let truth = QUIET;
  let block = -1;
  let celsius = QUIET.celsius ?? 0;
  let beforeMs = 0;
  const happening = new Map<string, number>();
  const noise = createNoise(random);
  return {
    at(ms) {
      if (Math.floor(ms / BLOCK_MS) !== block) {
        block = Math.floor(ms / BLOCK_MS);
        happening.clear();
        truth = { ...QUIET, lastTouchMs: truth.lastTouchMs };
        for (let count = 0; count < 2; count++) happening.set(pick(random, Object.keys(EVENTS)), ms);
      }
      for (const [event, dueMs] of happening) {
        if (ms < dueMs) continue;
        truth = { ...truth, ...EVENTS[event]?.(random, ms, truth) };
        happening.set(
          event,
          ms + (event === 'person' ? between(random, 1_000, 300_000) : between(random, 5_000, 400_000)),
        );
      }
      // A heatsink takes its time.
      celsius += ((truth.celsius ?? 0) - celsius) * (1 - Math.exp((beforeMs - ms) / 20_000));
      beforeMs = ms;
      const { lastTouchMs, ...rest } = truth;
      const told: Signals = { ...rest, celsius, inputIdleMs: Math.min(ms - lastTouchMs, 1e9) };
      return { truth: told, read: noise(told, ms) };
    },
  };
}

interface Bounce {
  readonly is: boolean | undefined;
  readonly reads: boolean | undefined;
  readonly untilMs: number;
  readonly turnsAtMs: number;
}

function createNoise(random: Random): (truth: Signals, ms: number) => Signals {
  let beforeMs = -1_000;
  const bounces = new Map<keyof Signals, Bounce>();
  /** Just after it changed, what is so reads as what it is not, on and off. A notification sounds at times. */
  const bounced = (name: keyof Signals, is: boolean | undefined, ms: number, longestMs: number): boolean => {
    const before = bounces.get(name) ?? { is, reads: is, untilMs: 0, turnsAtMs: 0 };
    const sounds = name === 'audio' && random.unit() < (ms - beforeMs) / 600_000;
    let now = before.is !== is || sounds ? { ...before, is, untilMs: ms + random.unit() * longestMs } : before;
    if (ms >= now.untilMs) now = { ...now, reads: is };
    else if (ms >= now.turnsAtMs)
      now = { ...now, reads: now.reads !== true, turnsAtMs: ms + random.unit() * longestMs * 0.5 };
    bounces.set(name, now);
    return now.reads === true;
  };
  return (truth, ms) => {
    const passedMs = Math.max(1, ms - beforeMs);
    // Over 50 ms a processor's ticks of 10 ms come to ±0.06; over a second they nearly cancel out.
    const tick = 0.06 * Math.sqrt(50 / passedMs);
    const spike = random.unit() < passedMs / 120_000 ? Math.min(1, 50 / passedMs) : 0;
    const read: Signals = {
      ...truth,
      // Told by the second, and by one of two sources late.
      inputIdleMs: Math.max(
        0,
        Math.floor((truth.inputIdleMs ?? 0) / 1_000) * 1_000 + (random.unit() < 0.5 ? 0 : 3_000),
      ),
      fullScreen: bounced('fullScreen', truth.fullScreen, ms, 8_000),
      audio: bounced('audio', truth.audio, ms, truth.audio === true ? 20_000 : 1_500),
      camera: bounced('camera', truth.camera, ms, 8_000),
      otherCpu: share((truth.otherCpu ?? 0) + tick * normal(random) + spike),
      otherGpu: share((truth.otherGpu ?? 0) + tick * normal(random)),
      onBattery: bounced('onBattery', truth.onBattery, ms, 5_000),
      charge: share((truth.charge ?? 0) + 0.01 * Math.round(normal(random))),
      celsius: (truth.celsius ?? 0) + 1.5 * normal(random),
      memoryPressure: share((truth.memoryPressure ?? 0) + 0.01 * normal(random)),
      memoryFree: share((truth.memoryFree ?? 0) + 0.01 * normal(random)),
      meteredNetwork: bounced('meteredNetwork', truth.meteredNetwork, ms, 15_000),
      programs: bounced('programs', (truth.programs?.length ?? 0) > 0, ms, 5_000) ? ['game'] : [],
    };
    beforeMs = ms;
    return read;
  };
}

const between = (random: Random, from: number, until: number): number => from + random.unit() * (until - from);
const share = (value: number): number => Math.min(1, Math.max(0, value));

function pick<T>(random: Random, of: readonly T[]): T {
  return of[Math.floor(random.unit() * of.length)] as T;
}

/** Box and Muller. */
const normal = (random: Random): number =>
  Math.sqrt(-2 * Math.log(1 - random.unit())) * Math.cos(2 * Math.PI * random.unit());
