/** From where a request comes, for counting tries: the connection's other end, or what a balancer in front says. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { addressGroup } from './address-group.ts';

/**
 * A balancer puts the address that it sees behind whatever a client claimed, so the last one counts; where there is no
 * balancer the header is anybody's word.
 */
export function callerAddress(request: IncomingMessage, isBehindBalancer: boolean): string {
  const forwarded = isBehindBalancer ? request.headers['x-forwarded-for'] : undefined;
  const last = [forwarded].flat().join(',').split(',').at(-1)?.trim() ?? '';
  return addressGroup(isIP(last) === 0 ? (request.socket.remoteAddress ?? 'unknown') : last);
}
