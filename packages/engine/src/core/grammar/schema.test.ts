import { utf8 } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createAutomaton } from './automaton.ts';
import { compile } from './compile.ts';
import { writeEbnf } from './ebnf.ts';
import { FORMATS } from './formats.ts';
import { schemaGrammar } from './schema.ts';

/** Whether a whole text fits a schema; and that its shortest ending does, wherever it is cut. */
function judge(schema: unknown): (text: string) => boolean {
  const node = compile(schemaGrammar(JSON.stringify(schema)));
  return (text) => {
    const automaton = createAutomaton(node);
    let state = automaton.start;
    for (const byte of utf8(text)) {
      const ending = automaton.ending(state);
      expect(ending.length).toBe(state.cost);
      expect(automaton.step(state, ending)?.isComplete).toBe(true);
      const next = automaton.step(state, Uint8Array.of(byte));
      if (next === undefined) return false;
      state = next;
    }
    return state.isComplete;
  };
}

const TAGGED = (tag: string): object => ({ type: 'object', properties: { t: { const: tag } }, required: ['t'] });

/** Each schema with texts that fit it and texts that do not. */
const CASES: [unknown, string[], string[]][] = [
  [{ type: 'string' }, ['""', '"a b"', '"\\n\\u00e9"', '"é€😀"'], ['"', '"\n"', '"\\x"', '"\\ud800"', 'a', '1']],
  [{ type: 'string', minLength: 2, maxLength: 3 }, ['"ab"', '"😀😀"', '"\\n\\n\\n"'], ['"a"', '"abcd"', '"😀"']],
  [{ type: 'integer' }, ['0', '-12', '900'], ['01', '1.5', '1e3', '-', '+1', '"1"']],
  [{ type: 'number' }, ['0.5', '-1e9', '1E-05'], ['.5', '1.', 'NaN', '1e999']],
  [{ type: ['boolean', 'null'] }, ['true', 'false', 'null'], ['nul', '0']],
  [{ enum: ['a', 1, null, 'a"b'] }, ['"a"', '1', 'null', '"a\\"b"'], ['"b"', '2', 'a']],
  [{ type: 'string', enum: ['a', 1] }, ['"a"'], ['1']],
  [{ const: { a: [1] } }, ['{"a":[1]}'], ['{"a":[2]}', '{}']],
  [
    { type: 'object', properties: { a: { type: 'integer' }, b: {}, c: { const: 1 } }, required: ['a'] },
    ['{"a":1}', '{ "a": 1, "c": 1 }', '{"a":1,"b":{"x":[]},"c":1}', '{\n  "a": 1,\n  "b": null\n}'],
    ['{}', '{"b":1}', '{"c":1,"a":1}', '{"a":1,"d":1}', '{"a":1,}', '{"a":1,"a":1}'],
  ],
  [{ type: 'object', properties: { a: {}, b: {} } }, ['{}', '{"b":1}', '{"a":1,"b":2}'], ['{,"b":1}', '{"a":1 "b":2}']],
  [{ type: 'object', additionalProperties: false }, ['{}', '{ }'], ['{"a":1}', '[]']],
  [{ type: 'object', additionalProperties: { type: 'null' } }, ['{}', '{"x":null,"y":null}'], ['{"x":1}', '{x:null}']],
  [{ type: 'object', required: ['é'] }, ['{"é":3}'], ['{}', '{"e":3}']],
  [
    { type: 'array', items: { type: 'null' }, minItems: 1, maxItems: 2 },
    ['[null]', '[null, null]'],
    ['[]', '[null,null,null]', '[1]'],
  ],
  [{ type: 'array', prefixItems: [{ const: 1 }, { const: 2 }], items: false }, ['[1,2]'], ['[1]', '[1,2,3]', '[2,1]']],
  [
    { type: 'array', prefixItems: [{ const: 1 }], items: { const: 2 }, minItems: 2, maxItems: 3 },
    ['[1,2]', '[1,2,2]'],
    ['[1]', '[1,2,2,2]'],
  ],
  [
    { anyOf: [{ type: 'string' }, { type: 'array', items: { $ref: '#' } }] },
    ['"a"', '[]', '["a",["b",[]]]'],
    ['{}', '[1]'],
  ],
  [
    { $ref: '#/$defs/a~1b', $defs: { 'a/b': { type: 'object', properties: { n: { $ref: '#/$defs/a~1b' } } } } },
    ['{}', '{"n":{"n":{}}}'],
    ['{"n":1}'],
  ],
  [{ allOf: [{ type: 'null' }], description: 'x', default: null }, ['null'], ['1']],
  [{ minimum: 3 }, ['3', '4.5'], ['2', '"3"']],
  [
    { oneOf: [TAGGED('a'), { $ref: '#/$defs/b' }, { type: ['null', 'string'] }], $defs: { b: TAGGED('b') } },
    ['{"t":"a"}', '{"t":"b"}', 'null', '"t"'],
    ['{}', '{"t":"c"}'],
  ],
  [true, ['1', '{"a":[true]}', '"x"'], ['x', '']],
];

test('the grammar of a schema takes what follows it, and nothing else', () => {
  for (const [schema, fit, unfit] of CASES) {
    const fits = judge(schema);
    for (const text of fit) expect([schema, text, fits(text)]).toEqual([schema, text, true]);
    for (const text of unfit) expect([schema, text, fits(text)]).toEqual([schema, text, false]);
  }
});

test('what cannot be followed is refused by name', () => {
  const refusals: [unknown, string][] = [
    [{ type: 'array', uniqueItems: true }, 'uniqueItems'],
    [{ type: 'number', multipleOf: 3 }, 'multipleOf'],
    [{ type: 'object', patternProperties: {} }, 'patternProperties'],
    [{ type: 'object', properties: { a: { not: {} } } }, '"not"'],
    [{ oneOf: [{}, {}] }, 'oneOf'],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, 'oneOf'],
    [{ oneOf: [TAGGED('a'), TAGGED('a')] }, 'oneOf'],
    [{ oneOf: [TAGGED('a'), { ...TAGGED('b'), required: [] }] }, 'oneOf'],
    [{ allOf: [{}, {}] }, 'allOf'],
    [{ type: 'string', format: 'iri' }, 'iri'],
    [{ $ref: 'https://example.org/x' }, 'https://example.org/x'],
    [{ $ref: '#/$defs/none' }, '#/$defs/none'],
    [{ type: 'text' }, '"text"'],
    [{ type: 'string', pattern: '(?=a)b' }, 'lookahead'],
    [{ type: 'string', pattern: '(a)\\1' }, '\\1'],
    [{ type: 'string', pattern: 'a', maxLength: 3 }, 'pattern'],
    [{ enum: [1], minimum: 0 }, 'minimum'],
    [{ type: 'integer', minimum: 3, maximum: 2 }, 'between 3 and 2'],
    [{ type: 'string', enum: [1] }, 'no value'],
    [{ $ref: '#' }, 'itself'],
    [{ type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, 'fits the form'],
    [false, 'neither an object nor true'],
    [{ type: 'string', pattern: '(a*)*' }, 'empty'],
    [{ description: 'x'.repeat(40_000) }, 'characters'],
    [Array.from({ length: 40 }).reduce((inner) => ({ type: 'array', items: inner }), {}), 'deeper'],
  ];
  for (const [schema, named] of refusals)
    expect(() => compile(schemaGrammar(JSON.stringify(schema))), JSON.stringify(schema).slice(0, 99)).toThrow(
      expect.objectContaining({ code: 'invalid_request', message: expect.stringContaining(named) as string }),
    );
  expect(() => schemaGrammar('{')).toThrow(expect.objectContaining({ code: 'invalid_request' }));
});

test('lists in lists, and maps in maps, make a grammar that grows as the schema does', () => {
  for (const around of [
    (items: object) => ({ items, minItems: 1 }),
    (inner: object) => ({ additionalProperties: inner }),
  ]) {
    const nested = Array.from({ length: 28 }).reduce<object>((inner) => around(inner), { type: 'null' });
    const grammar = schemaGrammar(JSON.stringify(nested));
    expect(writeEbnf(grammar).length).toBeLessThan(10_000);
    expect(compile(grammar).cost).toBeGreaterThan(1);
  }
});

test('numbers are within their bounds, and all that are whole or as fine as the bounds are there', () => {
  const random = createSeededRandom(3);
  for (let round = 0; round < 120; round++) {
    const decimals = round % 4;
    const value = (): number => Number(((random.unit() - 0.5) * 10 ** (1 + (round % 5))).toFixed(decimals));
    const [minimum, maximum] = [value(), value()].sort((a, b) => a - b) as [number, number];
    const isOpen = round % 3 === 0;
    const bounds = isOpen ? { exclusiveMinimum: minimum, exclusiveMaximum: maximum } : { minimum, maximum };
    const isWithin = (x: number): boolean => (isOpen ? x > minimum && x < maximum : x >= minimum && x <= maximum);
    const fine = Math.max(...[minimum, maximum].map((bound) => (String(bound).split('.')[1] ?? '').length));
    for (const type of ['integer', 'number'] as const) {
      const low = isOpen ? Math.floor(minimum) + 1 : Math.ceil(minimum);
      if (type === 'integer' ? low > maximum || (isOpen && low === maximum) : minimum === maximum) continue;
      const fits = judge({ type, ...bounds });
      for (const x of [minimum, maximum, ...Array.from({ length: 30 }, value)]) {
        for (const text of [x.toFixed(fine), x.toFixed(0), `${x.toFixed(fine)}${fine === 0 ? '.' : ''}01`]) {
          const isFit = isWithin(Number(text)) && (type === 'number' || !text.includes('.'));
          if (/^-[0.]+$/.test(text)) continue;
          // A bound with further zeros is not written, though it is within.
          if (isFit && [minimum, maximum].includes(Number(text)) && text.endsWith('01')) continue;
          expect([type, bounds, text, fits(text)]).toEqual([type, bounds, text, isFit]);
        }
      }
    }
  }
});

test('a pattern matches as the regular expression does', () => {
  const random = createSeededRandom(4);
  const letters = [...'ab019 _-."\\/\n\té€😀Z'];
  for (const pattern of [
    'a',
    '^a',
    'a$',
    '^$',
    '^a|b$',
    '^(a|b){2,3}c?$',
    '^[^a-c]*$',
    '^\\w+\\s\\W?$',
    '^[\\d.-]+$',
    '^.{1,4}$',
    '^["\\\\\\/]+$',
    '^\\u0061\\x62\\u{1F600}?$',
    '[€-😀]',
    '^(?:ab|(?<n>c)){1,}$',
    '^a+?b*$',
    '^\\n|\\t$',
    FORMATS['time'] as string,
  ]) {
    const fits = judge({ type: 'string', pattern });
    const regex = new RegExp(pattern, 'u');
    for (let round = 0; round < 150; round++) {
      const text = Array.from(
        { length: Math.floor(random.unit() * 5) },
        () => letters[Math.floor(random.unit() * letters.length)],
      ).join('');
      expect([pattern, text, fits(JSON.stringify(text))]).toEqual([pattern, text, regex.test(text)]);
    }
  }
});
