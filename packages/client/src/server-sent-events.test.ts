import { expect, test } from 'vitest';
import { createEventReader, type ServerSentEvent } from './server-sent-events.ts';

const bytes = new TextEncoder();
const stream =
  'data: {"a":1}\n\n: a comment\r\ndata: two\r\ndata: lines\r\n\r\nevent: x\nid: 4\ndata:bare\n\ndata: é…\n\n';
const expected = [
  { data: '{"a":1}', id: undefined },
  { data: 'two\nlines', id: undefined },
  { data: 'bare', id: '4' },
  { data: 'é…', id: undefined },
];

test('events come out whole however the bytes are cut', () => {
  const whole = bytes.encode(stream);
  for (let size = 1; size <= whole.length; size++) {
    const reader = createEventReader();
    const events: ServerSentEvent[] = [];
    for (let at = 0; at < whole.length; at += size) events.push(...reader.push(whole.subarray(at, at + size)));
    expect(events, `cut into ${size}`).toEqual(expected);
  }
});

test('an event without its blank line does not come out', () => {
  const reader = createEventReader();
  expect(reader.push(bytes.encode('data: half\n'))).toEqual([]);
  expect(reader.push(bytes.encode('\n'))).toEqual([{ data: 'half', id: undefined }]);
});

test('an event that never ends is refused at its bound', () => {
  const reader = createEventReader();
  const much = bytes.encode(`data: ${'x'.repeat(300_000)}\n`);
  expect(() => {
    for (let i = 0; i < 5; i++) reader.push(much);
  }).toThrow(/longer than 1048576/);
});
