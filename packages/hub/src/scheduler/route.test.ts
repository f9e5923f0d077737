/** Claims about choosing a device, and about the words when there is none. */
import { expect, test } from 'vitest';
import { explainNone } from './explain.ts';
import { featuresOf, route, type Candidate, type Demand } from './route.ts';
import { PLAIN_DEMAND, plainSeer } from '../testing/texts.ts';

const candidate = (over: Partial<Candidate> & { device: string }): Candidate => ({
  ...plainSeer(),
  state: 'ready',
  pauseReasons: [],
  model: 'warm',
  numericClass: 'a',
  slots: 4,
  active: 0,
  tokensPerSecond: 100,
  prefillTokensPerSecond: 1_000,
  roundTripMs: 1,
  isElsewhere: false,
  mistrusted: false,
  sharedCost: 1,
  knownTokens: 0,
  features: [],
  ...over,
});
const demand = (over: Partial<Demand> = {}): Demand => ({
  promptTokens: 100,
  answerTokens: 100,
  numericClass: undefined,
  excluded: new Set(),
  features: [],
  text: PLAIN_DEMAND,
  ...over,
});

test('the faster of two idle devices gets the answer, and the slower one once the faster is shared', () => {
  const slow = candidate({ device: 'dev_slow', tokensPerSecond: 60 });
  const fast = (active: number): Candidate => candidate({ device: 'dev_fast', active });
  expect(route([slow, fast(0)], demand())).toMatchObject({ t: 'device', device: 'dev_fast' });
  expect(route([slow, fast(1)], demand())).toMatchObject({ t: 'device', device: 'dev_slow' });
});

test('a long way outweighs a little speed for a short answer', () => {
  const near = candidate({ device: 'dev_near', tokensPerSecond: 90 });
  const far = candidate({ device: 'dev_far', roundTripMs: 400 });
  expect(route([far, near], demand({ answerTokens: 10 }))).toMatchObject({ device: 'dev_near' });
  expect(route([far, near], demand({ answerTokens: 1_000 }))).toMatchObject({ device: 'dev_far' });
});

test('a device without a free slot, paused, draining, cold or excluded gets nothing', () => {
  const full = candidate({ device: 'dev_full', active: 4 });
  expect(route([full], demand())).toMatchObject({ t: 'wait' });
  const others = [
    candidate({ device: 'dev_1', state: 'paused' }),
    candidate({ device: 'dev_2', state: 'draining' }),
    candidate({ device: 'dev_3', model: 'fetching' }),
    candidate({ device: 'dev_4' }),
  ];
  expect(route(others, demand({ excluded: new Set(['dev_4']) }))).toEqual({ t: 'none' });
});

test('an interrupted answer stays in its numeric class while anybody of it can take it, even if it has to wait', () => {
  const fastOther = candidate({ device: 'dev_other', numericClass: 'b', tokensPerSecond: 10_000 });
  const same = candidate({ device: 'dev_same' });
  expect(route([fastOther, same], demand({ numericClass: 'a' }))).toMatchObject({ device: 'dev_same' });
  expect(route([fastOther, { ...same, active: 4 }], demand({ numericClass: 'a' }))).toMatchObject({ t: 'wait' });
  expect(route([fastOther], demand({ numericClass: 'a' }))).toMatchObject({ device: 'dev_other' });
});

test('a device that let an answer stall gets another only when nobody else could have it, of whatever class', () => {
  const stalled = candidate({ device: 'dev_stalled', mistrusted: true, tokensPerSecond: 10_000 });
  const other = candidate({ device: 'dev_other', numericClass: 'b' });
  expect(route([stalled, other], demand({ numericClass: 'a' }))).toMatchObject({ device: 'dev_other' });
  expect(route([stalled, { ...other, active: 4 }], demand())).toMatchObject({ t: 'wait' });
  expect(route([stalled], demand())).toMatchObject({ device: 'dev_stalled' });
});

test('the reason for "nobody" counts the devices and says what holds each back', () => {
  const none = demand();
  const paused = (device: string): Candidate => candidate({ device, state: 'paused' });
  expect(explainNone([], 'm', none)).toMatch(/no device is connected/);
  expect(explainNone([paused('a'), paused('b')], 'm', none)).toBe('2 devices hold this model; both are paused');
  expect(explainNone([paused('a')], 'm', none)).toBe('1 device holds this model; it is paused');
  expect(
    explainNone(
      [paused('a'), candidate({ device: 'b', model: 'loading' }), candidate({ device: 'c', state: 'draining' })],
      'm',
      none,
    ),
  ).toBe('3 devices hold this model; 1 is paused, 1 is draining, 1 is still loading it');
  expect(explainNone([candidate({ device: 'a', model: 'held' })], 'm', none)).toBe(
    '1 device holds this model; it is waiting for memory to load it',
  );
  expect(explainNone([candidate({ device: 'a', model: 'none' })], 'm', none)).toBe(
    '1 device is connected, but none holds "m"',
  );
});

test('only a device that says it can do what the work needs gets it, and the others are told of', () => {
  const plain = candidate({ device: 'dev_plain', tokensPerSecond: 1_000 });
  const able = candidate({ device: 'dev_able', features: ['form', 'tools'] });
  expect(route([plain, able], demand())).toMatchObject({ device: 'dev_plain' });
  expect(route([plain, able], demand({ features: ['form'] }))).toMatchObject({ device: 'dev_able' });
  expect(route([plain, able], demand({ features: ['form', 'logprobs'] }))).toEqual({ t: 'none' });
  expect(explainNone([plain], 'm', demand({ features: ['form', 'bias'] }))).toBe(
    '1 device holds this model; it cannot answer in JSON and bias tokens before an update of its agent',
  );
  expect(explainNone([plain, able], 'm', demand({ features: ['logprobs'] }))).toBe(
    '2 devices hold this model; both cannot tell log probabilities before an update of their agent',
  );
});

test('work needs what its fields ask for, and a conversation that tells of calls needs tools', () => {
  const sampling = { seed: 1 };
  const text = { prompt: { kind: 'text' as const, text: 'x' }, sampling };
  expect(featuresOf(text)).toEqual([]);
  const biased = { ...text, form: { kind: 'json' as const }, logprobs: 0, sampling: { seed: 1, logitBias: [] } };
  expect(featuresOf(biased)).toEqual(['form', 'logprobs', 'bias']);
  const messages = [{ role: 'tool', content: '4', toolCallId: 'call_1' }];
  expect(featuresOf({ prompt: { kind: 'chat', messages }, sampling })).toEqual(['tools']);
});

test('a device that knows the beginning of a conversation gets its next turn, while that is faster', () => {
  const knows = candidate({ device: 'dev_knows', knownTokens: 780 });
  const other = candidate({ device: 'dev_other' });
  expect(route([other, knows], demand({ promptTokens: 800 }))).toMatchObject({ device: 'dev_knows' });
  const busy = { ...knows, active: 3 };
  expect(route([other, busy], demand({ promptTokens: 800, answerTokens: 2_000 }))).toMatchObject({
    device: 'dev_other',
  });
});

test('a device that makes tokens of several answers at once may be shared where one that takes turns is not', () => {
  const batching = candidate({ device: 'dev_batching', tokensPerSecond: 20, active: 3, sharedCost: 0.1 });
  const turns = candidate({ device: 'dev_turns', tokensPerSecond: 12, active: 0 });
  expect(route([batching, turns], demand())).toMatchObject({ device: 'dev_batching' });
  expect(route([{ ...batching, sharedCost: 1 }, turns], demand())).toMatchObject({ device: 'dev_turns' });
});

test('of two that are about as fast the one here is chosen, of two that are not the faster one', () => {
  const elsewhere = candidate({ device: 'dev_a', isElsewhere: true, tokensPerSecond: 140 });
  expect(route([elsewhere, candidate({ device: 'dev_b' })], demand())).toMatchObject({ device: 'dev_b' });
  const slow = candidate({ device: 'dev_b', tokensPerSecond: 40 });
  expect(route([elsewhere, slow], demand())).toMatchObject({ device: 'dev_a' });
});
