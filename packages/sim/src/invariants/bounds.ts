/**
 * What keeps a hub small and whole: queues stay within their limits; at rest nothing is held for anybody, nothing is
 * left in the journal, and every device that lives has found its way back; and the hub complains of nothing that no
 * fault explains.
 */
import { HUB_LIMITS } from '@idlewild/hub';
import type { CreateChecker } from './checker.ts';

/** Retries of a failed batch end this long after the disk has healed. */
const DISK_SETTLE_MS = 2_000;

export const createBounds: CreateChecker = (blame) => {
  let diskFails = false;
  let diskHealedAtMs = Number.NEGATIVE_INFINITY;
  return {
    see(event) {
      switch (event.e) {
        case 'counted': {
          const { open, queued, interrupted } = event;
          const { openAnswersMax, queuedAnswersMax } = HUB_LIMITS;
          if (open > openAnswersMax) blame(`${open} answers are open, over ${openAnswersMax}`);
          // Those that lost their device wait in front of all others, and were admitted before.
          const fresh = queued - interrupted;
          if (fresh > queuedAnswersMax) blame(`${fresh} answers wait for their first device, over ${queuedAnswersMax}`);
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
          return blame(`the hub complained: ${event.message} (${event.why})`);
        case 'ended':
          if (!event.because) blame(`${event.device} gave up for good (${event.code})`);
          return;
        default:
      }
    },
    inspect({ when, journalRows, open, queued, leases, answering, missing }) {
      if (journalRows > 0) blame(`${journalRows} rows are left in the journal (${when})`);
      if (when !== 'rest') return;
      if (open + queued > 0) blame(`${open} answers are open and ${queued} queued at rest`);
      if (leases.length > 0) blame(`leases are held at rest: ${leases.join(', ')}`);
      if (answering > 0) blame(`${answering} answers run at rest`);
      for (const device of missing) blame(device);
    },
  };
};
