import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { LIMITS, RAW, cidOf, codeOf } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSelfSigned, type SelfSigned } from './testing/self-signed.ts';
import { createHttpSources, type HttpSources } from './http-source.ts';

const block = new TextEncoder().encode('a block');
const cid = await cidOf(RAW, block, nodeCrypto);
const never = new AbortController().signal;

interface Asked {
  readonly url: string | undefined;
  readonly authorization: string | undefined;
}

async function serve(
  act: (request: IncomingMessage, response: ServerResponse) => void,
  tls?: SelfSigned,
): Promise<{ origin: string; asked: Asked[]; connections(): number }> {
  const asked: Asked[] = [];
  let connections = 0;
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    asked.push({ url: request.url, authorization: request.headers.authorization });
    act(request, response);
  };
  const server: Server = tls === undefined ? createHttpServer(listener) : createHttpsServer(tls, listener);
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const { port } = server.address() as AddressInfo;
  return {
    origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    asked,
    connections: () => connections,
  };
}

function sourcesOf(hubUrl: string, spkiPin?: Uint8Array): HttpSources {
  const sources = createHttpSources({ hubUrl, spkiPin });
  onTestFinished(() => sources.close());
  return sources;
}

const codeOfFetch = (fetched: Promise<unknown>): Promise<unknown> => fetched.then(() => 'fetched', codeOf);

test('a block is asked for by its CID below the base, with the ticket, over connections that are kept', async () => {
  const { origin, asked, connections } = await serve((_request, response) => response.end(block));
  const source = sourcesOf(origin).sourceFor('/v1/store', 'ticket-7');
  for (let times = 0; times < 3; times++) expect(await source.fetch(cid, never)).toEqual(block);
  expect(asked[0]).toEqual({ url: `/v1/store/blobs/${cid}`, authorization: 'Bearer ticket-7' });
  expect(connections()).toBe(1);
});

test('the address of a hub may be written for WebSockets', async () => {
  const { origin, asked } = await serve((_request, response) => response.end(block));
  await sourcesOf(origin.replace('http', 'ws')).sourceFor('/', 't').fetch(cid, never);
  expect(asked[0]?.url).toBe(`/blobs/${cid}`);
});

test('what the source does not hold is undefined; other answers are errors', async () => {
  const { origin } = await serve((request, response) => {
    response.writeHead(Number(request.url?.split('/')[1])).end('no');
  });
  const sources = sourcesOf(origin);
  expect(await sources.sourceFor('/404', 't').fetch(cid, never)).toBeUndefined();
  expect(await codeOfFetch(sources.sourceFor('/401', 't').fetch(cid, never))).toBe('unauthenticated');
  expect(await codeOfFetch(sources.sourceFor('/500', 't').fetch(cid, never))).toBe('hub_unreachable');
  expect(await codeOfFetch(sources.sourceFor('/302', 't').fetch(cid, never))).toBe('hub_unreachable');
});

test('a body without end is cut at the largest block', async () => {
  const { origin } = await serve((_request, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(new Uint8Array(65_536)));
      response.once('drain', more);
    };
    more();
  });
  expect(await codeOfFetch(sourcesOf(origin).sourceFor('/', 't').fetch(cid, never))).toBe('blob_too_large');
  expect(LIMITS.blockBytesMax).toBeGreaterThan(65_536);
});

test('a fetch can be called off, and a connection that breaks in the middle is an error', async () => {
  const { origin } = await serve((request, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('part');
    if (request.url?.startsWith('/breaks') === true) response.write('', () => request.socket.destroy());
  });
  const sources = sourcesOf(origin);
  const abort = new AbortController();
  const fetched = codeOfFetch(sources.sourceFor('/hangs', 't').fetch(cid, abort.signal));
  abort.abort();
  expect(await fetched).toBe('hub_unreachable');
  expect(await codeOfFetch(sources.sourceFor('/breaks', 't').fetch(cid, never))).toBe('hub_unreachable');
});

test('over TLS the pin decides, also for an address that the hub names; the ticket goes nowhere else', async () => {
  const tls = await createSelfSigned();
  const answer = (_request: IncomingMessage, response: ServerResponse): unknown => response.end(block);
  const hub = await serve(answer, tls);
  const twin = await serve(answer, tls);
  const stranger = await serve(answer, await createSelfSigned());
  const plain = await serve(answer);
  const sources = sourcesOf(hub.origin, tls.pin);
  expect(await sources.sourceFor('/', 't').fetch(cid, never)).toEqual(block);
  expect(await sources.sourceFor(twin.origin, 't').fetch(cid, never)).toEqual(block);
  expect(await codeOfFetch(sources.sourceFor(stranger.origin, 't').fetch(cid, never))).toBe('pin_mismatch');
  expect(await codeOfFetch(sources.sourceFor(plain.origin, 't').fetch(cid, never))).toBe('hub_untrusted');
  expect([...stranger.asked, ...plain.asked]).toEqual([]);
});

test('a hub on the internet cannot send a device into its own network, whatever key is shown there', async () => {
  const tls = await createSelfSigned();
  const local = await serve((_request, response) => response.end(block), tls);
  const source = sourcesOf('https://hub.example.org', tls.pin).sourceFor(local.origin, 't');
  expect(await codeOfFetch(source.fetch(cid, never))).toBe('hub_untrusted');
  expect(local.connections()).toBe(0);
});

test('a hub on loopback cannot send a device to other ports of its machine', async () => {
  const other = await serve((_request, response) => response.end('secret'));
  const hub = await serve((_request, response) => response.end(block));
  expect(await codeOfFetch(sourcesOf(hub.origin).sourceFor(other.origin, 't').fetch(cid, never))).toBe('hub_untrusted');
  expect(other.asked).toEqual([]);
});

test("the lender's bound on downloads holds over all blocks together, and none is given up for it", async () => {
  const bytes = new Uint8Array(262_144).fill(3);
  const large = await cidOf(RAW, bytes, nodeCrypto);
  const { origin, connections } = await serve((_request, response) => response.end(bytes));
  const bytesPerSecondMax = 600_000;
  const sources = createHttpSources({ hubUrl: origin, bytesPerSecondMax });
  onTestFinished(() => sources.close());
  const source = sources.sourceFor('/', 'ticket');
  const fromMs = performance.now();
  const fetched = await Promise.all([1, 2, 3, 4].map(() => source.fetch(large, never)));
  const tookMs = performance.now() - fromMs;
  expect(fetched.map((each) => each?.length)).toEqual([1, 2, 3, 4].map(() => bytes.length));
  // A second's worth may come at once.
  expect(tookMs).toBeGreaterThan(((4 * bytes.length - bytesPerSecondMax) / bytesPerSecondMax) * 1_000 - 20);
  expect(connections()).toBeLessThan(8);
});

test('a download that waits for its turn ends when it is called off', async () => {
  const bytes = new Uint8Array(262_144);
  const sent = Promise.withResolvers<void>();
  const { origin } = await serve((_request, response) => void response.write(bytes, () => sent.resolve()));
  const sources = createHttpSources({ hubUrl: origin, bytesPerSecondMax: 1_000 });
  onTestFinished(() => sources.close());
  const stop = new AbortController();
  const fetching = sources.sourceFor('/', 'ticket').fetch(cid, stop.signal);
  await sent.promise;
  stop.abort();
  await expect(fetching).rejects.toThrow(/abort|cancel/i);
});
