/**
 * What a device fetches in a day, which is bounded: a hub that takes its wish for a model back and wishes again, for
 * ever, would wear out the lender's disk and line without breaking any other limit.
 *
 * Days begin at the first byte and follow each other, by the monotonic clock. What is counted are blocks as they came,
 * right or wrong; what was cut off in the middle of a block is not. A new start of the device begins at nothing.
 */
import { IdlewildError, type BlobSource, type Clock } from '@idlewild/protocol';
import { AGENT_LIMITS } from '../limits.ts';

export interface Downloads {
  /** The same source, and what it gives is counted. */
  counted(source: BlobSource): BlobSource;
  /** Why so many bytes more may not come this day, and when the next begins; `undefined` where they may. */
  refusal(bytes: number, lentBytes: number): { readonly error: IdlewildError; readonly afterMs: number } | undefined;
}

const { downloadDayMs, downloadDisksPerDay } = AGENT_LIMITS;
const HOUR_MS = 3_600_000;

export function createDownloads(clock: Clock): Downloads {
  let begunMs = Number.NEGATIVE_INFINITY;
  let bytes = 0;
  const leftMs = (): number => begunMs + downloadDayMs - clock.monotonic();
  return {
    counted: ({ name, fetch }) => ({
      name,
      async fetch(cid, signal) {
        const block = await fetch(cid, signal);
        if (leftMs() <= 0) {
          begunMs = clock.monotonic();
          bytes = 0;
        }
        bytes += block?.length ?? 0;
        return block;
      },
    }),
    refusal(more, lentBytes) {
      const afterMs = leftMs();
      const most = downloadDisksPerDay * lentBytes;
      if (afterMs <= 0 || bytes + more <= most) return undefined;
      const seen = `${bytes} bytes were fetched in a day, and ${more} more are over the ${most} that may be`;
      const why = `${seen} (${downloadDisksPerDay} times the disk that is lent)`;
      const error = new IdlewildError(
        'quota_exceeded',
        `${why}; it goes on in ${Math.ceil(afterMs / HOUR_MS)} hours, or when the device is started again`,
      );
      return { error, afterMs };
    },
  };
}
