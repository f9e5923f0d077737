/**
 * `fetch` for a hub with a certificate of its own: the connection is good if the server's key is the pinned one,
 * whoever signed it (RFC 7469), and nothing is sent before that is known.
 *
 * A pinned address is written `https://host:7860#pin=BASE64URL`, the SHA-256 of the SubjectPublicKeyInfo.
 */
import { createHash } from 'node:crypto';
import { Agent, request as httpsRequest } from 'node:https';
import { Readable } from 'node:stream';
import { connect, type TLSSocket } from 'node:tls';
import type { Fetch } from '@idlewild/client';
import { IdlewildError } from '@idlewild/protocol';

const PIN = /^(.*?)\/*#pin=([A-Za-z0-9_-]{43})=?$/;

export function splitPin(address: string): { readonly url: string; readonly pin: string | undefined } {
  const [, url, pin] = PIN.exec(address.trim()) ?? [];
  return url === undefined ? { url: address, pin: undefined } : { url, pin };
}

export const withPin = (url: string, spkiPin: Uint8Array): string =>
  `${url}#pin=${Buffer.from(spkiPin).toString('base64url')}`;

/** What `fetch` is asked for, as a text. */
export const addressOf = (input: Parameters<Fetch>[0]): string =>
  typeof input === 'string' ? input : input instanceof URL ? input.href : input.url;

export function pinnedFetch(pin: string): Fetch {
  const agent = new Agent({ keepAlive: true });
  // The socket is handed to the request only once its key is known to be the pinned one.
  agent.createConnection = (options, made) => {
    const socket = connect({ ...(options as object), rejectUnauthorized: false }, () => {
      if (pinOf(socket) === pin) return made?.(null, socket);
      const message = 'the TLS key of this server is not the pinned one; another machine may be answering in its place';
      socket.destroy();
      made?.(new IdlewildError('pin_mismatch', message), socket);
    });
    socket.once('error', (error) => made?.(error, socket));
    return undefined;
  };
  return (input, init = {}) => exchange(new URL(addressOf(input)), init, agent);
}

const pinOf = (socket: TLSSocket): string => {
  const key = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' });
  return key === undefined ? '' : createHash('sha256').update(key).digest('base64url');
};

function exchange(url: URL, init: RequestInit, agent: Agent): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', body, signal } = init;
    const headers = Object.fromEntries(new Headers(init.headers));
    const sent = httpsRequest(url, { method, headers, agent, ...(signal ? { signal } : {}) }, (received) => {
      const answered = new Headers();
      for (const [name, value] of Object.entries(received.headers)) {
        if (value !== undefined) answered.set(name, Array.isArray(value) ? value.join(', ') : value);
      }
      const status = received.statusCode ?? 500;
      const bodyless = status === 204 || status === 304;
      if (bodyless) received.resume();
      const stream = bodyless ? null : (Readable.toWeb(received) as ReadableStream<Uint8Array<ArrayBuffer>>);
      resolve(new Response(stream, { status, headers: answered }));
    });
    sent.once('error', reject);
    sent.end(body ?? undefined);
  });
}
