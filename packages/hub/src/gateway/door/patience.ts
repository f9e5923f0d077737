/**
 * How long a connection may take to say what it wants: for its TLS handshake, for the headers of a request, and for all
 * of one. Whoever is slower is told 408 and loses the connection, so nobody holds one by sending a byte now and then.
 * Answers are not bounded here: a stream lasts as long as it lasts.
 */
import type { ServerOptions } from 'node:http';
import type { ServerOptions as TlsServerOptions } from 'node:https';
import { HUB_LIMITS } from '../../limits.ts';

export interface Patience {
  readonly tlsMs: number;
  readonly headersMs: number;
  readonly requestMs: number;
  /** How often it is looked whose time is over. */
  readonly lookMs: number;
}

export const PATIENCE: Patience = {
  tlsMs: HUB_LIMITS.tlsHandshakeMsMax,
  headersMs: HUB_LIMITS.requestHeadersMsMax,
  requestMs: HUB_LIMITS.requestMsMax,
  lookMs: HUB_LIMITS.requestLookMs,
};

/** What fastify makes its server with, or hands to whoever does. */
export interface PatientServer {
  readonly requestTimeout: number;
  readonly http?: ServerOptions;
  readonly https?: TlsServerOptions;
}

export function patientServer(patience: Patience, tls: TlsServerOptions | undefined): PatientServer {
  const { tlsMs, headersMs, requestMs, lookMs } = patience;
  const times = { headersTimeout: headersMs, requestTimeout: requestMs, connectionsCheckingInterval: lookMs };
  // Fastify sets the time for a whole request by itself, to none unless it is told.
  if (tls === undefined) return { requestTimeout: requestMs, http: times };
  return { requestTimeout: requestMs, https: { ...tls, ...times, handshakeTimeout: tlsMs } };
}
