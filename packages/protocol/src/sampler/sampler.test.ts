/**
 * The sampler against the plain definition, against published vectors, and against the fixtures that every port
 * replays.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fromHex } from '../bytes.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import type { Sampling } from '../wire/answer.ts';
import { exp, ln } from './ln.ts';
import { LOGPROB_MIN, logSoftmax } from './log-softmax.ts';
import { gumbel, keyOf, noise, philox } from './philox.ts';
import { createSampler, sampleToken, type SamplerContext } from './sampler.ts';

interface Fixtures {
  ln: { x: string; y: string }[];
  exp: { x: string; y: string }[];
  philox: { counter: string; key: string; block: string }[];
  noise: { seed: number; choice: number; position: number; token: number; value: string }[];
  tokens: TokenCase[];
  constrained: (TokenCase & { allowed: string })[];
}
interface TokenCase {
  logits: string;
  sampling: Sampling;
  prompt: number[];
  answer: number[];
  choice: number;
  token: number;
}
const fixtures = JSON.parse(
  readFileSync(new URL('../../fixtures/v1/sampler.json', import.meta.url), 'utf8'),
) as Fixtures;

const viewOf = (hex: string): DataView => new DataView(fromHex(hex).buffer);
const float64 = (hex: string): number => viewOf(hex).getFloat64(0);
const float32s = (hex: string): Float32Array =>
  Float32Array.from({ length: hex.length / 8 }, (_, i) => viewOf(hex).getFloat32(4 * i));
const words32 = (hex: string): number[] =>
  Array.from({ length: hex.length / 8 }, (_, i) => viewOf(hex).getUint32(4 * i));

const NEUTRAL: Sampling = {
  temperature: 1,
  topK: 0,
  topP: 1,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  seed: 7,
};

/** The definition in docs/protocol-sampler.md, word for word and without a thought for speed. */
function plainToken(
  logits: Float32Array,
  sampling: Sampling,
  { prompt, answer, choice, allowed }: SamplerContext,
): number {
  const rows = Array.from(logits, (logit, id) => ({ id, value: logit }));
  for (const [id, bias] of sampling.logitBias ?? []) if (rows[id] !== undefined) rows[id].value += bias;
  for (const row of rows)
    if (allowed !== undefined && (((allowed[row.id >> 5] ?? 0) >> (row.id & 31)) & 1) === 0) row.value = -Infinity;
  const seen = new Set([...Array.from(prompt), ...Array.from(answer)]);
  for (const row of rows) {
    if (seen.has(row.id))
      row.value = row.value > 0 ? row.value / sampling.repetitionPenalty : row.value * sampling.repetitionPenalty;
    const count = Array.from(answer).filter((id) => id === row.id).length;
    if (count > 0) row.value = row.value - count * sampling.frequencyPenalty - sampling.presencePenalty;
  }
  const order = (a: { id: number; value: number }, b: { id: number; value: number }): number =>
    b.value - a.value || a.id - b.id;
  rows.sort(order);
  if (sampling.temperature < 1e-6) return rows[0]!.id;
  for (const row of rows) row.value /= sampling.temperature;
  let kept = sampling.topK > 0 ? rows.slice(0, sampling.topK) : rows;
  if (sampling.topP < 1) {
    const weights = kept.map((row) => exp(row.value - kept[0]!.value));
    const target = sampling.topP * weights.reduce((sum, weight) => sum + weight, 0);
    let sum = 0;
    kept = kept.slice(0, weights.findIndex((weight) => (sum += weight) >= target) + 1);
  }
  const noisy = kept.map(({ id, value }) => ({ id, value: value + noise(sampling.seed, choice, answer.length, id) }));
  return noisy.sort(order)[0]!.id;
}

test('ln and exp are within 1 ulp of the platform over the whole range', () => {
  const random = createSeededRandom(11);
  const ulps = (a: number, b: number): number => {
    const bits = new BigInt64Array(Float64Array.of(a, b).buffer);
    return Number(bits[0]! - bits[1]!);
  };
  for (let i = 0; i < 50_000; i++) {
    const wide = 2 ** (random.unit() * 2_040 - 1_060) * (1 + random.unit());
    const near = 1 + (random.unit() - 0.5) * 2 ** (-random.unit() * 40);
    for (const x of [wide, near, random.unit()]) expect(Math.abs(ulps(ln(x), Math.log(x)))).toBeLessThanOrEqual(1);
    for (const x of [(random.unit() - 0.5) * 1_480, (random.unit() - 0.5) * 4, -random.unit() * 40]) {
      expect(Math.abs(ulps(exp(x), Math.exp(x)))).toBeLessThanOrEqual(1);
    }
  }
  expect([ln(0), ln(1), exp(0), exp(-800), exp(800), ln(Infinity)]).toEqual([-Infinity, 0, 1, 0, Infinity, Infinity]);
  expect([ln(-1), ln(Number.NaN), exp(Number.NaN)]).toEqual([Number.NaN, Number.NaN, Number.NaN]);
});

test('philox gives the known answers that its authors publish (Random123 kat_vectors)', () => {
  const block = (counter: number[], key: number[]): number[] => {
    const out = new Uint32Array(4);
    philox(out, counter[0]!, counter[1]!, counter[2]!, counter[3]!, key[0]!, key[1]!);
    return [...out];
  };
  const ones = 0xffffffff;
  expect(block([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  expect(block([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  expect(block([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ]);
});

test('noise is the Gumbel of one word of the block that the seed, choice, position and token name', () => {
  const words = new Uint32Array(4);
  const seed = Number.MAX_SAFE_INTEGER - 12;
  for (let token = 8; token < 12; token++) {
    philox(words, 2, 70_000, 3, 0, ...keyOf(seed));
    expect(noise(seed, 3, 70_000, token)).toBe(gumbel(words[token & 3]!));
  }
  expect(gumbel(0)).toBeGreaterThan(-3.14);
  expect(gumbel(0xffffffff)).toBeLessThan(22.88);
});

test('the sampler gives the token that the plain definition gives', () => {
  const random = createSeededRandom(5);
  const pick = <T>(...of: T[]): T => of[Math.floor(random.unit() * of.length)]!;
  const sampler = createSampler();
  for (let round = 0; round < 1_500; round++) {
    const size = pick(1, 2, 3, 17, 300, 2_048);
    const scale = pick(0, 0.1, 3, 40);
    // Rounded logits make ties, at the border of top-k and top-p too.
    const step = pick(0, 0, 1, 4);
    const logit = (): number => (random.unit() < 0.02 ? -Infinity : (random.unit() - 0.5) * scale);
    const logits = Float32Array.from({ length: size }, () =>
      step === 0 ? logit() : Math.round(logit() * step) / step,
    );
    logits[Math.floor(random.unit() * size)] = scale / 2;
    const ids = (length: number): number[] => Array.from({ length }, () => Math.floor(random.unit() * size));
    const sampling: Sampling = {
      temperature: pick(0, 0.3, 1, 1, 7, 1e-5),
      topK: pick(0, 0, 1, 2, 40, size),
      topP: pick(1, 1, 0.95, 0.5, 0.25, 1e-9, 0.999999),
      repetitionPenalty: pick(1, 1, 1.3, 0.7),
      frequencyPenalty: pick(0, 0, 0.5, -1),
      presencePenalty: pick(0, 0, 1.5),
      seed: Math.floor(random.unit() * Number.MAX_SAFE_INTEGER),
    };
    const context = { prompt: ids(5), answer: ids(pick(0, 1, 30)), choice: pick(0, 1, 127) };
    expect(sampler(logits, sampling, context), JSON.stringify({ round, size, sampling })).toBe(
      plainToken(logits, sampling, context),
    );
  }
});

test('no penalty and no bias brings back a token that the mask forbids', () => {
  const random = createSeededRandom(8);
  const sampler = createSampler();
  for (let round = 0; round < 600; round++) {
    const size = 1 + Math.floor(random.unit() * 140);
    const id = (): number => Math.floor(random.unit() * size);
    const logits = Float32Array.from({ length: size }, () => (random.unit() - 0.5) * 10);
    const allowed = new Int32Array(Math.ceil(size / 32) - (size > 40 && round % 3 === 0 ? 1 : 0));
    for (let i = 0; i < 3; i++) {
      const at = id() % (allowed.length * 32);
      allowed[at >> 5]! |= 1 << (at & 31);
    }
    const sampling: Sampling = {
      ...NEUTRAL,
      temperature: round % 5 === 0 ? 0 : 1.2,
      topK: round % 2 === 0 ? 0 : 7,
      topP: round % 4 === 0 ? 0.8 : 1,
      repetitionPenalty: round % 3 === 0 ? 0.5 : 1.4,
      frequencyPenalty: -2,
      presencePenalty: -2,
      logitBias: [
        [id(), 100],
        [id(), -100],
        [size + 5, 100],
      ],
      seed: round,
    };
    const context = { prompt: [id()], answer: [id(), id()], choice: 0, allowed };
    const token = sampler(logits, sampling, context);
    expect((allowed[token >> 5]! >> (token & 31)) & 1).toBe(1);
    expect(token).toBe(plainToken(logits, sampling, context));
  }
});

test('log probabilities are those of the softmax, likeliest first, and never −∞', () => {
  const random = createSeededRandom(9);
  const logits = Float32Array.from({ length: 500 }, () => Math.round((random.unit() - 0.5) * 90) / 2);
  logits[3] = -Infinity;
  const { of, top } = logSoftmax(logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  for (const [id, logit] of logits.entries())
    if (id !== 3) expect(of(id)).toBeCloseTo(Math.log(Math.exp(logit) / total), 9);
  expect([of(3), of(9_999)]).toEqual([LOGPROB_MIN, LOGPROB_MIN]);
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  for (const count of [0, 1, 20, 900]) expect(top(count)).toEqual(order.slice(0, count));
  expect(logSoftmax(Float32Array.of(7)).of(0)).toBe(0);
  for (const bad of [[Number.NaN, 1], [1, Number.NaN], [Infinity], [-Infinity], []])
    expect(() => logSoftmax(Float32Array.from(bad))).toThrow(expect.objectContaining({ code: 'engine_failed' }));
});

test('a large flat vocabulary gives the same token with and without the shortcuts', () => {
  const random = createSeededRandom(6);
  const sampler = createSampler();
  for (let round = 0; round < 20; round++) {
    const logits = Float32Array.from({ length: 32_000 }, () => random.unit() * (round % 2 === 0 ? 2 : 20));
    const sampling = { ...NEUTRAL, topP: round % 3 === 0 ? 0.9 : 1, seed: round };
    const context = { prompt: [], answer: new Array<number>(round).fill(1), choice: 0 };
    expect(sampler(logits, sampling, context)).toBe(plainToken(logits, sampling, context));
  }
});

test('tokens are drawn as often as their probabilities say', () => {
  const logits = Float32Array.of(Math.log(0.5), Math.log(0.25), Math.log(0.15), Math.log(0.1));
  const drawn = [0, 0, 0, 0];
  const sampler = createSampler();
  for (let seed = 0; seed < 20_000; seed++)
    drawn[sampler(logits, { ...NEUTRAL, seed }, { prompt: [], answer: [], choice: 0 })]!++;
  for (const [id, share] of [0.5, 0.25, 0.15, 0.1].entries())
    expect(Math.abs(drawn[id]! / 20_000 - share)).toBeLessThan(0.012);
});

test('damaged logits are engine_failed and never a token', () => {
  const context = { prompt: [], answer: [], choice: 0 };
  for (const logits of [[1, Number.NaN, 2], [Number.NaN], [1, Infinity], [-Infinity, -Infinity], []]) {
    for (const temperature of [0, 1]) {
      expect(() => sampleToken(Float32Array.from(logits), { ...NEUTRAL, temperature }, context)).toThrow(
        expect.objectContaining({ code: 'engine_failed' }),
      );
    }
  }
});

test('fixtures: every value and token is as it was when it was published', () => {
  for (const { x, y } of fixtures.ln) expect(ln(float64(x))).toBe(float64(y));
  for (const { x, y } of fixtures.exp) expect(exp(float64(x))).toBe(float64(y));
  for (const { counter, key, block } of fixtures.philox) {
    const out = new Uint32Array(4);
    const [c0, c1, c2, c3] = words32(counter) as [number, number, number, number];
    const [k0, k1] = words32(key) as [number, number];
    philox(out, c0, c1, c2, c3, k0, k1);
    expect([...out]).toEqual(words32(block));
  }
  for (const { seed, choice, position, token, value } of fixtures.noise)
    expect(noise(seed, choice, position, token)).toBe(float64(value));
  for (const { logits, sampling, token, ...context } of fixtures.tokens) {
    expect(sampleToken(float32s(logits), sampling, context)).toBe(token);
  }
  for (const { logits, sampling, token, allowed, ...context } of fixtures.constrained) {
    const mask = Int32Array.from(words32(allowed));
    expect(sampleToken(float32s(logits), sampling, { ...context, allowed: mask })).toBe(token);
  }
  expect(fixtures.tokens.length).toBeGreaterThan(50);
  expect(fixtures.constrained.length).toBeGreaterThan(50);
});
