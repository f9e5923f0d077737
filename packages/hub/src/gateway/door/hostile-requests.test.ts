/**
 * Requests that are none, or two, or never end, byte by byte at the hub's own door: most are refused by Node's parser,
 * which a new version of it, or an option of ours, might change.
 */
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let canary = 0;
beforeAll(async () => {
  door = await openTestDoor('any');
});
afterAll(() => door.close());

/** What came until the other end closed, or until nothing more came after an answer. */
function say(bytes: string | Buffer): Promise<string> {
  const socket = connect(Number(new URL(door.url).port), '127.0.0.1');
  let heard = '';
  return new Promise((resolve) => {
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
      // A second answer would be in the same breath: what was smuggled is short.
      if (/\r\n\r\n/.test(heard)) setTimeout(() => socket.end(), 50);
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(heard));
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  });
}

const statuses = (heard: string): string[] => [...heard.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, code = '']) => code);
const key = (): string => `authorization: Bearer ${door.key}\r\n`;
const post = (headers: string, body = ''): string =>
  `POST /v1/embeddings HTTP/1.1\r\nhost: hub\r\n${key()}content-type: application/json\r\n${headers}\r\n${body}`;
const get = (headers: string): string => `GET /v1/models HTTP/1.1\r\nhost: hub\r\n${headers}\r\n`;
const SMUGGLED = 'GET /healthz HTTP/1.1\r\nhost: hub\r\n\r\n';
const CHUNKED = 'transfer-encoding: chunked\r\n';

test.each<[string, () => string]>([
  ['a length and chunks', () => post(`content-length: 4\r\n${CHUNKED}`, `0\r\n\r\n${SMUGGLED}`)],
  ['chunks and a length', () => post(`${CHUNKED}content-length: 4\r\n`, `0\r\n\r\n${SMUGGLED}`)],
  ['two lengths', () => post('content-length: 2\r\ncontent-length: 40\r\n', `{}${SMUGGLED}`)],
  ['the same length twice', () => post('content-length: 2\r\ncontent-length: 2\r\n', `{}${SMUGGLED}`)],
  ['a length with a sign', () => post('content-length: +2\r\n', `{}${SMUGGLED}`)],
  ['a length in hex', () => post('content-length: 0x2\r\n', `{}${SMUGGLED}`)],
  ['a length beyond all numbers', () => post('content-length: 18446744073709551618\r\n', `{}${SMUGGLED}`)],
  ['a header folded over two lines', () => post('transfer-encoding:\r\n chunked\r\n', `0\r\n\r\n${SMUGGLED}`)],
  ['any folded header', () => get(`x: a\r\n content-length: 40\r\n${key()}`)],
  ['a bare LF', () => get(`x: a\n${key()}`)],
  ['bare LFs alone', () => get(key()).replaceAll('\r\n', '\n')],
  ['a bare CR', () => get(`x: a\rb: c\r\n${key()}`)],
  ['a NUL', () => get(`x: a\0b\r\n${key()}`)],
  ['a space before the colon', () => post('transfer-encoding : chunked\r\n', `0\r\n\r\n${SMUGGLED}`)],
  ['an encoding that ends otherwise', () => post('transfer-encoding: chunked, identity\r\n', `0\r\n\r\n${SMUGGLED}`)],
  ['an encoding that looks alike', () => post('transfer-encoding: xchunked\r\n', `0\r\n\r\n${SMUGGLED}`)],
  ['two encodings', () => post(`${CHUNKED}transfer-encoding: identity\r\n`, `0\r\n\r\n${SMUGGLED}`)],
  ['a chunk beyond all numbers', () => post(CHUNKED, `ffffffffffffffffff\r\n${SMUGGLED}`)],
  ['a chunk whose line ends in a LF', () => post(CHUNKED, `2\n{}\r\n0\r\n\r\n${SMUGGLED}`)],
  ['a chunk with an endless remark', () => post(CHUNKED, `2;${'x'.repeat(40_000)}\r\n{}\r\n0\r\n\r\n`)],
  ['chunks in HTTP/1.0', () => post(CHUNKED, `0\r\n\r\n${SMUGGLED}`).replace('HTTP/1.1', 'HTTP/1.0')],
  ['no host', () => `GET /v1/models HTTP/1.1\r\n${key()}\r\n`],
  ['HTTP/2 from the start', () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a version that is none', () => get(key()).replace('HTTP/1.1', 'HTTP/9.9')],
  ['a TLS handshake', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
])('%s: 400, the connection ends, and nothing is smuggled', async (_, request) => {
  expect(statuses(await say(request()))).toEqual(['400']);
});

test.each<[string, () => string]>([
  ['two hosts', () => get(`host: other\r\n${key()}`)],
  ['two keys', () => get(`${key()}Authorization: Bearer iw_other\r\n`)],
])('with %s it is not chosen who was meant: 400', async (_, request) => {
  expect(statuses(await say(request()))).toEqual(['400']);
});

test.each<[string, string, () => string]>([
  ['a megabyte of Authorization', '431', () => get(`authorization: Bearer ${'a'.repeat(2 ** 20)}\r\n`)],
  ['a flood of headers', '431', () => get(`${'a: b\r\n'.repeat(20_000)}${key()}`)],
  ['an address without end', '431', () => get(key()).replace('/v1/models', `/v1/models?${'a'.repeat(20_000)}`)],
  ['a flood behind the last chunk', '431', () => post(CHUNKED, `2\r\n{}\r\n0\r\n${'a: b\r\n'.repeat(20_000)}\r\n`)],
  ['an expectation that nobody has', '417', () => post('content-length: 2\r\nexpect: 200-ok\r\n', '{}')],
])('%s is told %s', async (_, status, request) => {
  // What comes first may be the answer to an empty chunk, never a success.
  const told = statuses(await say(request()));
  expect(told).toContain(status);
  expect(told.filter((code) => code.startsWith('2'))).toEqual([]);
});

test('who asks whether to send a body is told what is wrong without it', async () => {
  const expecting = (bytes: number): string => `content-length: ${bytes}\r\nexpect: 100-continue\r\n`;
  const stranger = post(expecting(8_000_000)).replace(key(), '');
  const first = async (request: string): Promise<string | undefined> =>
    statuses(await say(request)).find((status) => status !== '100');
  expect(await first(stranger)).toBe('401');
  expect(await first(post(expecting(HUB_LIMITS.bodyBytesMax + 1)))).toBe('413');
});

test('a connection to somewhere else is made for nobody', async () => {
  const elsewhere = `CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n${key()}\r\n`;
  expect(statuses(await say(elsewhere))).toEqual([]);
  // Nor is another host asked: the whole address is read as a path.
  const heard = await say(get(key()).replace('/v1/models', `http://example.org/v1/${++canary}`));
  expect(statuses(heard)).toEqual(['404']);
});

test('nothing is unpacked: a body that would be a hundred times as large is the bytes that it is', async () => {
  const packed = gzipSync(Buffer.alloc(50_000_000, ' '));
  const head = Buffer.from(post(`content-encoding: gzip\r\ncontent-length: ${packed.length}\r\n`), 'latin1');
  const before = process.memoryUsage().arrayBuffers;
  expect(statuses(await say(Buffer.concat([head, packed])))).toEqual(['400']);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(25_000_000);
});

test('chunks that never end are let go at the size of a body, and what they took is given back', async () => {
  const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
  const endless = post(CHUNKED, chunk.repeat(Math.ceil((2 * HUB_LIMITS.bodyBytesMax) / 0x10000)));
  expect(statuses(await say(endless))).toEqual(['413']);
});
