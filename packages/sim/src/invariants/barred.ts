/**
 * Who is barred by what stewards did, and so is refused when she comes back to an answer, also to one that is made by
 * then: somebody who is suspended, a key that was unbound from all of its pools, anybody who asks a stopped model.
 *
 * It says what may hold at a moment, for a while after it was taken back, too; it knows no answers.
 */
import type { ErrorCode } from '@idlewild/protocol';
import type { Timed } from '../events.ts';
import type { Facts } from './checker.ts';
import { createPasts, HOLDS_MS } from './pasts.ts';

export interface Asker {
  /** Id of the key. */
  readonly key: string;
  /** By name. */
  readonly model: string;
}

export interface Barred {
  see(event: Timed): void;
  /** Whether `code` may be what the asker is told at this moment, and nothing but that. */
  mayBeTold(code: ErrorCode, asker: Asker, atMs: number): boolean;
}

export function createBarred({ keyOf }: Pick<Facts, 'keyOf'>): Barred {
  const suspended = createPasts<boolean>(() => false);
  const stopped = createPasts<boolean>(() => false);
  const bound = createPasts<boolean>(() => false);
  const ofKind = { suspended, stopped, bound } as const;
  /** What each key was ever bound to, as it is named in events. */
  const pools = new Map<string, Set<string>>();

  function changed(event: Extract<Timed, { e: 'changing' | 'changed' }>): void {
    const { e, what, subject, isOn, atMs } = event;
    if (what !== 'suspended' && what !== 'stopped' && what !== 'bound') return;
    if (what === 'bound') {
      const [key = ''] = subject.split(' ');
      pools.set(key, (pools.get(key) ?? new Set()).add(subject));
    }
    if (e === 'changing') ofKind[what].changing(subject, isOn);
    else ofKind[what].changed(subject, isOn, atMs);
  }
  function isUnbound(key: string, atMs: number): boolean {
    const own = [...(pools.get(key) ?? [])];
    return own.length > 0 && own.every((subject) => bound.holding(subject, atMs, HOLDS_MS).includes(false));
  }

  return {
    see(event) {
      if (event.e === 'changing' || event.e === 'changed') changed(event);
      if (event.e === 'hub' && event.what === 'woken') for (const past of Object.values(ofKind)) past.woken(event.atMs);
    },
    mayBeTold(code, { key, model }, atMs) {
      if (code === 'model_stopped') return stopped.holding(model, atMs, HOLDS_MS).includes(true);
      if (code !== 'forbidden') return false;
      const person = keyOf(key)?.person;
      const isSuspended = person !== undefined && suspended.holding(person, atMs, HOLDS_MS).includes(true);
      return isSuspended || isUnbound(key, atMs);
    },
  };
}
