/**
 * How a replica goes, so that nobody notices:
 *
 *   told ──► is not ready ── notice ──► listens no more ──► answers finish, devices move ──► nothing is open
 *
 * Balancers look at /readyz every second or so; until they have noticed, what they send is served. Then the socket
 * takes no new connections, and each that is open ends with its next response. All of it takes at most `totalMs`; what
 * is still open then is ended by whoever stops the hub. Told a second time, a process just ends.
 */
import type { Server } from 'node:http';
import { messageOf, type Clock } from '@idlewild/protocol';
import type { Hub } from '../hub.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Register } from '../replicas/register.ts';

export interface DrainTimes {
  readonly totalMs: number;
  /** Of these, how long balancers have to notice. */
  readonly noticeMs: number;
}

/** Alone there is no balancer that could send people elsewhere, and nowhere for devices to go. */
export function drainTimes(given: Partial<DrainTimes> | undefined, isAlone: boolean): DrainTimes {
  const totalMs = given?.totalMs ?? (isAlone ? HUB_LIMITS.drainAloneMs : HUB_LIMITS.drainMs);
  const noticeMs = isAlone ? 0 : (given?.noticeMs ?? HUB_LIMITS.drainNoticeMs);
  return { totalMs, noticeMs: Math.min(noticeMs, totalMs) };
}

export interface LeaveDeps {
  /** Of all its territories. */
  readonly hubs: readonly (Pick<Hub, 'drain'> & { readonly local: Pick<Hub['local'], 'count'> })[];
  /** There are others for devices to go to. */
  readonly isAlone: boolean;
  readonly server: Server;
  readonly register: Pick<Register, 'draining'>;
  readonly clock: Clock;
  readonly log: Log;
}

export async function drainHub(deps: LeaveDeps, times: DrainTimes): Promise<void> {
  const { hubs, server, register, isAlone, clock, log } = deps;
  const count = (): number => hubs.reduce((sum, { local }) => sum + local.count(), 0);
  const endsAtMs = clock.monotonic() + times.totalMs;
  log.info({ ...times }, 'this replica is leaving: it takes nothing new, and what is open may finish');
  register.draining().catch((error: unknown) => log.warn({ why: messageOf(error) }, 'others could not be told'));
  await new Promise<void>((resolve) => clock.after(times.noticeMs, resolve));
  server.close();
  const boundMs = Math.max(0, endsAtMs - clock.monotonic());
  // Of the time that is left the second half is for devices that have work, which come last.
  const moveMs = Math.min(boundMs / 2, count() * HUB_LIMITS.moveEachMs);
  const movedAtMs = clock.monotonic() + moveMs + HUB_LIMITS.moveLateMs;
  await Promise.all(hubs.map((hub) => hub.drain({ moveMs, boundMs })));
  // Cut off all at once they would come back all at once.
  while (!isAlone && count() > 0 && clock.monotonic() < Math.min(movedAtMs, endsAtMs))
    await new Promise<void>((resolve) => clock.after(HUB_LIMITS.sweepMs, resolve));
}
