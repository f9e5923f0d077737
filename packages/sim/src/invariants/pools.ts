/**
 * Invariant 5, of pools: who may be answered on pools alone is answered by their devices alone, also after failover, by
 * another replica, and where the prompt is sealed; and what leaves a pool, or loses its right there, answers nothing
 * more a second later, in mid-stream, too.
 */
import { POOLS } from '../members/members.ts';
import type { CreateChecker } from './checker.ts';
import { HOLDS_MS, ON_ITS_WAY_MS, createPasts } from './pasts.ts';

export const createPools: CreateChecker = (blame, facts) => {
  const inPool = createPasts<boolean>(() => false);
  const bound = createPasts<boolean>(() => false);
  const keys = new Map<number, string>();
  const offered = new Map<number, string>();
  const blamed = new Set<string>();
  const ordersMs = HOLDS_MS + (facts.isAlone ? 0 : ON_ITS_WAY_MS);

  const isReached = (key: string, device: string, atMs: number, graceMs: number): boolean =>
    POOLS.some(
      (pool) =>
        bound.holding(`${key} ${pool}`, atMs, graceMs).includes(true) &&
        inPool.holding(`${device} ${pool}`, atMs, graceMs).includes(true),
    );
  /** Once for each request: what goes on is the same fault. */
  function check(request: number, device: string | undefined, atMs: number, graceMs: number, what: string): void {
    const key = keys.get(request);
    if (key === undefined || device === undefined || facts.keyOf(key)?.isOfPools !== true) return;
    if (isReached(key, device, atMs, graceMs) || blamed.has(`${request}`)) return;
    blamed.add(`${request}`);
    blame(`request ${request} ${what} ${device}, which is in no pool of its key ${key}`);
  }

  return {
    see(event) {
      switch (event.e) {
        case 'hub':
          if (event.what !== 'woken') return;
          inPool.woken(event.atMs);
          return bound.woken(event.atMs);
        case 'changing':
        case 'changed': {
          const { what, subject, isOn } = event;
          if (what !== 'pool' && what !== 'bound') return;
          const pasts = what === 'pool' ? inPool : bound;
          return event.e === 'changing' ? pasts.changing(subject, isOn) : pasts.changed(subject, isOn, event.atMs);
        }
        case 'asked':
          return void keys.set(event.request, event.key);
        case 'ordered':
          return check(event.request, event.device, event.atMs, ordersMs, 'was sent to');
        case 'offered':
          keys.set(event.request, event.key);
          offered.set(event.request, event.device);
          return check(event.request, event.device, event.atMs, ordersMs, 'was sealed to');
        case 'token':
          return check(event.request, event.via?.device, event.atMs, HOLDS_MS, 'got a token of');
        case 'unsealed':
          return check(event.request, offered.get(event.request), event.atMs, ordersMs, 'got a sealed token of');
        default:
      }
    },
  };
};
