/** Random models over a vocabulary of bytes: whatever they want, what comes out is whole and follows the form. */
import { createSampler, type Sampling } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { modelFolderTexts } from '@idlewild/graph/testing';
import { expect, test } from 'vitest';
import { createSearchGrammars } from '../../testing/search-grammars.ts';
import { readSettings } from '../settings.ts';
import { createAutomaton } from './automaton.ts';
import { compile } from './compile.ts';
import { createGrammarGuide, type Guide } from './guide.ts';
import { jsonRules, OBJECT } from './json.ts';
import type { Grammar } from './rules.ts';
import { schemaGrammar } from './schema.ts';
import { createVocabulary } from './vocabulary.ts';

const VOCABULARY = 300;
const files = modelFolderTexts({ vocab: VOCABULARY, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const { tokenizer, endIds } = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  generationConfig: files['generation_config.json'],
});
const vocabulary = createVocabulary(tokenizer, endIds, []);
const SAMPLING: Sampling = {
  temperature: 1.2,
  topK: 0,
  topP: 1,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  seed: 1,
};

async function guideOf(grammar: Grammar): Promise<{ guide: Guide; least: number }> {
  const automaton = createAutomaton(compile(grammar));
  const compiler = await createSearchGrammars().open(vocabulary.tokens);
  const matcher = await (await compiler.compile(grammar)).matcher();
  const least = vocabulary.count(automaton.ending(automaton.start));
  return { guide: createGrammarGuide({ automaton, matcher, vocabulary, endIds }), least };
}

/** An answer of random logits in at most `budget` tokens. */
function answerOf(
  guide: Guide,
  budget: number,
  seed: number,
  sampling: Partial<Sampling>,
): { ids: number[]; text: string } {
  const random = createSeededRandom(seed);
  const sampler = createSampler();
  const ids: number[] = [];
  while (ids.length < budget && !guide.isOver) {
    const logits = Float32Array.from({ length: VOCABULARY + 20 }, () => (random.unit() - 0.5) * 12);
    const draw = (allowed?: Int32Array): number =>
      sampler(logits, { ...SAMPLING, seed, ...sampling }, { prompt: [], answer: ids, choice: 0, allowed });
    const id = guide.choose(draw, budget - ids.length - 1);
    guide.take(id);
    if (endIds.has(id)) break;
    ids.push(id);
  }
  return { ids, text: tokenizer.decode(ids) };
}

const SETTINGS: Partial<Sampling>[] = [
  { temperature: 0 },
  {},
  { temperature: 5 },
  { topK: 3, topP: 0.5 },
  { repetitionPenalty: 2 },
];

test('any JSON object is whole, whatever the seed, the sampling and the number of tokens', async () => {
  const grammar = { root: OBJECT, rules: jsonRules() };
  for (let seed = 0; seed < 60; seed++) {
    const { guide, least } = await guideOf(grammar);
    const budget = least + [0, 1, 2, 3, 7, 30, 150][seed % 7]!;
    const { text } = answerOf(guide, budget, seed, SETTINGS[seed % 5]!);
    expect([seed, text, guide.isComplete]).toEqual([seed, text, true]);
    expect(Object.prototype.toString.call(JSON.parse(text))).toBe('[object Object]');
  }
});

const SCHEMA = {
  type: 'object',
  properties: {
    id: { type: 'integer', minimum: -3, maximum: 40 },
    tags: { type: 'array', items: { type: 'string', minLength: 1, maxLength: 4 }, minItems: 1, maxItems: 3 },
    note: { type: ['string', 'null'] },
    child: { anyOf: [{ $ref: '#' }, { type: 'null' }] },
  },
  required: ['id', 'tags', 'child'],
};
interface Item {
  id: number;
  tags: string[];
  note?: string | null;
  child: Item | null;
}
function check(item: Item): void {
  expect(Object.keys(item).filter((key) => key !== 'note')).toEqual(['id', 'tags', 'child']);
  expect(Number.isInteger(item.id) && item.id >= -3 && item.id <= 40).toBe(true);
  expect(item.tags.length >= 1 && item.tags.length <= 3).toBe(true);
  for (const tag of item.tags) expect([...tag].length >= 1 && [...tag].length <= 4).toBe(true);
  expect(['string', 'undefined', 'object']).toContain(typeof item.note);
  if (item.child !== null) check(item.child);
}

test('a schema is followed to its end, whatever the seed, the sampling and the number of tokens', async () => {
  const grammar = schemaGrammar(JSON.stringify(SCHEMA));
  for (let seed = 0; seed < 60; seed++) {
    const { guide, least } = await guideOf(grammar);
    const budget = least + [0, 1, 5, 20, 80, 200][seed % 6]!;
    const { text } = answerOf(guide, budget, seed, SETTINGS[seed % 5]!);
    expect([seed, text, guide.isComplete]).toEqual([seed, text, true]);
    check(JSON.parse(text) as Item);
  }
});

test('with too few tokens for any answer, one is cut and says so', async () => {
  const { guide, least } = await guideOf(schemaGrammar(JSON.stringify(SCHEMA)));
  const { ids } = answerOf(guide, least - 1, 1, {});
  expect([ids.length, guide.isComplete]).toEqual([least - 1, false]);
});

test('tokens of an earlier attempt lead to the same rest, and others are refused', async () => {
  const grammar = schemaGrammar(JSON.stringify(SCHEMA));
  const whole = answerOf((await guideOf(grammar)).guide, 90, 5, {});
  const { guide } = await guideOf(grammar);
  for (const id of whole.ids) guide.take(id);
  expect(guide.isOver).toBe(true);
  const other = await guideOf(grammar);
  expect(() => other.guide.take(whole.ids[3] as number)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  expect(() => other.guide.take([...endIds][0] as number)).toThrow(
    expect.objectContaining({ code: 'invalid_request' }),
  );
});

test('a value that may go on ends with the token for it, and not before it may', async () => {
  const { guide } = await guideOf(schemaGrammar('{"type":"integer","minimum":10,"maximum":20}'));
  const [end] = endIds as unknown as Iterable<number>;
  const allowed: boolean[] = [];
  for (const digit of ['1', '2']) {
    guide.choose((mask) => {
      allowed.push((((mask?.[0] ?? 0) >> (end as number)) & 1) === 1);
      return tokenizer.idOf(digit) as number;
    }, 50);
    guide.take(tokenizer.idOf(digit) as number);
  }
  expect([allowed, guide.isComplete, guide.isOver]).toEqual([[false, false], true, true]);
});

test('a library that errs costs tokens their choice, never the answer its form', async () => {
  const grammar = { root: OBJECT, rules: jsonRules() };
  const automaton = createAutomaton(compile(grammar));
  const wrong = {
    accept: () => false,
    acceptText: () => false,
    maskInto: (mask: Int32Array) => void mask.fill(0),
    close: () => undefined,
  };
  const guide = createGrammarGuide({ automaton, matcher: wrong, vocabulary, endIds });
  expect(JSON.parse(answerOf(guide, 40, 2, {}).text)).toBeTypeOf('object');
});
