/**
 * The one way from a device to its hub: a socket whose other end is known before a byte of ours goes through it.
 *
 *  - Off loopback only TLS. With a pin, the SHA-256 of the server's SubjectPublicKeyInfo (RFC 7469) must be the
 *    pinned one, and that alone decides: a hub's own certificate is as good as an authority's. Without one,
 *    authorities decide.
 *  - Plain TCP only where the peer's address really is a loopback one, whatever its name says.
 */
import { createHash } from 'node:crypto';
import { BlockList, connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { IdlewildError, equalBytes, hex, type ChannelBinding } from '@idlewild/protocol';
import { NODE_LIMITS } from './limits.ts';

export interface OpenSocket {
  readonly socket: Socket;
  readonly binding: ChannelBinding;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

const isLoopbackAddress = (address: string): boolean => LOOPBACK.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/**
 * `url`: http(s) or ws(s). Throws `hub_unreachable`, `pin_mismatch`, or `hub_untrusted`: nothing vouches for it.
 */
export function openSocket(
  url: URL,
  { spkiPin, signal }: { spkiPin?: Uint8Array | undefined; signal: AbortSignal },
): Promise<OpenSocket> {
  const secure = url.protocol === 'https:' || url.protocol === 'wss:';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port) || (secure ? 443 : 80);
  const place = `${host}:${port}`;
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(unreachable(place, 'it was called off'));
    const rejectUnauthorized = spkiPin === undefined;
    const servername = isIP(host) === 0 ? { servername: host } : {};
    const socket = secure
      ? connectTls({ host, port, ALPNProtocols: ['http/1.1'], rejectUnauthorized, ...servername })
      : connect({ host, port });
    const fail = (error: Error): void => {
      settle();
      // What a socket says after it was given up concerns nobody.
      socket.on('error', () => undefined).destroy();
      reject(error);
    };
    const onAbort = (): void => fail(unreachable(place, 'it was called off'));
    const onTimeout = (): void => fail(unreachable(place, `no connection within ${NODE_LIMITS.connectMsMax} ms`));
    const onError = (error: NodeJS.ErrnoException): void => fail(asSocketError(place, error));
    const settle = (): void => {
      socket.off('error', onError).off('timeout', onTimeout).setTimeout(0);
      signal.removeEventListener('abort', onAbort);
    };
    socket.setTimeout(NODE_LIMITS.connectMsMax).on('timeout', onTimeout).on('error', onError);
    signal.addEventListener('abort', onAbort);
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      const binding = secure ? tlsBinding(socket as TLSSocket, place, spkiPin) : plainBinding(socket, place, spkiPin);
      if (binding instanceof Error) return fail(binding);
      settle();
      resolve({ socket, binding });
    });
  });
}

const unreachable = (place: string, why: string): IdlewildError =>
  new IdlewildError('hub_unreachable', `no connection to the hub at ${place}: ${why}`);

function tlsBinding(socket: TLSSocket, place: string, pin: Uint8Array | undefined): ChannelBinding | IdlewildError {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    return new IdlewildError('pin_mismatch', `the server at ${place} showed no certificate`);
  }
  const der = certificate.publicKey.export({ type: 'spki', format: 'der' });
  const spki = new Uint8Array(createHash('sha256').update(der).digest());
  if (pin === undefined || equalBytes(spki, pin)) return { kind: 'tls', spki };
  return new IdlewildError(
    'pin_mismatch',
    `the server at ${place} has another TLS key than the invite pins ` +
      `(${hex(spki)}, not ${hex(pin)}): this is another server, or the hub has a new key and you need a new invite`,
  );
}

function plainBinding(socket: Socket, place: string, pin: Uint8Array | undefined): ChannelBinding | IdlewildError {
  if (pin !== undefined) {
    return new IdlewildError('pin_mismatch', `${place} is to be reached without TLS, but the invite pins a TLS key`);
  }
  if (isLoopbackAddress(socket.remoteAddress ?? '')) return { kind: 'loopback' };
  return new IdlewildError(
    'hub_untrusted',
    `${place} is another machine: a device speaks to it over TLS only (https://…)`,
  );
}

/** Codes of Node for a certificate that no authority vouches for, or that is for another name. */
const UNTRUSTED = /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_)/;

function asSocketError(place: string, error: NodeJS.ErrnoException): IdlewildError {
  if (!UNTRUSTED.test(error.code ?? '')) return unreachable(place, error.message);
  return new IdlewildError(
    'hub_untrusted',
    `this system does not trust the certificate of ${place} (${error.message}); ask its steward for the address ` +
      'with #pin=… of its key, or have NODE_EXTRA_CA_CERTS name the authority',
    { cause: error },
  );
}
