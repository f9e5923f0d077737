/** Schemas that nobody wrote, answers that nobody meant: whatever a random model says, another judge finds it valid. */
import { createSampler } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { modelFolderTexts } from '@idlewild/graph/testing';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { createAutomaton } from '../core/grammar/automaton.ts';
import { compile } from '../core/grammar/compile.ts';
import { createGrammarGuide } from '../core/grammar/guide.ts';
import { schemaGrammar } from '../core/grammar/schema.ts';
import { createVocabulary } from '../core/grammar/vocabulary.ts';
import { readSettings } from '../core/settings.ts';
import { createXGrammarLibrary } from './xgrammar.ts';

const SCHEMAS = 800;
/** Tokens beyond the fewest that an answer to the schema can have. */
const SPARE = [0, 3, 40];
const VOCABULARY = 300;
const files = modelFolderTexts({ vocab: VOCABULARY, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const { tokenizer, endIds } = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  generationConfig: files['generation_config.json'],
});
const vocabulary = createVocabulary(tokenizer, endIds, []);

type Unit = () => number;
const below = (unit: Unit, end: number): number => Math.floor(unit() * end);

function randomSchema(unit: Unit, depth: number): object {
  const kinds = ['string', 'integer', 'number', 'boolean', 'enum', 'null', 'pattern', 'format'];
  const nested = depth > 0 ? ['object', 'object', 'array', 'tuple', 'anyOf'] : [];
  const all = [...nested, ...kinds];
  const min = below(unit, 4);
  switch (all[below(unit, all.length)]) {
    case 'object': {
      const names = ['a', 'b', 'c d', 'é', '"q"'].slice(0, 1 + below(unit, 5));
      const properties = Object.fromEntries(names.map((name) => [name, randomSchema(unit, depth - 1)]));
      return { type: 'object', properties, required: names.filter(() => unit() < 0.6), additionalProperties: false };
    }
    case 'array':
      return { type: 'array', items: randomSchema(unit, depth - 1), minItems: min, maxItems: min + below(unit, 4) };
    case 'tuple': {
      const prefixItems = [randomSchema(unit, depth - 1), randomSchema(unit, depth - 1)];
      return { type: 'array', prefixItems, items: false, minItems: 2 };
    }
    case 'anyOf':
      return { anyOf: [randomSchema(unit, depth - 1), randomSchema(unit, depth - 1)] };
    case 'string':
      return { type: 'string', minLength: min, maxLength: min + below(unit, 9) };
    case 'integer':
      return { type: 'integer', minimum: -below(unit, 2_000), maximum: below(unit, 2_000) };
    case 'number':
      return { type: 'number', exclusiveMinimum: -1.5, maximum: below(unit, 50) + 0.25 };
    case 'enum':
      return { enum: ['x', 'é"', 3, null, [1, 'y'], { k: true }].slice(0, 1 + below(unit, 6)) };
    case 'pattern':
      return { type: 'string', pattern: ['^[A-Z]{2}-\\d{3}$', '^(ab|cd)*$', '^[^a-z"]{1,5}$'][below(unit, 3)] };
    case 'format':
      return { type: 'string', format: ['date', 'ipv4', 'uuid'][below(unit, 3)] };
    case 'null':
      return { type: ['null', 'boolean'] };
    default:
      return { type: 'boolean' };
  }
}

/** Characters count as code points, and formats are judged here: the validator brings none of its own. */
const ajv = new Ajv2020({
  strict: false,
  unicodeRegExp: true,
  formats: {
    date: /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/,
    ipv4: /^(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}$/,
    uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
  },
});

test('answers of random logits to random schemas are valid, with as few tokens as possible and with more', async () => {
  const compiler = await createXGrammarLibrary().open(vocabulary.tokens);
  const sampling = {
    temperature: 1.2,
    topK: 0,
    topP: 1,
    repetitionPenalty: 1,
    frequencyPenalty: 0,
    presencePenalty: 0,
  };
  for (let seed = 0; seed < SCHEMAS; seed++) {
    const random = createSeededRandom(seed);
    const schema = randomSchema(() => random.unit(), 3);
    const isValid = ajv.compile(schema);
    const grammar = schemaGrammar(JSON.stringify(schema));
    const compiled = await compiler.compile(grammar);
    for (const spare of SPARE) {
      const automaton = createAutomaton(compile(grammar));
      const budget = vocabulary.count(automaton.ending(automaton.start)) + spare;
      const guide = createGrammarGuide({ automaton, matcher: await compiled.matcher(), vocabulary, endIds });
      const sampler = createSampler();
      const ids: number[] = [];
      while (ids.length < budget && !guide.isOver) {
        const logits = Float32Array.from({ length: VOCABULARY }, () => (random.unit() - 0.5) * 12);
        const context = { prompt: [], answer: ids, choice: 0 };
        const draw = (allowed?: Int32Array): number => sampler(logits, { ...sampling, seed }, { ...context, allowed });
        const id = guide.choose(draw, budget - ids.length - 1);
        guide.take(id);
        if (endIds.has(id)) break;
        ids.push(id);
      }
      guide.close();
      const text = tokenizer.decode(ids);
      expect([seed, schema, text, isValid(JSON.parse(text))]).toEqual([seed, schema, text, true]);
    }
  }
}, 60_000);
