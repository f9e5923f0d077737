import { expect, test } from 'vitest';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { layoutFile, type IdlewildError } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createClient, wholeAnswer, type AnswerPiece, type Client } from './index.ts';

type Route = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** A server that says what a hub would say, for as long as `act` runs. */
async function withHub(route: Route, act: (client: Client) => Promise<void>): Promise<void> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => route(request, response, Buffer.concat(chunks)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await act(createClient({ hub: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, key: 'k' }));
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const chunk = (text: string): string =>
  `data: ${JSON.stringify({ choices: [{ delta: { content: text }, finish_reason: null }], usage: null })}\n\n`;
const note = { devices: ['ada'], failovers: 0, seed: 7, exact: true, hub: 'home' };
const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
const ending =
  `data: ${JSON.stringify({ choices: [{ delta: {}, finish_reason: 'stop' }], idlewild: note })}\n\n` +
  `data: ${JSON.stringify({ choices: [], usage, idlewild: note })}\n\ndata: [DONE]\n\n`;
const ask = { model: 'm', messages: [{ role: 'user', content: 'hello' }] } as const;

async function codeOfFailure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'no failure',
    (error: unknown) => (error as IdlewildError).code,
  );
}

test('a question under a name carries it, and usage and limits go to their routes', async () => {
  const seen: unknown[] = [];
  await withHub(
    (request, response, body) => {
      seen.push([request.method, request.url, request.headers['idempotency-key'], body.toString()]);
      response.end(request.url === '/v1/chat/completions' ? chunk('to ') + ending : '[]');
    },
    async (client) => {
      for await (const _ of client.chat(ask, { idempotencyKey: 'once' }));
      await client.usage();
      await client.usage({ from: '2027-01-01', key: 'key_a', model: undefined });
      await client.keys.limit('key_a', { requestsPerMinute: 'none' });
    },
  );
  expect(seen).toMatchObject([
    ['POST', '/v1/chat/completions', 'once', expect.any(String)],
    ['GET', '/api/usage', undefined, ''],
    ['GET', '/api/usage?from=2027-01-01&key=key_a', undefined, ''],
    ['PATCH', '/api/keys/key_a', undefined, '{"requestsPerMinute":"none"}'],
  ]);
});

test('an answer is its pieces and one end', async () => {
  const seen: unknown[] = [];
  await withHub(
    (request, response, body) => {
      seen.push(request.headers.authorization, JSON.parse(body.toString()));
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(chunk('') + chunk('to ') + chunk('be') + ending);
    },
    async (client) => {
      const pieces: AnswerPiece[] = [];
      for await (const piece of client.chat(ask)) pieces.push(piece);
      expect(pieces).toEqual([{ text: 'to ' }, { text: 'be' }, { finish: 'stop', usage, idlewild: note }]);
    },
  );
  expect(seen).toEqual(['Bearer k', { ...ask, stream: true, stream_options: { include_usage: true } }]);
});

test('an error in the middle of an answer keeps its code', async () => {
  await withHub(
    (_, response) => {
      response.end(
        `${chunk('to')}data: ${JSON.stringify({ error: { message: 'all gone', code: 'attempts_exhausted' } })}\n\n`,
      );
    },
    async (client) => {
      expect(await codeOfFailure(wholeAnswer(client.chat(ask)))).toBe('attempts_exhausted');
    },
  );
});

test('a stream without its end is not an answer', async () => {
  await withHub(
    (_, response) => {
      response.end(chunk('to'));
    },
    async (client) => {
      expect(await codeOfFailure(wholeAnswer(client.chat(ask)))).toBe('disconnected');
    },
  );
  await withHub(
    (_, response) => {
      response.write(chunk('to'), () => response.destroy());
    },
    async (client) => {
      expect(await codeOfFailure(wholeAnswer(client.chat(ask)))).toBe('disconnected');
    },
  );
});

test('leaving the loop hangs up', async () => {
  let closed: Promise<unknown> | undefined;
  await withHub(
    (request, response) => {
      closed = once(request.socket, 'close');
      response.write(chunk('to'));
    },
    async (client) => {
      for await (const piece of client.chat(ask)) {
        expect(piece).toEqual({ text: 'to' });
        break;
      }
      await closed;
    },
  );
});

test('an abort is told from a fault of the network', async () => {
  await withHub(
    (_, response) => {
      response.write(chunk('to'));
    },
    async (client) => {
      const abort = new AbortController();
      const reading = (async () => {
        for await (const _ of client.chat(ask, { signal: abort.signal })) abort.abort();
      })();
      expect(await codeOfFailure(reading)).toBe('cancelled');
      expect(await codeOfFailure(client.status({ signal: AbortSignal.timeout(5) }))).toBe('deadline_exceeded');
    },
  );
  const nobody = createClient({ hub: 'http://127.0.0.1:9' });
  await expect(nobody.status()).rejects.toThrow(/no hub answers at http:\/\/127\.0\.0\.1:9 \(/);
  expect(await codeOfFailure(nobody.status())).toBe('hub_unreachable');
});

test("a refusal keeps code, field and time to come back; one that is no hub's goes by its status", async () => {
  await withHub(
    (request, response) => {
      if (request.url === '/api/status') {
        response.writeHead(429, { 'retry-after': '3' });
        response.end(
          JSON.stringify({ error: { message: 'full', code: 'too_busy', param: 'model', type: 'rate_limit_error' } }),
        );
      } else {
        response.writeHead(502);
        response.end('<html>Bad Gateway</html>');
      }
    },
    async (client) => {
      await expect(client.status()).rejects.toMatchObject({
        code: 'too_busy',
        message: 'full',
        details: { param: 'model', retryAfterSeconds: 3 },
      });
      await expect(client.keys.list()).rejects.toMatchObject({
        code: 'internal',
        message: expect.stringContaining('status 502') as string,
      });
    },
  );
});

test('an upload sends the leaves that the hub lacks, and no others', async () => {
  const content = new Uint8Array(2_500_000).map((_, index) => index >> 8);
  const { layout, nodes } = await layoutFile([content], nodeCrypto);
  const calls: string[] = [];
  const leaves = new Map<string, Buffer>();
  await withHub(
    (request, response, body) => {
      calls.push(`${request.method ?? ''} ${(request.url ?? '').replace(layout.root.toString(), 'ROOT')}`);
      if (request.url?.includes('/leaves/') === true) leaves.set(request.url.split('/').pop() ?? '', body);
      if (request.url === '/api/files') return response.end(JSON.stringify({ missing: [0, 2] }));
      if (request.url === '/api/models') return response.end(JSON.stringify({ name: 'm', cid: 'c', bytes: 1 }));
      response.end(request.method === 'POST' ? '{}' : '');
    },
    async (client) => {
      const progress: number[] = [];
      const added = await client.models.upload({
        name: 'm',
        manifest: { cid: 'MANIFEST', bytes: new Uint8Array(3) },
        files: [
          {
            path: 'weights.bin',
            layout,
            nodes,
            read: async (offset, length) => content.subarray(offset, offset + length),
          },
        ],
        onProgress: (done) => progress.push(done),
      });
      expect(added).toEqual({ name: 'm', cid: 'c', bytes: 1 });
      expect(progress.at(0)).toBe(1_048_576);
      expect(progress.at(-1)).toBe(content.length);
    },
  );
  expect([...calls].sort()).toEqual([
    'POST /api/files',
    'POST /api/files/ROOT/finish',
    'POST /api/models',
    'PUT /api/blobs/MANIFEST',
    'PUT /api/blobs/ROOT',
    'PUT /api/files/ROOT/leaves/0',
    'PUT /api/files/ROOT/leaves/2',
  ]);
  expect(leaves.get('2')?.equals(content.subarray(2_097_152))).toBe(true);
});
