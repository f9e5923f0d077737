/** Answers that must be JSON, of a model that babbles: whether they are, and what that costs a token. */
import type { BenchRun } from '../bench.ts';
import { askHub, createConnections, speedOf, textOf, type Answered } from '../ask.ts';
import { median, rangeOf } from '../statistics.ts';
import type { World } from '../world.ts';

const ANSWERS = 500;
const AT_ONCE = 16;
const PAIRS = 9;
const TEMPERATURE = 1.2;

/** What real callers ask for: nested, with an array, an enumeration, a number and what may be left out. */
const SCHEMA = {
  type: 'object',
  properties: {
    title: { type: 'string' },
    year: { type: 'integer' },
    kind: { type: 'string', enum: ['comedy', 'tragedy', 'history'] },
    isLong: { type: 'boolean' },
    people: {
      type: 'array',
      items: {
        type: 'object',
        properties: { name: { type: 'string' }, age: { type: ['number', 'null'] } },
        required: ['name', 'age'],
        additionalProperties: false,
      },
    },
  },
  required: ['title', 'year', 'kind', 'isLong', 'people'],
  additionalProperties: false,
};

/** Long enough to be timed, whatever the model says. */
const LONG = {
  type: 'object',
  properties: { lines: { type: 'array', items: { type: 'string' }, minItems: 30 } },
  required: ['lines'],
  additionalProperties: false,
};

const OBJECT = { type: 'json_object' };
const IS_LONG = { type: 'json_schema', json_schema: { name: 'lines', strict: true, schema: LONG } };
const FOLLOWS = { type: 'json_schema', json_schema: { name: 'play', strict: true, schema: SCHEMA } };

export async function measureForms(run: BenchRun, world: World, model: string): Promise<void> {
  const connections = createConnections();
  const ask = (seed: number, tokensMax: number, form: object | undefined): Promise<Answered> =>
    askHub(world, connections, {
      model,
      prompt: 'Tell me of a play.',
      seed,
      tokensMax,
      isChat: true,
      fields: { temperature: TEMPERATURE, ...(form === undefined ? {} : { response_format: form }) },
    });
  try {
    if (run.wants('serve.json_valid')) await measureValid(run, ask);
    if (run.wants('serve.json_overhead')) await measureOverhead(run, ask);
  } finally {
    connections.destroy();
  }
}

type AskForm = (seed: number, tokensMax: number, form: object | undefined) => Promise<Answered>;

async function measureValid(run: BenchRun, ask: AskForm): Promise<void> {
  run.say(`serve.json_valid: ${ANSWERS} answers, half of them after a schema, temperature ${TEMPERATURE}`);
  let valid = 0;
  const wrong: string[] = [];
  for (let from = 0; from < ANSWERS; from += AT_ONCE) {
    run.signal.throwIfAborted();
    const seeds = Array.from({ length: Math.min(AT_ONCE, ANSWERS - from) }, (_, i) => from + i);
    await Promise.all(
      seeds.map(async (seed) => {
        const isSchema = seed % 2 === 1;
        // Of every length, the shortest barely enough for the schema.
        const text = textOf(await ask(seed, 96 + (seed % 7) * 24, isSchema ? FOLLOWS : OBJECT));
        const fault = faultOf(text, isSchema);
        if (fault === undefined) valid++;
        else wrong.push(`seed ${seed}: ${fault}: ${text.slice(0, 120)}`);
      }),
    );
  }
  run.record(
    'serve.json_valid',
    valid / ANSWERS,
    `${valid} of ${ANSWERS} answers${wrong.length > 0 ? `; ${wrong[0]}` : ''}`,
  );
}

async function measureOverhead(run: BenchRun, ask: AskForm): Promise<void> {
  run.say(`serve.json_overhead: ${PAIRS} pairs`);
  const ratios: number[] = [];
  const speeds: { plain: number; form: number }[] = [];
  for (let seed = 0; ratios.length < PAIRS; seed++) {
    run.signal.throwIfAborted();
    if (seed > 10 * PAIRS) throw new Error('most answers are too short to be timed');
    const plain = await ask(seed, 200, undefined);
    const form = await ask(seed, 200, IS_LONG);
    if (plain.atMs.length < 60 || form.atMs.length < 60) continue;
    // Pieces may hold several tokens' text where characters are long: time per token is what counts.
    const perToken = (answered: Answered): number => {
      const seconds = ((answered.atMs.at(-1) ?? 0) - (answered.atMs[0] ?? 0)) / 1_000;
      return seconds / (answered.tokens - 1);
    };
    if (seed === 0) continue;
    ratios.push(perToken(form) / perToken(plain));
    speeds.push({ plain: speedOf(plain), form: speedOf(form) });
  }
  const of = (side: 'plain' | 'form'): string => median(speeds.map((each) => each[side])).toFixed(0);
  run.record(
    'serve.json_overhead',
    median(ratios),
    `median of ${PAIRS} pairs ${rangeOf(ratios)}; ${of('form')} pieces/s against ${of('plain')}`,
  );
}

/** What is wrong with an answer: written out for this schema, so that nothing of ours judges itself. */
function faultOf(text: string, isSchema: boolean): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return (error as Error).message;
  }
  if (!isObject(value)) return 'no object';
  if (!isSchema) return undefined;
  const { title, year, kind, isLong, people } = value;
  if (Object.keys(value).length !== 5) return 'other properties';
  if (typeof title !== 'string' || !Number.isInteger(year) || typeof isLong !== 'boolean') return 'wrong types';
  if (!['comedy', 'tragedy', 'history'].includes(kind as string)) return 'no such kind';
  if (!Array.isArray(people)) return 'people is no array';
  const fits = (one: unknown): boolean =>
    isObject(one) &&
    Object.keys(one).length === 2 &&
    typeof one['name'] === 'string' &&
    (one['age'] === null || typeof one['age'] === 'number');
  return people.every(fits) ? undefined : 'people do not follow the schema';
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
