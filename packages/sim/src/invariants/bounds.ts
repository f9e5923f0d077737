/**
 * What keeps a hub small and whole: queues stay within their limits; at rest nothing is held for anybody, nothing is
 * left in the journal, every device that lives has found its way back, and replicas see each other's devices as they
 * are; usage is the sum of requests; and the hub complains of nothing that no fault explains.
 */
import { HUB_LIMITS } from '@idlewild/hub';
import type { CreateChecker } from './checker.ts';

/** Retries of a failed batch end this long after the disk has healed. */
const DISK_SETTLE_MS = 2_000;
/**
 * One that stood still has lost its connection to the database, and may say so; and where its own clock stood still,
 * too, it believes in its duties until it would renew them (`dutyRenewMs`, at most a fifth later).
 */
const WOKEN_SETTLE_MS = Math.max(2_000, 1.2 * HUB_LIMITS.dutyRenewMs + 400);

export const createBounds: CreateChecker = (blame, facts) => {
  let diskFails = false;
  let diskHealedAtMs = Number.NEGATIVE_INFINITY;
  const wokenAtMs = new Map<string, number>();
  /** Replicas that stand still. */
  const still = new Set<string>();
  // Each of several counts on the same free slots, and goes on with what waited at those that are gone.
  const queuedMax = (): number =>
    HUB_LIMITS.queuedAnswersMax * facts.replicas + (facts.replicas === 1 ? 0 : facts.slots());
  return {
    see(event) {
      switch (event.e) {
        case 'counted': {
          const { open, queued, interrupted } = event;
          const { openAnswersMax } = HUB_LIMITS;
          if (open > openAnswersMax) blame(`${open} answers are open, over ${openAnswersMax}`);
          // Those that lost their device wait in front of all others, and were admitted before.
          const fresh = queued - interrupted;
          if (fresh > queuedMax()) blame(`${fresh} answers wait for their first device, over ${queuedMax()}`);
          return;
        }
        case 'fault':
          if (event.kind === 'disk') diskFails = true;
          return;
        case 'healed':
          if (event.kind !== 'disk') return;
          diskFails = false;
          diskHealedAtMs = event.atMs;
          return;
        case 'hubError':
          if (diskFails || event.atMs <= diskHealedAtMs + DISK_SETTLE_MS) return;
          // What it had begun may still run to the end of its turn, with a connection that is gone.
          if (still.has(event.replica)) return;
          if (event.atMs <= (wokenAtMs.get(event.replica) ?? Number.NEGATIVE_INFINITY) + WOKEN_SETTLE_MS) return;
          return blame(`the hub complained: ${event.message} (${event.why})`);
        case 'hub':
          if (event.what === 'paused' || event.what === 'asleep') still.add(event.replica);
          else still.delete(event.replica);
          if (event.what === 'woken') wokenAtMs.set(event.replica, event.atMs);
          return;
        case 'ended':
          if (!event.because) blame(`${event.device} gave up for good (${event.code})`);
          return;
        default:
      }
    },
    inspect({ when, journalRows, runs, open, queued, leases, answering, missing, mirrors, usage }) {
      if (journalRows > 0) blame(`${journalRows} rows are left in the journal (${when})`);
      if (when !== 'rest') return;
      if (open + queued > 0) blame(`${open} answers are open and ${queued} queued at rest`);
      if (leases.length > 0) blame(`leases are held at rest: ${leases.join(', ')}`);
      if (answering > 0) blame(`${answering} answers run at rest`);
      if (runs > 0) blame(`${runs} runs are left at rest`);
      if (usage !== undefined) blame(usage);
      for (const wrong of [...missing, ...mirrors]) blame(wrong);
    },
  };
};
