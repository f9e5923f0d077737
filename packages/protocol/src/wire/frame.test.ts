import { expect, test } from 'vitest';
import { concat, fromHex, hex, utf8 } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { decodeCbor, decodeFrame, encodeCbor, encodeFrame, negotiateVersion, refuseUnknownCritical } from './frame.ts';

const refusal = (code: string, text: string): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(text) });

test('the same value gives the same bytes whatever the order of its fields', () => {
  const bytes = hex(encodeCbor({ a: 2, c: 4, ab: 3, bb: 1.5 }));
  expect(hex(encodeCbor({ bb: 1.5, ab: 3, c: 4, a: 2 }))).toBe(bytes);
  expect(bytes).toBe('a461610261630462616203626262f93e00');
});

test('a field that is undefined is left out', () => {
  expect(decodeFrame(encodeFrame({ t: 'x', gone: undefined, kept: null }))).toEqual({ t: 'x', kept: null });
});

test.each([
  ['nothing', ''],
  ['two items', 'a16174617801'],
  ['an item cut short', 'a2617461786161'],
  ['undefined', 'a2617461786161f7'],
  ['NaN', 'a2617461786161f97e00'],
  ['infinity', 'a2617461786161f97c00'],
  ['a tag', 'a2617461786161c001'],
  ['the same key twice', 'a2617461786174617a'],
  ['a number as key', 'a2010261746178'],
  ['a length past its end', '5b7fffffffffffffff'],
  ['an array that claims 4 billion items', '9b00000000ffffffff'],
])('%s is not a frame', (_, bytes) => {
  expect(() => decodeFrame(fromHex(bytes))).toThrow(refusal('frame_invalid', 'CBOR'));
});

test.each([
  ['a number', encodeCbor(1)],
  ['an array', encodeCbor([{ t: 'x' }])],
  ['bytes', encodeCbor(utf8('x'))],
  ['null', encodeCbor(null)],
  ['a map without a kind', encodeCbor({ a: 1 })],
  ['a kind that is no text', encodeCbor({ t: 1 })],
])('%s is not a frame either', (_, bytes) => {
  expect(() => decodeFrame(bytes)).toThrow(refusal('frame_invalid', 'a frame must'));
});

test('a frame over the limit is refused before it is read', () => {
  const bytes = encodeFrame({ t: 'x', filler: new Uint8Array(100) });
  expect(decodeFrame(bytes, bytes.length).t).toBe('x');
  expect(() => decodeFrame(bytes, bytes.length - 1)).toThrow(refusal('frame_too_large', `${bytes.length} bytes`));
});

test('nesting as deep as a frame allows ends in a refusal, not in a crash', () => {
  for (const opening of [[0x81], [0xa1, 0x61, 0x61]]) {
    const byteAt = (index: number): number => opening[index % opening.length] as number;
    const deep = Uint8Array.from({ length: LIMITS.frameBytesMax }, (_, index) => byteAt(index));
    expect(() => decodeFrame(deep)).toThrow(refusal('frame_invalid', 'CBOR'));
  }
});

test("a name of an object's own machinery is a field like any other", () => {
  const items = ['t', 'x', '__proto__', { admin: true }].map(encodeCbor);
  const frame = decodeFrame(concat([fromHex('a2'), ...items]));
  expect(Object.getPrototypeOf(frame)).toBe(Object.prototype);
  expect((frame as { admin?: boolean }).admin).toBeUndefined();
});

test('an unknown critical field is refused at any depth, a known one and an unknown plain one are not', () => {
  const check = (fields: Record<string, unknown>): void => refuseUnknownCritical(fields, ['!sealed'], 'a frame');
  check({ t: 'x', '!sealed': 1, other: { deep: [1, { plain: null }] }, bytes: utf8('!bytes') });
  for (const fields of [{ '!new': 1 }, { work: { '!new': 1 } }, { list: [[{ '!new': null }]] }]) {
    expect(() => check(fields)).toThrow(refusal('frame_invalid', '"!new"'));
  }
});

test('the best version that both sides speak is chosen', () => {
  expect(negotiateVersion([1, 2, 9], [3, 2, 1])).toBe(2);
  expect(() => negotiateVersion([7], [1])).toThrow(refusal('version_unsupported', 'theirs 7'));
});

test('no garbage gets past the decoder as anything but one of our errors', () => {
  const good = encodeFrame({ t: 'heartbeat', n: 1, status: { state: 'ready', list: [1, 'two', utf8('three')] } });
  for (let seed = 1; seed <= 3_000; seed++) {
    const random = createSeededRandom(seed);
    const bytes = seed % 2 === 0 ? random.bytes(1 + Math.floor(random.unit() * 64)) : good.slice();
    if (seed % 2 === 1) bytes[Math.floor(random.unit() * bytes.length)] = random.bytes(1)[0] as number;
    try {
      expect(typeof decodeFrame(bytes).t).toBe('string');
      decodeCbor(bytes, 'garbage');
    } catch (error) {
      expect(error, `seed ${seed}`).toBeInstanceOf(IdlewildError);
      expect(error, `seed ${seed}`).toMatchObject({ code: 'frame_invalid' });
    }
  }
});

test('an encoding that is not the shortest, or of no stated length, is refused', () => {
  const encodings: Record<string, number[]> = {
    'an integer in two bytes that fits one': [0xa1, 0x61, 0x74, 0x18, 0x01],
    'a map of indefinite length': [0xbf, 0x61, 0x74, 0x61, 0x78, 0xff],
    'a text of indefinite length': [0xa1, 0x61, 0x74, 0x7f, 0x61, 0x78, 0xff],
  };
  for (const [what, bytes] of Object.entries(encodings)) {
    expect(() => decodeFrame(Uint8Array.from(bytes)), what).toThrow(
      expect.objectContaining({ code: 'frame_invalid' }) as Error,
    );
  }
});
