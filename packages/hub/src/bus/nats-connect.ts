/**
 * Opening the connection to NATS: addresses, sign-in, TLS, and what the operator is told when it cannot be had.
 *
 * Files are read again at each return to the server, so that they can be replaced while the hub runs. `tls://` is
 * never answered by a connection without TLS.
 */
import { readFileSync } from 'node:fs';
import { checkServerIdentity, type ConnectionOptions as TlsConnectionOptions } from 'node:tls';
import { IdlewildError, messageOf, type Clock, type Random } from '@idlewild/protocol';
import {
  connect,
  credsAuthenticator,
  errors,
  nkeyAuthenticator,
  type NatsConnection,
  type NodeConnectionOptions,
} from '@nats-io/transport-node';
import type { Log } from '../log.ts';
import { BUS_LIMITS } from './limits.ts';

export interface NatsOptions {
  /** `nats://` or `tls://`, with `user:password@` or `token@` before the host where the server asks for them. */
  readonly urls: readonly string[];
  /** A `.creds` file, as `nsc` writes it. */
  readonly credentialsFile?: string;
  /** A file with an nkey seed, `SU…`. */
  readonly nkeyFile?: string;
  /** The certificate, in PEM, of who signed the server's; without it the platform's are trusted. */
  readonly caFile?: string;
  /** What this replica shows a server that asks for a certificate. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** What the server's operator sees. */
  readonly name?: string;
  readonly connectMsMax?: number;
  /** Three of these without an answer, and a server that stands still is left. */
  readonly pingMs?: number;
}

interface Deps extends NatsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Throws `bus_down`. */
export async function connectNats(deps: Deps): Promise<NatsConnection> {
  const { clock, log, connectMsMax = BUS_LIMITS.connectMsMax } = deps;
  const { options, shown } = optionsOf(deps);
  const untilMs = clock.monotonic() + connectMsMax;
  for (;;) {
    try {
      const nats = await connect(options);
      // Those that were not there the first time have been struck off.
      nats.setServers(options.servers);
      return nats;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal !== undefined) {
        throw new IdlewildError('bus_down', `the bus at ${shown} refused this replica: ${refusal}`, { cause: error });
      }
      if (clock.monotonic() >= untilMs) {
        const seen = `nothing answers at ${shown} (${messageOf(error)})`;
        // A server hangs up on who shows no certificate, and NATS waits on.
        const isUnknown = options.tls !== undefined && deps.certFile === undefined;
        const more = isUnknown ? '; if it wants a certificate, give --bus-cert and --bus-key' : '';
        const message = `${seen}: start nats-server there, or correct --bus${more}`;
        throw new IdlewildError('bus_down', message, { cause: error });
      }
      log.debug({ err: error }, `the bus at ${shown} is not there yet`);
      await new Promise<void>((resolve) => {
        clock.after(BUS_LIMITS.dialPauseMs, resolve);
      });
    }
  }
}

type Options = Omit<NodeConnectionOptions, 'servers'> & { readonly servers: string[] };

function optionsOf(deps: Deps): { readonly options: Options; readonly shown: string } {
  const urls = deps.urls.map(parse);
  const [first] = urls;
  if (first === undefined) throw new IdlewildError('usage', 'the bus has no address: give --bus nats://HOST');
  const withSecret = urls.find(({ username }) => username !== '') ?? first;
  const { caFile, certFile, keyFile, name, log } = deps;
  const isTls = urls.some(({ protocol }) => protocol === 'tls:');
  const tls = isTls || caFile !== undefined || certFile !== undefined;
  for (const file of [caFile, certFile, keyFile]) if (file !== undefined) read(file);
  if (!tls && withSecret.username !== '' && !isLoopback(withSecret.hostname)) {
    log.warn({}, 'the password of the bus crosses the network unprotected: use tls:// and --bus-ca');
  }
  const shown = urls.map(({ protocol, host }) => `${protocol}//${host}`).join(', ');
  const options: Options = {
    servers: urls.map(({ host }) => host),
    ...(name === undefined ? {} : { name }),
    ...signInOf(deps, withSecret),
    ...(tls
      ? {
          tls: {
            ...(caFile === undefined ? {} : { caFile }),
            ...(certFile === undefined ? {} : { certFile }),
            ...(keyFile === undefined ? {} : { keyFile }),
            ...identityOf(urls.map(({ hostname }) => hostname.replace(/^\[(.*)\]$/, '$1'))),
          },
        }
      : {}),
    timeout: Math.min(BUS_LIMITS.dialMsMax, deps.connectMsMax ?? BUS_LIMITS.connectMsMax),
    maxReconnectAttempts: -1,
    // A password may be replaced at the server before it is replaced here.
    ignoreAuthErrorAbort: true,
    reconnectDelayHandler: backOff(deps),
    pingInterval: deps.pingMs ?? BUS_LIMITS.pingMs,
    maxPingOut: BUS_LIMITS.pingsOutMax,
    noAsyncTraces: true,
  };
  return { options, shown };
}

/**
 * NATS checks the certificate of an address in digits as if it were `localhost`, and those that a cluster names itself
 * as the one it came through. Any address that the operator gave is as good as another.
 */
function identityOf(hosts: readonly string[]): Pick<TlsConnectionOptions, 'checkServerIdentity'> {
  return {
    checkServerIdentity(_, certificate) {
      const found = hosts.map((host) => checkServerIdentity(host, certificate));
      return found.includes(undefined) ? undefined : found[0];
    },
  };
}

function parse(url: string): URL {
  const wanted = `the bus's address '${withoutSecret(url)}' is not like nats://HOST:4222 or tls://HOST:4222`;
  if (!URL.canParse(url)) throw new IdlewildError('usage', wanted);
  const parsed = new URL(url);
  if (!/^(nats|tls):$/.test(parsed.protocol) || parsed.host === '') throw new IdlewildError('usage', wanted);
  return parsed;
}

const withoutSecret = (url: string): string => url.replace(/\/\/.*@/, '//');

const isLoopback = (hostname: string): boolean => /^(localhost|127\..*|\[::1\])$/.test(hostname);

function read(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    const message = `reading ${file} for the bus failed (${messageOf(cause)}): name a file that can be read`;
    throw new IdlewildError('usage', message, { cause });
  }
}

type SignIn = Pick<NodeConnectionOptions, 'authenticator' | 'token' | 'user' | 'pass'>;

function signInOf(deps: Deps, { username, password }: URL): SignIn {
  const { credentialsFile, nkeyFile } = deps;
  if (credentialsFile !== undefined) return { authenticator: credsAuthenticator(rereading(credentialsFile)) };
  if (nkeyFile !== undefined) return { authenticator: nkeyAuthenticator(rereading(nkeyFile)) };
  if (username === '') return {};
  const user = decodeURIComponent(username);
  return password === '' ? { token: user } : { user, pass: decodeURIComponent(password) };
}

/** What cannot be read for a moment, while it is replaced, is taken as it was: NATS would give up for good. */
function rereading(file: string): () => Uint8Array {
  let last = read(file);
  return () => {
    try {
      last = readFileSync(file);
    } catch {
      return last;
    }
    return last;
  };
}

/** Why the server, or this side, will not have the connection; `undefined` where trying again may help. */
function refusalOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const message = messageOf(error);
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return `${message}: correct the user and password in --bus, or the file of --bus-credentials`;
  }
  if (/^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/.test(code)) {
    return `${message} (${code}): give --bus-ca the certificate that signed the server's`;
  }
  if (message.includes("does not support 'tls'")) return `${message}: turn TLS on there, or use nats:// here`;
  return undefined;
}

/** NATS asks several times for each attempt, so the wait follows from how long the outage lasts by now. */
function backOff({ clock, random }: Deps): () => number {
  const { reconnectMsMin, reconnectMsMax } = BUS_LIMITS;
  let sinceMs = 0;
  let lastMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = clock.monotonic();
    if (nowMs - lastMs > 2 * (reconnectMsMax + BUS_LIMITS.dialMsMax)) sinceMs = nowMs;
    lastMs = nowMs;
    const waitMs = Math.min(reconnectMsMax, Math.max(reconnectMsMin, (nowMs - sinceMs) / 4));
    return waitMs * (0.5 + random.unit() / 2);
  };
}
