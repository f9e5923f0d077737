import { codeOf } from '@idlewild/protocol';
import { expect, test } from 'vitest';

import { LIMITS } from './limits.ts';
import { decodeMessage, encodeMessage } from './protobuf.ts';
import { readGraph } from './read.ts';
import { readJacobean } from './testing/jacobean.ts';
import { createSeededNumbers } from './testing/seeds.ts';

const join = (chunks: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(chunks));

/** What reading ended in: `read`, or the code of the error. */
function outcome(bytes: Uint8Array): string {
  try {
    readGraph(bytes);
    return 'read';
  } catch (error) {
    return codeOf(error) ?? `not ours: ${String(error)}`;
  }
}

/** A length-delimited field with correct prefix. */
function field(number: number, content: Uint8Array): Uint8Array {
  const length = [];
  for (let rest = content.length; ; rest >>= 7) {
    length.push((rest & 127) | (rest > 127 ? 128 : 0));
    if (rest <= 127) break;
  }
  return Uint8Array.from([number * 8 + 2, ...length, ...content]);
}

test('a model file comes back with every field, and its weights are views, not copies', () => {
  const bytes = readJacobean();
  const model = decodeMessage('Model', bytes);
  const { chunks, bytes: length } = encodeMessage('Model', model);
  expect(length).toBe(bytes.length);
  // Unknown fields go to the end of their message; from then on nothing moves.
  const again = encodeMessage('Model', decodeMessage('Model', join(chunks)));
  expect(Buffer.compare(join(again.chunks), join(chunks))).toBe(0);
  const weights = model.graph?.initializer.find((tensor) => tensor.name === 'embed')?.rawData as Uint8Array;
  expect(weights.buffer).toBe(bytes.buffer);
  expect(chunks).toContainEqual(weights);
});

test('integers of 64 bits survive: numbers where they are exact, bigints beyond', () => {
  const ints = [
    0,
    1,
    127,
    128,
    2 ** 31,
    2 ** 49,
    Number.MAX_SAFE_INTEGER,
    -1,
    -(2 ** 40),
    2n ** 63n - 1n,
    -(2n ** 63n),
    2n ** 53n,
  ];
  const uints = [0, 2n ** 64n - 1n, 2n ** 63n];
  const [attribute, tensor] = [
    encodeMessage('Attribute', { floats: [], ints, strings: [], tensors: [], graphs: [] }),
    encodeMessage('Tensor', {
      dims: [],
      floatData: [],
      int32Data: [],
      stringData: [],
      int64Data: [],
      doubleData: [],
      uint64Data: uints,
      externalData: [],
    }),
  ];
  expect(decodeMessage('Attribute', join(attribute.chunks)).ints).toEqual(ints);
  expect(decodeMessage('Tensor', join(tensor.chunks)).uint64Data).toEqual(uints);
});

test('unknown fields, and known ones of another wire type, come back verbatim', () => {
  // Fields 100 and 101, and field 1 as a fixed32.
  const unknown = Uint8Array.from([0xa0, 0x06, 0x96, 0x01, 0xaa, 0x06, 2, 7, 7, 0x0d, 1, 2, 3, 4]);
  const bytes = join([Uint8Array.from([0x12, 1, 0x76]), unknown]); // Entry.value = 'v'
  const entry = decodeMessage('Entry', bytes);
  expect(entry.value).toBe('v');
  expect(entry.unknown).toEqual([unknown]);
  expect(join(encodeMessage('Entry', entry).chunks)).toEqual(bytes);
});

test('a packed and an unpacked list of integers read alike', () => {
  expect(decodeMessage('Tensor', Uint8Array.from([0x0a, 2, 3, 4])).dims).toEqual([3, 4]);
  expect(decodeMessage('Tensor', Uint8Array.from([0x08, 3, 0x08, 4])).dims).toEqual([3, 4]);
});

test('bytes that promise more than there is are refused as invalid', () => {
  const cases: Record<string, number[]> = {
    'a tag alone': [0x3a],
    'a length beyond the end': [0x3a, 5, 1],
    'a length of 2^63': [0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    'a varint of eleven bytes': [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    'a varint of more than 64 bits': [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
    'field number zero': [0x02, 0],
    'a group': [0x0b, 0x0c],
    'an inner message longer than the outer': [0x3a, 2, 0x0a, 9],
    'two graphs': [0x3a, 0, 0x3a, 0],
    'a name that is not UTF-8': [0x3a, 3, 0x12, 1, 0xff],
    'no graph at all': [],
  };
  for (const [name, bytes] of Object.entries(cases))
    expect([name, outcome(Uint8Array.from(bytes))]).toEqual([name, 'model_invalid']);
});

test('nesting beyond the limit is refused, nesting below it is read', () => {
  // Graph { node { attribute { g: Graph … } } }, three levels at a time.
  const nested = (rounds: number): Uint8Array => {
    let graph: Uint8Array = new Uint8Array(0);
    for (let i = 0; i < rounds; i++) graph = field(1, field(5, join([Uint8Array.from([0xa0, 1, 5]), field(6, graph)])));
    return field(7, graph);
  };
  expect(outcome(nested(15))).toBe('read');
  expect(outcome(nested(LIMITS.messageDepthMax))).toBe('model_invalid');
  expect(outcome(nested(400))).toBe('model_invalid');
});

test('a file of nothing but empty messages is refused before it fills the memory', () => {
  const flood = new Uint8Array(2 * (LIMITS.elementsMax + 10));
  for (let i = 0; i < flood.length; i += 2) flood[i] = 0x0a; // Graph.node, length 0
  expect(() => decodeMessage('Graph', flood)).toThrow(/more than 1000000 elements/);
});

test('whatever the bytes, reading ends with a graph or with an error of ours', () => {
  const whole = readJacobean();
  const header = whole.slice(0, 20_000);
  const seen = new Map<string, number>();
  for (let seed = 0; seed < 3_000; seed++) {
    const numbers = createSeededNumbers(seed);
    const random = seed % 3 === 0;
    const bytes = random
      ? Uint8Array.from({ length: numbers.below(300) }, () => numbers.below(256))
      : header.slice(0, numbers.below(2_000));
    for (let i = 0; !random && i < 1 + (seed % 4); i++) bytes[numbers.below(bytes.length + 1)] = numbers.below(256);
    const end = outcome(bytes);
    seen.set(end, (seen.get(end) ?? 0) + 1);
  }
  expect([...seen.keys()].filter((end) => !['read', 'model_invalid', 'model_unsupported'].includes(end))).toEqual([]);
  expect(seen.get('model_invalid')).toBeGreaterThan(1_000);
});
