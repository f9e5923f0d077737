/**
 * Offers as any replica can read them: what was offered, to whom and until when, sealed under a key that all replicas
 * share, so that nothing is kept of them and nobody makes or changes one.
 */
import {
  DATA_CLASSES,
  causeSchema,
  concat,
  decodeCbor,
  encodeCbor,
  utf8,
  type Crypto,
  type Random,
} from '@idlewild/protocol';
import { z } from 'zod';
import { HUB_LIMITS } from '../limits.ts';

const grantSchema = z.object({
  lease: z.string(),
  epoch: z.int(),
  territory: z.string(),
  /** Whose key asked. */
  caller: z.string(),
  device: z.string(),
  model: z.object({ cid: z.string(), name: z.string() }),
  dataClass: z.enum(DATA_CLASSES),
  cause: causeSchema.optional(),
  /** Who asks, where that is somebody known. */
  person: z.string().optional(),
  expiresAtMs: z.number(),
  /** Digest of what it will be held to. */
  use: z.string().optional(),
});
/** What one caller may have of one device, once. */
export type Grant = z.infer<typeof grantSchema>;

export interface OfferTokens {
  write(grant: Grant): Promise<string>;
  /** `undefined` for what no replica wrote. Whether its time is over is not looked at. */
  read(token: string): Promise<Grant | undefined>;
}

const LABEL = utf8('idlewild/v1/sealed-offer');
const NONCE_BYTES = 12;

/** `key` has 32 bytes and is for this alone. */
export function createOfferTokens(deps: {
  readonly key: Uint8Array;
  readonly crypto: Crypto;
  readonly random: Random;
}): OfferTokens {
  const { key, crypto, random } = deps;
  return {
    async write(grant) {
      const nonce = random.bytes(NONCE_BYTES);
      const sealed = await crypto.seal(key, nonce, encodeCbor(grant), LABEL);
      return Buffer.from(concat([nonce, sealed])).toString('base64url');
    },
    async read(token) {
      if (token.length > HUB_LIMITS.offerCharactersMax) return undefined;
      const bytes = new Uint8Array(Buffer.from(token, 'base64url'));
      try {
        const plain = await crypto.open(key, bytes.subarray(0, NONCE_BYTES), bytes.subarray(NONCE_BYTES), LABEL);
        return grantSchema.parse(decodeCbor(plain, 'an offer'));
      } catch {
        // A stranger's text, or an offer of another time: nothing to be told of.
        return undefined;
      }
    },
  };
}
