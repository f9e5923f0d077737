/** What people ask, when, and whether they wait for the end: requests of many sizes by the dice of the seed. */
import type { AnswerWork, Prompt } from '@idlewild/protocol';
import type { Chance } from '../chance.ts';
import type { Rates, ReplicaRates } from '../rates.ts';
import { CONTEXT_TOKENS, type World, type WorldModel } from '../world.ts';

export interface Demand {
  end(): void;
  asked(): number;
}

const WORDS = 'the lamp of an idle house burns for whoever asks and costs nobody sleep'.split(' ');
const FLOOD_REQUESTS = 900;
const HANG_UP_MS = 6_000;

export function startDemand(world: World, rates: Rates & ReplicaRates): Demand {
  const { agenda, clock, callers, keyedCallers, callerKeys } = world;
  const chance = world.chance('demand');
  const floods = world.chance('floods');
  let asked = world.firstRequest;
  let ended = false;

  function ask(work: (request: number) => Omit<AnswerWork, 'tokens'>, deadlineMs?: number): number {
    const request = asked++;
    // The dice are thrown only where there is a replica to come back to.
    const asking = world.cluster.size > 1 && chance.happens(rates.keyedShare) ? keyedCallers : callers;
    asking.ask(request, chance.pick(callerKeys), work(request), deadlineMs, pickModel(chance, world.models).name);
    return request;
  }
  function one(): void {
    const deadlineMs = chance.happens(0.04) ? chance.between(500, 6_000) : undefined;
    const request = ask((number) => drawWork(chance, number), deadlineMs);
    if (!chance.happens(rates.hangUpShare)) return;
    const afterMs = chance.happens(0.2) ? 0 : chance.between(0, HANG_UP_MS);
    agenda.at(clock.monotonic() + afterMs, () => {
      callers.hangUp(request);
      keyedCallers.hangUp(request);
    });
  }
  function flood(): void {
    world.record.note({ e: 'fault', kind: 'flood', what: `${FLOOD_REQUESTS} requests` });
    for (let number = 0; number < FLOOD_REQUESTS; number++) {
      ask((request) => ({ ...drawWork(floods, request), tokensMax: 2 }));
    }
  }
  function every(dice: Chance, perMinute: number, act: () => void): void {
    const gapMs = dice.gapMs(perMinute);
    if (!Number.isFinite(gapMs)) return;
    agenda.at(clock.monotonic() + gapMs, () => {
      if (ended) return;
      act();
      every(dice, perMinute, act);
    });
  }
  every(chance, rates.requests, one);
  every(floods, rates.floods, flood);
  return {
    end: () => {
      ended = true;
    },
    asked: () => asked - world.firstRequest,
  };
}

function drawWork(chance: Chance, request: number): Omit<AnswerWork, 'tokens'> {
  const text = `#${request} ${drawText(chance)}`;
  const prompt: Prompt = chance.happens(0.5)
    ? { kind: 'text', text }
    : {
        kind: 'chat',
        messages: [
          { role: 'system', content: 'be brief' },
          { role: 'user', content: text },
        ],
      };
  return {
    prompt,
    sampling: { seed: chance.whole(0, 2 ** 31), temperature: chance.unit() },
    choice: 0,
    stop: [],
    ...(chance.happens(0.1) ? {} : { tokensMax: chance.whole(1, 96) }),
  };
}

/** Short, mostly; some need seconds to be read, and a few do not fit at all. */
function drawText(chance: Chance): string {
  const size = chance.unit();
  const characters =
    size > 0.99 ? 4 * CONTEXT_TOKENS : size > 0.93 ? chance.whole(2_000, 6_000) : chance.whole(10, 200);
  let text = '';
  while (text.length < characters) text += `${chance.pick(WORDS)} `;
  return text;
}

/** Some models are asked for far more than others. The dice are thrown only where there is a choice. */
function pickModel(chance: Chance, models: readonly WorldModel[]): WorldModel {
  const index = models.length === 1 ? 0 : Math.floor(chance.unit() ** 3 * models.length);
  return models[index] as WorldModel;
}
