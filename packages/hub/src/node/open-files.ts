/** How many files this process may open at once, sockets included, and how many connections fit into them. */
import { readFileSync } from 'node:fs';
import type { CrowdBounds } from '../gateway/door/crowd.ts';
import { HUB_LIMITS } from '../limits.ts';

/** `undefined` where nothing says so. */
export function openFilesMax(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    // Not Linux. The report takes a few milliseconds, once.
    return softLimitIn(process.report.getReport());
  }
}

function softLimitIn(report: object): number | undefined {
  const { userLimits } = report as { userLimits?: { open_files?: { soft?: unknown } } };
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : undefined;
}

export interface StrangersMax {
  readonly perAddress?: number | undefined;
  readonly inAll?: number | undefined;
}

/** What fits into so many files: the hub's own come first, and strangers have half of the rest at most. */
export function crowdBounds(asked: StrangersMax, files = Number.POSITIVE_INFINITY): CrowdBounds {
  const kept = Math.min(HUB_LIMITS.filesKeptMax, Math.floor(files * HUB_LIMITS.filesKeptPart));
  const all = files - kept;
  const strangers = Math.min(asked.inAll ?? HUB_LIMITS.strangersMax, Math.floor(all / 2));
  return { all, strangers, perAddress: Math.min(asked.perAddress ?? HUB_LIMITS.strangersPerAddressMax, strangers) };
}
