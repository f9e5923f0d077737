/** How routes under /api name things and tell times. */
import { z } from 'zod';

export const idParams = z.object({ id: z.string().max(64) });
export const nameParams = z.object({ name: z.string().max(64) });
export const iso = (ms: number): string => new Date(ms).toISOString();
export const isoOrNull = (ms: number | null | undefined): string | null =>
  ms === null || ms === undefined ? null : iso(ms);
/** Rows of a list without pages. */
export const LISTED_MAX = 200;
