/** Holds kept answers against their receipts, under the key of a community that somebody named. Offline. */
import {
  IdlewildError,
  codeOf,
  equalBytes,
  idOfKey,
  messageOf,
  openAnswerReceipt,
  openKeptSealed,
  readKeptSealed,
  territoryOfReceipt,
  territoryOfSealed,
  type OpenedAnswerReceipt,
  type OpenedSealedReceipt,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { toldAnswers } from './told-answers.ts';

/** `sealed`: of an answer that its hub could not read. */
export type VerifiedAnswer = { readonly choice: number; readonly isOfText: boolean } & (
  | { readonly kind: 'open'; readonly opened: OpenedAnswerReceipt }
  | { readonly kind: 'sealed'; readonly opened: OpenedSealedReceipt }
);

/**
 * `territory`: its id, or its key in base64url. Throws `usage` where none is named, telling whom the receipt names;
 * `signature_invalid` for a receipt that does not count, or counts for another text.
 */
export async function verifyKept(kept: string, territory: string | undefined): Promise<readonly VerifiedAnswer[]> {
  const verified: VerifiedAnswer[] = [];
  for (const { choice, receipt, answer } of toldAnswers(kept)) {
    const carried = Buffer.from(receipt, 'base64url');
    const key = await trustedKey(carried, territory);
    const told = { choice, isOfText: answer !== undefined };
    const sealed = readKeptSealed(carried);
    if (sealed === undefined) {
      const opened = await openAnswerReceipt(carried, { territory: key, answer }, nodeCrypto);
      verified.push({ ...told, kind: 'open', opened });
    } else {
      const opened = await openKeptSealed(sealed, { territory: key, answer }, nodeCrypto);
      verified.push({ ...told, kind: 'sealed', opened });
    }
  }
  return verified;
}

/** The key of the receipt's territory, if that is the one that was named. */
async function trustedKey(carried: Uint8Array, named: string | undefined): Promise<Uint8Array> {
  const key = await territoryOf(carried);
  const id = await idOfKey('ter', key, nodeCrypto);
  if (named === undefined) {
    throw new IdlewildError(
      'usage',
      `this receipt says that it is of the community ${id}, which proves nothing yet. ` +
        `If that is whose word counts for you, say so: --territory ${id}`,
    );
  }
  if (named === id || equalBytes(Buffer.from(named, 'base64url'), key)) return key;
  throw new IdlewildError('signature_invalid', `this receipt is of the community ${id}, not of ${named}`);
}

async function territoryOf(carried: Uint8Array): Promise<Uint8Array> {
  try {
    const sealed = readKeptSealed(carried);
    return await (sealed === undefined
      ? territoryOfReceipt(carried, nodeCrypto)
      : territoryOfSealed(sealed, nodeCrypto));
  } catch (error) {
    if (codeOf(error) === 'signature_invalid') throw error;
    throw new IdlewildError('signature_invalid', `this is no receipt, or a damaged one: ${messageOf(error)}`);
  }
}
