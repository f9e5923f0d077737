/**
 * What a hub tells of itself to anybody who asks, at `/.well-known/idlewild` (RFC 8615): enough to know what it speaks
 * and whom one would have to trust, and nothing that needs a key: no counts, no names of models or devices.
 *
 * It is signed by nobody. Who relies on the key or the pin has them from an invite and compares.
 */
import { base64url } from 'multiformats/bases/base64';
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import type { IdPrefix } from '../ids.ts';

export const WELL_KNOWN_PATH = '/.well-known/idlewild';

const KEY = /^[A-Za-z0-9_-]{43}$/;
const idOf = (prefix: IdPrefix): z.ZodString => z.string().regex(new RegExp(`^${prefix}_[a-z2-7]{26}$`));
const path = z.string().startsWith('/').max(256);

/** Fields that are not known here are ignored; those that are, stay. */
export const wellKnownSchema = z.object({
  /** Of this document; what changes a meaning gets another number. */
  v: z.literal(1),
  hub: z.object({ id: idOf('hub'), version: z.string().max(64) }),
  /** Protocol versions that devices may speak with it. */
  protocols: z.array(z.int().min(1)).min(1).max(16),
  /** `key` is the territory's Ed25519 key in base64url; `id` is made from it. */
  territory: z.object({ id: idOf('ter'), name: z.string().max(LIMITS.nameCharactersMax), key: z.string().regex(KEY) }),
  /** Paths on this origin. */
  endpoints: z.object({ openai: path, api: path, openapi: path, device: path, blobs: path, health: path }),
  /** SHA-256 of the SubjectPublicKeyInfo of the hub's TLS key in base64url; null where it does not speak TLS itself. */
  tls: z.object({ spki: z.string().regex(KEY) }).nullable(),
});

export type WellKnown = z.infer<typeof wellKnownSchema>;

/** 32 bytes as they stand in the document. */
export const wellKnownKey = (bytes: Uint8Array): string => base64url.baseEncode(bytes);
