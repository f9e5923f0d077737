import { duplexPair, type Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { openFramePipe, type FromEngine, type ToEngine } from './frames.ts';
import { yieldToNode } from '@idlewild/protocol/testing';

interface Ends {
  near: ReturnType<typeof openFramePipe<ToEngine, FromEngine>>;
  raw: Duplex;
  seen: ToEngine[];
  ended: Promise<string>;
}

/** A pipe with a host at one end and an engine at the other; `raw` is the host's end without its framing. */
function open(): Ends {
  const [raw, far] = duplexPair();
  const seen: ToEngine[] = [];
  const near = openFramePipe<ToEngine, FromEngine>(
    raw,
    () => undefined,
    () => undefined,
  );
  const ended = new Promise<string>((resolve) => {
    openFramePipe<FromEngine, ToEngine>(far, (message) => seen.push(message), resolve);
  });
  return { near, raw, seen, ended };
}

test('messages arrive whole and in order, and a field that is undefined is not there', async () => {
  const { near, seen } = open();
  for (let n = 0; n < 50; n++) near.send({ t: 'cancel', n });
  const work = {
    prompt: { kind: 'text', text: '' },
    sampling: { seed: 1, topK: undefined },
    choice: 0,
    stop: [],
    tokens: [3],
  } as const;
  near.send({ t: 'answer', n: 50, work: { ...work, stop: [], tokens: [3], tokensMax: undefined } });
  await yieldToNode();
  expect(seen.slice(0, 50)).toEqual(Array.from({ length: 50 }, (_, n) => ({ t: 'cancel', n })));
  expect(seen[50]).toStrictEqual({ t: 'answer', n: 50, work: { ...work, sampling: { seed: 1 } } });
});

test('a message that comes byte by byte is one message', async () => {
  const source = open();
  const bytes: Buffer[] = [];
  source.raw.write = ((chunk: Buffer) => bytes.push(chunk) > 0) as Duplex['write'];
  source.near.send({ t: 'ping' });
  source.near.send({ t: 'bye' });
  const { raw, seen } = open();
  for (const byte of Buffer.concat(bytes)) {
    raw.write(Buffer.of(byte));
    await yieldToNode();
  }
  expect(seen).toEqual([{ t: 'ping' }, { t: 'bye' }]);
});

test('what is no message ends the pipe and says why', async () => {
  for (const [bytes, why] of [
    [[255, 255, 255, 255], /over the limit/],
    [[1, 0, 0, 0, 0xff], /not valid CBOR/],
    [[0, 0, 0, 0], /not valid CBOR/],
  ] as const) {
    const { raw, ended } = open();
    raw.write(Buffer.from(bytes));
    expect(await ended).toMatch(why);
  }
});

test('a pipe that the other side closes is told', async () => {
  const { raw, ended } = open();
  raw.end();
  expect(await ended).toBe('the pipe was closed');
});

test('a message over the limit is refused where it is sent', () => {
  const { near } = open();
  const work = {
    prompt: { kind: 'text', text: 'x'.repeat(17_000_000) },
    sampling: { seed: 1 },
    choice: 0,
    stop: [],
    tokens: [],
  } as const;
  expect(() => near.send({ t: 'answer', n: 0, work: { ...work, stop: [], tokens: [] } })).toThrow(
    expect.objectContaining({ code: 'invalid_request' }),
  );
});
