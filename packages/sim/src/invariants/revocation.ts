/**
 * Invariant 6: nothing crosses a territory, and a revoked key or device gets nothing more after one second; nor does
 * a key of somebody who is suspended, nor anybody of a model that a steward stopped, until that is taken back.
 *
 * A revoked device may still dial: it is told who the hub is, and that it is refused. A replica that stood still has
 * its second from when it goes on.
 */
import type { ErrorCode } from '@idlewild/protocol';
import type { CreateChecker } from './checker.ts';
import { HOLDS_MS, createPasts } from './pasts.ts';

const REVOKED_MS = 1_000;
const REFUSED: ReadonlySet<ErrorCode> = new Set(['unauthenticated', 'forbidden', 'model_stopped']);
/** What somebody is told before it has proved who it is, and the refusal. */
const BEFORE_PROOF = new Set(['challenge', 'refused', 'dropped']);

export const createRevocation: CreateChecker = (blame, facts) => {
  const revokedAtMs = new Map<string, number>();
  const keys = new Map<number, string>();
  const blamed = new Set<string>();
  /** Once for each device or request: what goes on after it is the same fault. */
  const blameOnce = (subject: string, what: string): void => {
    if (!blamed.has(subject)) blame(what);
    blamed.add(subject);
  };
  const wokenAtMs = new Map<string, number>();
  const isPast = (id: string | undefined, atMs: number, replica?: string): boolean => {
    if (id === undefined) return false;
    const woken = replica === undefined ? lastWokenAtMs : (wokenAtMs.get(replica) ?? 0);
    return atMs > Math.max(woken, revokedAtMs.get(id) ?? Number.POSITIVE_INFINITY) + REVOKED_MS;
  };
  let lastWokenAtMs = 0;
  /** People who are suspended, and models that are stopped. */
  const stopped = createPasts<boolean>(() => false);
  const models = new Map<number, string>();
  const isStopped = (subject: string | undefined, atMs: number): boolean =>
    subject !== undefined && !stopped.holding(subject, atMs, HOLDS_MS).includes(false);
  function checkStopped(request: number, atMs: number, what: string): void {
    const person = facts.keyOf(keys.get(request) ?? '')?.person;
    if (isStopped(person, atMs)) blameOnce(String(request), `${what} of request ${request} is for a suspended member`);
    if (isStopped(models.get(request), atMs))
      blameOnce(String(request), `${what} of request ${request} is of a model that was stopped`);
  }

  return {
    see(event) {
      switch (event.e) {
        case 'act':
          if (!event.action.startsWith('revoke')) return;
          return void revokedAtMs.set(event.subject, event.atMs);
        case 'hub':
          if (event.what !== 'woken') return;
          lastWokenAtMs = event.atMs;
          stopped.woken(event.atMs);
          return void wokenAtMs.set(event.replica, event.atMs);
        case 'changing':
        case 'changed':
          if (event.what !== 'suspended' && event.what !== 'stopped') return;
          if (event.e === 'changing') return stopped.changing(event.subject, event.isOn);
          return stopped.changed(event.subject, event.isOn, event.atMs);
        case 'asked':
          models.set(event.request, event.model);
          return void keys.set(event.request, event.key);
        case 'offered':
          return void keys.set(event.request, event.key);
        case 'unsealed':
          return checkStopped(event.request, event.atMs, 'a sealed token');
        case 'told':
          if (isPast(event.device, event.atMs, event.replica) && !BEFORE_PROOF.has(event.kind)) {
            blameOnce(event.device, `the revoked device ${event.device} was sent "${event.kind}"`);
          }
          return;
        case 'accepted':
        case 'started':
        case 'token':
        case 'finished':
        case 'failed':
          // Who comes back to an answer is refused like everybody.
          if (event.e === 'failed' && REFUSED.has(event.code)) return;
          if (event.e !== 'failed') checkStopped(event.request, event.atMs, event.e);
          if (!isPast(keys.get(event.request), event.atMs)) return;
          return blameOnce(String(event.request), `a revoked key got "${event.e}" of request ${event.request}`);
        default:
      }
    },
    inspect({ intruders }) {
      for (const id of intruders) {
        const is = facts.deviceOf(id) === undefined ? 'unknown' : 'revoked or of another territory';
        blame(`${id} is connected, and is ${is}`);
      }
    },
  };
};
