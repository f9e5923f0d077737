/**
 * Answers whose device is killed in mid-sentence: how long the caller waits for the next word, and whether one is
 * wrong.
 *
 * `kill -9` of the device's whole process group at a random token. An answer is wrong when its text, its pieces or its
 * number of tokens are not those of the uninterrupted answer of the same seed, or when the hub does not call it exact.
 * The killed device starts again beside the next answer, which finds at least two others.
 */
import type { Engine } from '@idlewild/engine';
import { setTimeout as pause } from 'node:timers/promises';
import type { BenchRun } from '../bench.ts';
import { createSeededChance, durationsOf, percentile } from '../statistics.ts';
import type { World, WorldDevice } from '../world.ts';
import { askEngine, askHub, createConnections, type Ask } from '../ask.ts';
import { sameAnswer } from './streams.ts';

const KILLS = 50;
const TOKENS = 240;
/** Answers may end before the kill has reached the device; those are asked again with another seed. */
const TRIES_MAX = 120;

interface Kills {
  readonly gapsMs: number[];
  readonly wrong: string[];
}

export async function measureFailovers(run: BenchRun, world: World, models: readonly string[]): Promise<void> {
  const all: Kills = { gapsMs: [], wrong: [] };
  const notes: string[] = [];
  for (const model of models) {
    run.say(`gateway.failover: ${KILLS} kills in answers of ${model}`);
    const engine = await world.openEngine(model);
    const kills = await killMany(run, world, engine, model);
    await engine.close();
    all.gapsMs.push(...kills.gapsMs);
    all.wrong.push(...kills.wrong);
    notes.push(`${model}: ${durationsOf(kills.gapsMs)}`);
  }
  const kills = `${all.gapsMs.length} kills -9 of the answering device`;
  run.record('gateway.failover_gap_ms_p99', percentile(all.gapsMs, 0.99), `${kills}; ${notes.join('; ')}`);
  const note = [`${kills}, ${KILLS} each of ${models.join(' and ')}`, ...all.wrong.slice(0, 5)].join('; ');
  run.record('gateway.failover_wrong', all.wrong.length, note);
}

async function killMany(run: BenchRun, world: World, engine: Engine, model: string): Promise<Kills> {
  const kills: Kills = { gapsMs: [], wrong: [] };
  const chance = createSeededChance(2);
  const connections = createConnections();
  try {
    for (let seed = 1; kills.gapsMs.length < KILLS; seed++) {
      run.signal.throwIfAborted();
      const reached = kills.gapsMs.length;
      if (seed > TRIES_MAX) throw new Error(`only ${reached} of ${seed} answers outlived their device`);
      await world.ready(2);
      const ask: Ask = { model, prompt: 'MENENIUS:\n', seed, tokensMax: TOKENS };
      const whole = await askEngine(engine, ask);
      const killAt = 1 + Math.floor(chance() * (whole.pieces.length - 40));
      if (killAt < 1) continue;
      let isKilled = false;
      const through = await askHub(world, connections, ask, {
        onPieces(count) {
          if (isKilled || count < killAt) return;
          isKilled = true;
          void killAnswering(world.devices);
        },
      });
      if (through.failovers === 0 && sameAnswer(whole, through)) continue;
      kills.gapsMs.push(longestPause(through.atMs));
      const same = sameAnswer(whole, through);
      if (!same) kills.wrong.push(`seed ${seed} of ${model} differs after a kill at token ${killAt}`);
      else if (!through.exact) kills.wrong.push(`seed ${seed} of ${model} is not called exact`);
    }
  } finally {
    connections.destroy();
  }
  return kills;
}

/** A device says in its next turn that it is answering, so the first tokens may be here before that. */
async function killAnswering(devices: readonly WorldDevice[]): Promise<void> {
  for (let turn = 0; turn < 200; turn++) {
    const answering = devices.find((device) => device.answering() > 0);
    if (answering !== undefined) return answering.killAndRestart();
    await pause(1);
  }
}

const longestPause = (atMs: readonly number[]): number =>
  atMs.reduce((longest, at, index) => Math.max(longest, at - (atMs[index - 1] ?? at)), 0);
