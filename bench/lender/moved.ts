/**
 * Answers whose device is paused in mid-sentence because its owner came back: whether the caller hears anything else
 * than it would have, and how long it waits for the next word.
 *
 * An answer is wrong as in `gateway.failover_wrong`. Each is paused several times, each time on the device that is
 * answering then, which may work again before the next one; so all go back and forth.
 */
import type { Engine } from '@idlewild/engine';
import { setTimeout as pause } from 'node:timers/promises';
import { askEngine, askHub, createConnections, type Answered, type Ask } from '../ask.ts';
import type { BenchRun } from '../bench.ts';
import { sameAnswer } from '../gateway/streams.ts';
import { createSeededChance, durationsOf } from '../statistics.ts';
import type { World, WorldDevice } from '../world.ts';

const PAUSES = 100;
const PAUSES_EACH = 3;
const TOKENS = 240;
/** An answer may end before all its pauses have come; others are asked then. */
const ANSWERS_MAX = 120;
/** Of an answer, from one pause to the next: its owner stays for a moment. */
const TOKENS_BETWEEN_MIN = 20;
const LOOKS_MAX = 400;

export async function measureMovedAnswers(run: BenchRun, world: World, model: string): Promise<void> {
  run.say(`lender.answer_moved_wrong: ${PAUSES} pauses in answers of ${model}`);
  const engine = await world.openEngine(model);
  const chance = createSeededChance(7);
  const wrong: string[] = [];
  const gapsMs: number[] = [];
  let pauses = 0;
  let seed = 0;
  for (; pauses < PAUSES; seed++) {
    run.signal.throwIfAborted();
    if (seed >= ANSWERS_MAX) throw new Error(`only ${pauses} pauses met an answer in ${seed} answers`);
    await world.ready(2);
    const moved = await moveAnswer(world, engine, { model, prompt: 'MENENIUS:\n', seed, tokensMax: TOKENS }, chance);
    pauses += moved.pauses;
    wrong.push(...moved.wrong);
    gapsMs.push(...moved.gapsMs);
  }
  await engine.close();
  run.record(
    'lender.answer_moved_wrong',
    wrong.length,
    [`${pauses} pauses in ${seed} answers, longest wait ${durationsOf(gapsMs)}`, ...wrong.slice(0, 5)].join('; '),
  );
}

interface Moved {
  readonly pauses: number;
  readonly wrong: readonly string[];
  /** The longest wait of an answer that moved. */
  readonly gapsMs: readonly number[];
}

async function moveAnswer(world: World, engine: Engine, ask: Ask, chance: () => number): Promise<Moved> {
  const whole = await askEngine(engine, ask);
  const room = Math.floor(whole.pieces.length / (PAUSES_EACH + 1));
  if (room <= TOKENS_BETWEEN_MIN) return { pauses: 0, wrong: [], gapsMs: [] };
  const at = Array.from({ length: PAUSES_EACH }, (_, i) => (i + 1) * room - Math.floor(chance() * (room / 2)));
  const acts: Promise<boolean>[] = [];
  let paused: WorldDevice | undefined;
  const pauseNext = async (): Promise<boolean> => {
    const answering = await findAnswering(world.devices);
    if (answering === undefined) return false;
    paused?.resume();
    paused = answering;
    answering.pause();
    return true;
  };
  const connections = createConnections();
  try {
    const through = await askHub(world, connections, ask, {
      onPieces(count) {
        while (at.length > 0 && count >= (at[0] ?? 0)) {
          at.shift();
          acts.push(pauseNext());
        }
      },
    });
    const pauses = (await Promise.all(acts)).filter(Boolean).length;
    const wrong: string[] = [];
    if (!sameAnswer(whole, through)) wrong.push(`seed ${ask.seed} differs after ${pauses} pauses`);
    else if (!through.exact) wrong.push(`seed ${ask.seed} is not called exact`);
    // A pause that comes with the last tokens moves nothing, and shows nothing.
    return { pauses: through.failovers, wrong, gapsMs: [longestGap(through)] };
  } finally {
    paused?.resume();
    connections.destroy();
  }
}

/** A device says in its next turn that it is answering, so the first tokens may be here before that. */
async function findAnswering(devices: readonly WorldDevice[]): Promise<WorldDevice | undefined> {
  for (let look = 0; look < LOOKS_MAX; look++) {
    const answering = devices.find((device) => device.answering() > 0);
    if (answering !== undefined) return answering;
    await pause(1);
  }
  return undefined;
}

const longestGap = ({ atMs }: Answered): number =>
  atMs.reduce((longest, at, index) => Math.max(longest, at - (atMs[index - 1] ?? at)), 0);
