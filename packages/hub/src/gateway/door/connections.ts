/**
 * The connections of this process's servers, as the crowd at the door sees them: when they come, ask, are answered and
 * go, and whose they turn out to be. What they ask is not looked at here.
 *
 * Connections from this very machine count to no address, and behind a balancer none does until it asks: then it counts
 * to whom the balancer says it is for. A connection that does not get as far as a TLS handshake counts like any other.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { addressGroup, isOwnMachine } from './address-group.ts';
import { callerAddress } from './caller-address.ts';
import type { Crowd, Visitor } from './crowd.ts';

export interface Connections {
  /** From now on, for every connection of a server. */
  watch(server: Server): void;
  /** It becomes something else than a connection for requests, and asks for it. */
  asks(request: IncomingMessage): void;
  /** Whether who uses it has shown who that is. Nothing for what is no connection, such as an injected request. */
  stands(socket: Duplex, isKnown: boolean): void;
}

export interface ConnectionsDeps {
  readonly crowd: Crowd;
  readonly isBehindBalancer: boolean;
}

export function createConnections({ crowd, isBehindBalancer }: ConnectionsDeps): Connections {
  const visitors = new WeakMap<Duplex, Visitor>();

  const groupAt = ({ remoteAddress }: Socket): string | undefined =>
    isBehindBalancer || remoteAddress === undefined || isOwnMachine(remoteAddress)
      ? undefined
      : addressGroup(remoteAddress);
  const groupOf = (request: IncomingMessage, visitor: Visitor): string | undefined =>
    isBehindBalancer && request.headers['x-forwarded-for'] !== undefined
      ? callerAddress(request, isBehindBalancer)
      : visitor.from;

  function asks(request: IncomingMessage): Visitor | undefined {
    const visitor = visitors.get(request.socket);
    if (visitor !== undefined) crowd.asks(visitor, groupOf(request, visitor));
    return visitor;
  }

  return {
    watch(server) {
      /** Those whose TLS handshake is not over: what it makes of them is another object. */
      const raw = new Map<string, Visitor>();
      server.on('connection', (socket: Socket) => {
        const visitor = crowd.comes(socket, groupAt(socket));
        if (visitor.isGone) return;
        visitors.set(socket, visitor);
        const name = nameOf(socket);
        raw.set(name, visitor);
        socket.once('close', () => {
          if (raw.get(name) === visitor) raw.delete(name);
          crowd.leaves(visitor);
        });
      });
      server.on('secureConnection', (socket: Socket) => {
        const visitor = raw.get(nameOf(socket));
        if (visitor !== undefined) visitors.set(socket, visitor);
      });
      // Before whoever answers: what comes over a connection that has to go is not begun.
      server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
        const visitor = asks(request);
        if (visitor !== undefined) response.once('close', () => crowd.answered(visitor));
      });
    },
    asks: (request) => void asks(request),
    stands(socket, isKnown) {
      const visitor = visitors.get(socket);
      if (visitor !== undefined) crowd.stands(visitor, isKnown);
    },
  };
}

/** No two that are open have the same. */
const nameOf = ({ remoteAddress, remotePort, localAddress }: Socket): string =>
  `${remoteAddress} ${remotePort} ${localAddress}`;
