import { createSampler, philox } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createNoiseKernel } from './noise-kernel.ts';

const random = createSeededRandom(3);
const word = (): number => Math.floor(random.unit() * 2 ** 32);

test('the words are those of the sampler itself, for any counter and key', () => {
  const kernel = createNoiseKernel();
  const block = new Uint32Array(4);
  for (const blocks of [1, 3, 4, 5, 64, 8_001, 40_000, 7]) {
    const [position, choice, low, high] = [word(), word(), word(), word()];
    const words = kernel(blocks, position, choice, low, high);
    expect(words).toHaveLength(blocks * 4);
    for (let at = 0; at < blocks; at += Math.max(1, blocks >> 6)) {
      philox(block, at, position, choice, 0, low, high);
      expect([...words.subarray(4 * at, 4 * at + 4)]).toEqual([...block]);
    }
  }
});

test('a sampler with the kernel draws the tokens of one without', () => {
  const [fast, plain] = [createSampler(createNoiseKernel()), createSampler()];
  const neutral = { topK: 0, topP: 1, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 };
  for (let i = 0; i < 400; i++) {
    const logits = Float32Array.from({ length: 1 + (i % 1_000) }, () => (random.unit() - 0.5) * (i % 13));
    const cut = [{}, { topK: 5 }, { topP: 0.8 }][i % 3];
    const sampling = { ...neutral, ...cut, temperature: 0.2 + (i % 7) / 3, seed: i * 7_919 };
    const context = { prompt: [], answer: new Uint32Array(i % 50), choice: i % 4 };
    expect(fast(logits, sampling, context)).toBe(plain(logits, sampling, context));
  }
});
