/**
 * What a hub signs for a device that left: that it is no device of the territory any more, since when, what it gave.
 *
 * Who has the territory's key needs nothing else to verify it (`hub-word.ts`). It names no person and no prompt.
 */
import { z } from 'zod';
import { equalBytes } from '../bytes.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { notCounting } from './certified.ts';
import { openHubWord } from './hub-word.ts';
import { signStatement } from './signed.ts';
import { bytes, bytes32 } from '../wire/byte-fields.ts';

const leftStatementSchema = z.object({
  v: z.literal(1),
  territory: bytes32,
  device: bytes32,
  /** The hub's own, by which its signature counts: a Signed `hub-certificate`. */
  certificate: bytes,
  /** Of the hub's wall clock. */
  atMs: z.int().min(0),
  /** Answers that the device finished for this territory, and the tokens that it made for them. */
  answers: z.int().min(0),
  tokens: z.int().min(0),
});
export type LeftStatement = z.infer<typeof leftStatementSchema>;

export const signLeft = (left: Omit<LeftStatement, 'v'>, hub: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  signStatement('left', { v: 1, ...left }, hub, crypto);

/**
 * Opens what a hub of `territory` signed for `device`. Throws `signature_invalid` or `frame_invalid` for what was
 * signed by anybody else, for another device, or under a certificate that was not good then.
 */
export async function openLeft(
  carried: Uint8Array,
  { territory, device }: { readonly territory: Uint8Array; readonly device: Uint8Array },
  crypto: Crypto,
): Promise<LeftStatement> {
  const what = 'the statement that the device has left';
  const word = { purpose: 'left', schema: leftStatementSchema, what } as const;
  const { statement } = await openHubWord(word, carried, territory, crypto);
  if (!equalBytes(statement.device, device)) throw notCounting(what, 'it is of another device');
  return statement;
}
