/**
 * The `BlobSource` port over HTTP: `GET BASE/blobs/CID` with the session's ticket.
 *
 * The ticket and the request go only to the hub itself: to its origin, or to any address that shows the pinned TLS
 * key. A hub that names other places cannot make a device knock there. Connections are kept between blocks. Bytes are
 * bounded here and verified in the store.
 *
 * Where the lender bounds downloads, a socket is only read as fast as that, so that the sender waits; and fewer blocks
 * are under way at once, so that each comes within its time.
 */
import { Agent, request, type IncomingMessage, type RequestOptions } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { IdlewildError, LIMITS, asIdlewildError, type BlobSource } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { AGENT_LIMITS } from '../core/limits.ts';
import { whyNotSent } from '../core/local-hosts.ts';
import { createRate, type Rate } from '../core/rate.ts';
import { NODE_LIMITS } from './limits.ts';
import { openSocket } from './open-socket.ts';

export interface HttpSources {
  /** `baseUrl` is relative to the hub's address, or absolute. */
  sourceFor(baseUrl: string, ticket: string): BlobSource;
  close(): void;
}

/** What the agent is asked to connect to. */
interface Asked extends RequestOptions {
  readonly origin: URL;
}

export interface HttpSourceOptions {
  readonly hubUrl: string;
  readonly spkiPin?: Uint8Array | undefined;
  /** Of all sources together; absent: as fast as it goes. */
  readonly bytesPerSecondMax?: number | undefined;
}

export function createHttpSources({ hubUrl, spkiPin, bytesPerSecondMax }: HttpSourceOptions): HttpSources {
  const hub = new URL(hubUrl.replace(/^ws/, 'http'));
  const closing = new AbortController();
  const agent = new Agent({ keepAlive: true, maxSockets: socketsFor(bytesPerSecondMax) });
  const rate =
    bytesPerSecondMax === undefined
      ? undefined
      : createRate(systemClock, bytesPerSecondMax, AGENT_LIMITS.downloadBurstMs);
  // Every connection of the agent has had its other end checked; TLS is beneath HTTP, so one agent does for both.
  agent.createConnection = (options, callback) => {
    // It tells of its failures through the callback.
    void connectFor(options as Asked, callback as (error: Error | null, socket?: Duplex) => void);
    return undefined;
  };
  async function connectFor({ origin }: Asked, done: (error: Error | null, socket?: Duplex) => void): Promise<void> {
    try {
      done(null, (await openSocket(origin, { spkiPin, signal: closing.signal })).socket);
    } catch (error) {
      done(asIdlewildError(error, `connecting to ${origin.origin}`));
    }
  }
  return {
    sourceFor(baseUrl, ticket) {
      const base = new URL(baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`, hub);
      const isPinned = base.protocol === 'https:' && spkiPin !== undefined;
      const isHub = base.origin === hub.origin || (isPinned && whyNotSent(hub.href, base.href) === undefined);
      return {
        name: base.href,
        async fetch(cid, signal) {
          if (!isHub) {
            throw new IdlewildError(
              'hub_untrusted',
              `${base.origin} is not the hub; a device asks nobody else for blocks`,
            );
          }
          return get(new URL(`blobs/${cid}`, base), { agent, ticket, signal, rate });
        },
      };
    },
    close() {
      closing.abort();
      agent.destroy();
    },
  };
}

/** As many blocks at once as come whole within their time, at least one. */
const socketsFor = (bytesPerSecond = Number.POSITIVE_INFINITY): number => {
  const blocks = Math.floor((bytesPerSecond * NODE_LIMITS.blockMsAim) / (1_000 * LIMITS.leafBytes));
  return Math.min(NODE_LIMITS.blockSocketsMax, Math.max(1, blocks));
};

interface Get {
  readonly agent: Agent;
  readonly ticket: string;
  readonly signal: AbortSignal;
  readonly rate: Rate | undefined;
}

function get(url: URL, { agent, ticket, signal, rate }: Get): Promise<Uint8Array | undefined> {
  const bound = { rate, signal, waiting: false };
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(
        error instanceof IdlewildError
          ? error
          : new IdlewildError('hub_unreachable', `fetching ${url.href} failed: ${error.message}`, { cause: error }),
      );
    const asked = request({
      agent,
      signal,
      path: url.pathname,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port || (url.protocol === 'https:' ? 443 : 80),
      headers: { host: url.host, authorization: `Bearer ${ticket}`, accept: 'application/octet-stream' },
      timeout: NODE_LIMITS.blockIdleMsMax,
      origin: url,
    } satisfies Asked as RequestOptions);
    asked.on('timeout', () => {
      if (bound.waiting) return;
      asked.destroy(new IdlewildError('stalled', `${url.href}: nothing came for ${NODE_LIMITS.blockIdleMsMax} ms`));
    });
    asked.on('error', failed);
    asked.on('response', (response) => {
      read(url, response, bound).then(resolve, failed);
    });
    asked.end();
  });
}

/** What holds a download up: nothing that its source is to blame for. */
interface Bound {
  readonly rate: Rate | undefined;
  readonly signal: AbortSignal;
  waiting: boolean;
}

/** Until so many bytes may be read. */
async function wait(bound: Bound, bytes: number): Promise<void> {
  for (let waitMs: number; (waitMs = bound.rate?.takeMs(bytes) ?? 0) > 0;) {
    bound.waiting = true;
    await pause(waitMs, undefined, { signal: bound.signal });
    bound.waiting = false;
  }
}

async function read(url: URL, response: IncomingMessage, bound: Bound): Promise<Uint8Array | undefined> {
  const { statusCode = 0 } = response;
  if (statusCode !== 200) {
    response.resume();
    if (statusCode === 404) return undefined;
    throw new IdlewildError(
      statusCode === 401 ? 'unauthenticated' : 'hub_unreachable',
      `${url.href} answered ${statusCode}`,
    );
  }
  const tooLarge = (): IdlewildError =>
    new IdlewildError('blob_too_large', `${url.href} sends more than ${LIMITS.blockBytesMax} bytes`);
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > LIMITS.blockBytesMax) {
      response.destroy();
      throw tooLarge();
    }
    parts.push(part);
    await wait(bound, part.length);
  }
  return new Uint8Array(Buffer.concat(parts));
}
