import { expect, test } from 'vitest';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { layoutFile, type IdlewildError } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
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

const withId = (text: string, id: string): string => `${chunk(text).slice(0, -1)}id: ${id}\n\n`;
/** Says the parts one after the other, one each time it is asked, and breaks off; then the end. */
const breaking =
  (parts: readonly string[], seen: (string | undefined)[][]): Route =>
  (request, response) => {
    seen.push([
      request.method,
      request.headers['idempotency-key'] as string,
      request.headers['last-event-id'] as string,
    ]);
    const part = parts[seen.length - 1];
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (part === undefined) return response.end(ending);
    response.write(part, () => response.destroy());
    return undefined;
  };

test('a stream that breaks goes on after the last event that came whole with its id', async () => {
  const seen: (string | undefined)[][] = [];
  const parts = [
    `${withId('', 'r:-')}${withId('to ', 'r:0')}${withId('be', 'r:1')}`,
    `${withId(' or', 'r:2')}${chunk(' what comes without its id')}`,
    `${chunk(' not')}${withId('', 'r:3')}data: {"choi`,
  ];
  await withHub(breaking(parts, seen), async (client) => {
    const pieces: AnswerPiece[] = [];
    for await (const piece of client.chat(ask)) pieces.push(piece);
    const texts = ['to ', 'be', ' or', ' not'].map((text) => ({ text }));
    expect(pieces).toEqual([...texts, { finish: 'stop', usage, idlewild: note }]);
  });
  const name = seen[0]?.[1];
  expect(name).toMatch(/^[0-9a-f]{32}$/);
  expect(seen).toEqual([undefined, 'r:1', 'r:2', 'r:3'].map((id) => ['POST', name, id]));
});

test('one that breaks before any text is asked for anew, one with text and no id not at all', async () => {
  const seen: (string | undefined)[][] = [];
  await withHub(breaking([': nothing yet\n\n'], seen), async (client) => {
    expect((await wholeAnswer(client.chat(ask))).text).toBe('');
  });
  expect(seen.map(([, , id]) => id)).toEqual([undefined, undefined]);
  seen.length = 0;
  await withHub(breaking([chunk('to')], seen), async (client) => {
    expect(await codeOfFailure(wholeAnswer(client.chat(ask)))).toBe('disconnected');
  });
  expect(seen).toHaveLength(1);
});

test('going on is tried again where that may help, and given up where it cannot or takes too long', async () => {
  const clock = createFakeClock(yieldToNode);
  const tries = async (answer: (response: ServerResponse) => void): Promise<{ code: string; asked: number }> => {
    let asked = 0;
    let outcome: Promise<string> | undefined;
    await withHub(
      (_, response) => {
        if (asked++ > 0) return answer(response);
        response.write(withId('to', 'r:0'), () => response.destroy());
        return undefined;
      },
      async ({ hub }) => {
        let isOver = false;
        outcome = codeOfFailure(wholeAnswer(createClient({ hub, clock }).chat(ask))).finally(() => {
          isOver = true;
        });
        await expect
          .poll(
            async () => {
              await clock.advance(10_000);
              return isOver;
            },
            { interval: 2, timeout: 10_000 },
          )
          .toBe(true);
      },
    );
    return { code: (await outcome) ?? '', asked };
  };
  const refusing =
    (status: number, code: string) =>
    (response: ServerResponse): void => {
      response.writeHead(status).end(JSON.stringify({ error: { message: 'no', code } }));
    };
  expect(await tries((response) => void response.destroy())).toEqual({ code: 'disconnected', asked: 9 });
  expect(await tries(refusing(503, 'bus_down'))).toEqual({ code: 'disconnected', asked: 9 });
  expect(await tries((response) => void response.writeHead(502).end('<html>'))).toEqual({
    code: 'disconnected',
    asked: 9,
  });
  // It accepts, and breaks off each time without a word.
  expect(await tries((response) => void response.write(' ', () => response.destroy()))).toMatchObject({ asked: 9 });
  expect(await tries(refusing(400, 'invalid_request'))).toEqual({ code: 'disconnected', asked: 2 });
});

test('who leaves says that nobody comes back, unless the question has a name of its own', async () => {
  const calls: string[] = [];
  const route: Route = (request, response) => {
    calls.push(`${request.method} ${request.url}`);
    if (request.method === 'DELETE') return response.writeHead(204).end();
    return response.write(chunk('to'));
  };
  await withHub(route, async (client) => {
    for await (const _ of client.chat(ask)) break;
    const abort = new AbortController();
    const reading = (async () => {
      for await (const _ of client.chat(ask, { signal: abort.signal })) abort.abort();
    })();
    expect(await codeOfFailure(reading)).toBe('cancelled');
    for await (const _ of client.chat(ask, { idempotencyKey: 'mine' })) break;
  });
  const cancelled = expect.stringMatching(/^DELETE \/v1\/answers\/[0-9a-f]{32}$/) as string;
  const asked = 'POST /v1/chat/completions';
  expect(calls).toEqual([asked, cancelled, asked, cancelled, asked]);
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
        code: 'hub_unreachable',
        message: expect.stringContaining('status 502 by what is before the hub') as string,
      });
    },
  );
});

test.each([301, 302, 303, 307, 308])(
  'nobody goes where a hub sends us, neither with a body nor without (%i)',
  async (status) => {
    const reached: string[] = [];
    await withHub(
      (request, response) => {
        const { url = '' } = request;
        if (url.startsWith('/inside')) reached.push(url);
        else response.writeHead(status, { location: `/inside${url}` });
        response.end('{}');
      },
      async (client) => {
        for (const work of [client.status(), client.chat(ask).next(), client.keys.create({ role: 'caller' })])
          await expect(work).rejects.toMatchObject({
            code: 'hub_untrusted',
            message: expect.stringMatching(/sends us to \/inside.*give the hub's own address/) as string,
          });
      },
    );
    expect(reached).toEqual([]);
  },
);

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
