/**
 * Neutrality: who a caller is decides nothing beyond policy. Ids of callers of equal standing are swapped and renamed,
 * and everything else stays: devices chosen, turns taken, limits, what may be spent, and every word that is said of it.
 */
import type { AnswerWork, IdlewildError } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { inTurn, type InLine } from '../answers/in-turn.ts';
import type { KeyPrincipal } from '../identity/principal.ts';
import type { AnswerRequest } from '../answers/port.ts';
import { createMemoryBuckets } from '../callers/buckets.ts';
import { createLimits } from '../callers/limits.ts';
import { decide, floorOf, refusal, regularBound, type Way } from '../projects/decide.ts';
import { openTestDoor } from '../testing/test-door.ts';
import { PLAIN_DEMAND, plainSeer } from '../testing/texts.ts';
import { explainNone } from './explain.ts';
import { route, type Candidate, type Demand } from './route.ts';

const SEEDS = Array.from({ length: 200 }, (_, index) => index + 1);
const CALLERS = 5;
/** Of a machine that others use as well. */
const PATIENCE = { timeout: 20_000 };

type Draw = ReturnType<typeof drawFrom>;
function drawFrom(seed: number) {
  const random = createSeededRandom(seed);
  const below = (count: number): number => Math.floor(random.unit() * count);
  const one = <Item>(items: readonly Item[]): Item => items[below(items.length)] as Item;
  const shuffled = <Item>(items: readonly Item[]): Item[] =>
    items
      .map((item) => ({ item, at: random.unit() }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ item }) => item);
  return { below, one, shuffled };
}

/** Two sets of names for the same callers, in different orders of the alphabet. */
function namesOf({ shuffled, below }: Draw): [string[], string[]] {
  const names = Array.from({ length: CALLERS }, (_, index) => `per_${String.fromCharCode(97 + index)}`);
  return [names, shuffled(names).map((name) => `${name}${below(1_000)}`)];
}
/** What was said of one caller as it would be said of another. */
const renamed = (text: string, from: readonly string[], to: readonly string[]): string =>
  from.reduce((said, name, index) => said.replaceAll(new RegExp(`${name}\\b`, 'g'), to[index] ?? ''), text);

test('turns are taken in the same order, whatever the callers are called', () => {
  for (const seed of SEEDS) {
    const draw = drawFrom(seed);
    const [names, others] = namesOf(draw);
    const items = Array.from({ length: 30 }, (_, index) => ({
      index,
      caller: draw.below(CALLERS),
      hasPerson: draw.below(2) === 0,
      phase: draw.one(['queued', 'queued', 'running'] as const),
      epoch: draw.one([0, 0, 0, 1]),
    }));
    const orderOf = (called: readonly string[]): number[] => {
      const lines = items.map(({ caller, hasPerson, phase, epoch, index }) => {
        const name = called[caller] ?? '';
        const request: InLine['request'] = {
          territory: 't',
          key: `key_${name}`,
          ...(hasPerson ? { text: { person: name } } : {}),
        };
        return { index, request, state: { phase, epoch } };
      });
      return inTurn(
        lines.filter(({ state }) => state.phase === 'queued'),
        lines,
      ).map(({ index }) => index);
    };
    expect({ seed, order: orderOf(others) }).toEqual({ seed, order: orderOf(names) });
  }
});

test('the same device is chosen, and the same is said when there is none', () => {
  for (const seed of SEEDS) {
    const draw = drawFrom(seed);
    const [names, others] = namesOf(draw);
    const candidates = Array.from({ length: 6 }, (_, index): Candidate => ({
      ...plainSeer(),
      device: `dev_${index}`,
      state: draw.one(['ready', 'ready', 'paused', 'draining'] as const),
      pauseReasons: [],
      model: draw.one(['warm', 'warm', 'loading', 'none'] as const),
      numericClass: draw.one(['a', 'b']),
      slots: 4,
      active: draw.below(5),
      tokensPerSecond: draw.one([10, 20, undefined]),
      prefillTokensPerSecond: 100,
      roundTripMs: draw.below(100),
      isElsewhere: draw.below(2) === 0,
      mistrusted: draw.below(5) === 0,
      sharedCost: 1,
      knownTokens: 0,
      features: [],
    }));
    const asked = { promptTokens: draw.below(500), answerTokens: draw.below(500) };
    const demandOf = (person: string | undefined): Demand => ({
      ...asked,
      numericClass: undefined,
      excluded: new Set(),
      features: [],
      text: { ...PLAIN_DEMAND, person },
    });
    const all = [...names, ...others, undefined].map(demandOf);
    const routes = new Set(all.map((demand) => JSON.stringify(route(candidates, demand))));
    const words = new Set(all.map((demand) => explainNone(candidates, 'jacobean', demand)));
    expect({ seed, routes: routes.size, words: words.size }).toEqual({ seed, routes: 1, words: 1 });
  }
});

test('what may be spent is the same, and so is every refusal but for the name in it', () => {
  for (const seed of SEEDS) {
    const draw = drawFrom(seed);
    const [names, others] = namesOf(draw);
    const count = () => ({ tokens: draw.below(2_000), held: draw.below(300), requests: draw.below(5) });
    const [own, floor, all, floors] = [count(), count(), count(), count()];
    const most = draw.one([undefined, 500, 3_000]);
    const wanted = { promptTokens: draw.below(400), answerTokens: 1 + draw.below(400), answers: 1 };
    const said = (name: string): string => {
      const capped = {
        kind: 'person',
        subject: name,
        tokens: { most: 2_000, spent: own.tokens, held: own.held },
      } as const;
      const whole = regularBound({ tokens: most, requests: undefined }, all, floors, { tokens: 500, requests: 0 });
      const share = floorOf(500, most, CALLERS);
      const ways: Way[] = [
        { payer: `alc_${name}`, bounds: [{ ...capped, kind: 'allocation' }, capped, whole] },
        {
          payer: 'floor',
          bounds: [{ kind: 'floor', subject: name, tokens: { most: share, spent: floor.tokens, held: 0 } }],
        },
      ];
      const chosen = decide(ways, wanted);
      if (chosen !== undefined) return JSON.stringify(chosen);
      const asker = { project: name, needsProject: false, renewsAtMs: 86_400_000, nowMs: 0 };
      const { code, message, details } = refusal(ways, wanted, asker);
      return JSON.stringify({ code, message, details });
    };
    expect({ seed, said: renamed(said(others[0] ?? ''), others, names) }).toEqual({ seed, said: said(names[0] ?? '') });
  }
});

test('limits are the same', async () => {
  for (const seed of SEEDS.slice(0, 50)) {
    const outcomes = async (which: 0 | 1): Promise<string[]> => {
      const draw = drawFrom(seed);
      const called = namesOf(draw)[which];
      const clock = createFakeClock(async () => {});
      const buckets = createMemoryBuckets(clock);
      const defaults = { requestsPerMinute: 4, tokensPerMinute: 500 };
      const limits = createLimits({
        buckets,
        asks: buckets,
        defaults,
        onFault: (error) => expect.unreachable(String(error)),
      });
      const seen: string[] = [];
      for (let step = 0; step < 40; step++) {
        const keyId = called[draw.below(CALLERS)] ?? '';
        const admission = await limits.admit({ keyId }, draw.below(200));
        seen.push('error' in admission ? admission.error.message : JSON.stringify(admission.standing));
        limits.charge(keyId, draw.below(100));
        await clock.advance(draw.below(5_000));
      }
      return seen;
    };
    expect({ seed, seen: await outcomes(1) }).toEqual({ seed, seen: await outcomes(0) });
  }
});

test('a fresh hub has no rule on content, and answers in the same order whoever of equals asks what', async () => {
  const door = await openTestDoor('jacobean');
  const { hub } = door;
  const territory = hub.territory.id;
  expect(await hub.use.current()).toMatchObject({ version: 0 });
  const promptOf = (work: AnswerWork): string => (work.prompt.kind === 'text' ? work.prompt.text : '');
  let served: string[] = [];
  const device = await door.join(
    (work) => {
      served.push(promptOf(work));
      return { tokens: ['ay'] };
    },
    { status: { slots: 1 } },
  );
  /** Holds its first answer until all others wait. */
  const answer = device.onMessage;
  let held: (() => void)[] | undefined;
  device.onMessage = (message) => {
    if (held === undefined || message.t !== 'answer') answer(message);
    else held.push(() => answer(message));
  };
  const keys: KeyPrincipal[] = [];
  for (let index = 0; index < 4; index++) {
    const { key } = await hub.keys.create({ territory, role: 'caller', actor: 'test' });
    keys.push(await hub.keys.authenticate(key));
  }
  const ask = async (asker: (typeof keys)[number], text: string): Promise<void> => {
    const permit = await hub.policy.permit(asker, 'answer', { territory, id: door.model.cid });
    const request: AnswerRequest = {
      territory,
      key: asker.keyId,
      model: door.model,
      permit,
      text: { dataClass: 'internal', cause: undefined, person: undefined },
      work: { prompt: { kind: 'text', text }, sampling: { seed: 1 }, choice: 0, stop: [], tokensMax: 1 },
    };
    await new Promise<void>((resolve, reject) => {
      const sink = {
        started: () => {},
        token: () => {},
        finished: () => resolve(),
        failed: (error: IdlewildError) => reject(error),
      };
      hub.answers.submit(request, sink).catch(reject);
    });
  };
  /** Which of three callers asks, one after the other. */
  const pattern = [0, 0, 0, 0, 1, 1, 2, 0, 1, 2];
  const orders = new Set<string>();
  for (const order of [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ]) {
    served = [];
    held = [];
    const first = ask(keys[3] as KeyPrincipal, 'before all others');
    await expect.poll(() => held?.length, PATIENCE).toBe(1);
    const asked = pattern.map((caller, index) => {
      const key = keys[order[caller] ?? 0];
      if (key === undefined) throw new Error('there are three');
      return ask(key, `question ${index}`);
    });
    await expect.poll(() => hub.answers.counts().queued, PATIENCE).toBe(pattern.length);
    const [release] = held;
    held = undefined;
    release?.();
    await Promise.all([first, ...asked]);
    expect(served).toHaveLength(1 + pattern.length);
    orders.add(served.join(', '));
  }
  expect([...orders]).toHaveLength(1);
  // Not the order of arrival: who asked four times had to wait.
  const arrival = ['before all others', ...pattern.map((_, index) => `question ${index}`)];
  expect([...orders][0]).not.toBe(arrival.join(', '));
  await door.close();
});
