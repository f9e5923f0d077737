import { fromUtf8, utf8 } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { createTokenBytes } from './token-bytes.ts';

const added = [{ id: 9, content: '<|é|>' }];
const bytesOf = (decoder: unknown, texts: readonly string[]) => createTokenBytes({ decoder }, (id) => texts[id], added);

test('byte-level tokens are the bytes that their letters stand for, half a character too', () => {
  const of = bytesOf({ type: 'Sequence', decoders: [{ type: 'ByteLevel' }] }, ['Ġa', 'Ã', '©Ċ', '▁']);
  expect([0, 1, 2, 3].map(of)).toEqual([utf8(' a'), Uint8Array.of(0xc3), Uint8Array.of(0xa9, 10), utf8('▁')]);
});

test("SentencePiece's tokens have spaces for ▁ and bytes for their names", () => {
  const decoder = {
    type: 'Sequence',
    decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }],
  };
  const texts = ['▁▁a', '<0xE2>', '<0x0A>', '<0xZZ>'];
  expect([0, 1, 2, 3].map(bytesOf(decoder, texts))).toEqual([
    utf8('  a'),
    Uint8Array.of(0xe2),
    Uint8Array.of(10),
    utf8('<0xZZ>'),
  ]);
  expect(fromUtf8(bytesOf({ type: 'Metaspace' }, ['▁x', '<0x0A>'])(0) as Uint8Array)).toBe(' x');
  expect(bytesOf({ type: 'Metaspace' }, ['▁x', '<0x0A>'])(1)).toEqual(utf8('<0x0A>'));
});

test('added tokens are their text, and ids that are none have no bytes', () => {
  for (const decoder of [null, { type: 'ByteLevel' }, { type: 'Metaspace' }]) {
    expect(bytesOf(decoder, [])(9)).toEqual(utf8('<|é|>'));
    expect(bytesOf(decoder, [])(3)).toBeUndefined();
  }
});
