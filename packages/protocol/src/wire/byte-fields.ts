/** Bytes as fields of what is parsed: CBOR carries them as they are. */
import { z } from 'zod';

export const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'must be bytes');
export const bytes32 = bytes.refine((value) => value.length === 32, 'must be 32 bytes');
