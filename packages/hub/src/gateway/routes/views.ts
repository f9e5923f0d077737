/** How routes under /api name things and tell times. */
import { VOUCH_CHAIN } from '@idlewild/protocol';
import { z } from 'zod';

export const idParams = z.object({ id: z.string().max(64) });
export const nameParams = z.object({ name: z.string().max(64) });
/** A name as people read it in lists and logs: nothing in it hides, turns around or breaks a line. */
export const nameField = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax)
    .refine((text) => !/[\p{C}\p{Zl}\p{Zp}]/u.test(text), 'has characters that cannot be seen, or breaks its line');
export const iso = (ms: number): string => new Date(ms).toISOString();
export const isoOrNull = (ms: number | null | undefined): string | null =>
  ms === null || ms === undefined ? null : iso(ms);
/** Rows of a list without pages. */
export const LISTED_MAX = 200;

/** A signed statement of a chain, in base64url. */
export const statementField = z
  .string()
  .regex(/^[A-Za-z0-9_-]+$/, 'must be base64url')
  .max(Math.ceil((VOUCH_CHAIN.statementBytesMax * 4) / 3));
export const bytesOf = (base64url: string): Uint8Array => new Uint8Array(Buffer.from(base64url, 'base64url'));
