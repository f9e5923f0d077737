/**
 * Changes what a lender agreed to, in a folder that the caller holds: a new consent, signed, and what is the lender's
 * own beside it. What goes beyond what was agreed needs a yes, whoever asks for it and however.
 */
import { isDeepStrictEqual } from 'node:util';
import { IdlewildError } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { openConsent } from '../core/consent.ts';
import { changed, checkChange, isChange, widenings } from '../core/lending/terms/consent-change.ts';
import type { LimitsOrder } from '../core/lending/control/control.ts';
import type { DataFolder } from './data-folder.ts';
import { readLending, writeLending } from './lending-file.ts';

/**
 * Whether anything is otherwise now. Throws `consent_refused` for what was not agreed to, `invalid_request` for what
 * cannot be, `conflict` without a consent.
 */
export async function changeLimits(
  folder: DataFolder,
  { change, settings, agreed = false }: LimitsOrder,
): Promise<boolean> {
  checkChange(change);
  const signed = await folder.consent();
  if (signed === undefined) throw new IdlewildError('conflict', 'the lender of this device has agreed to nothing yet');
  const before = await openConsent(signed, folder.identity.publicKey, nodeCrypto);
  const choice = changed(before, change);
  const wider = widenings(before, choice);
  if (wider.length > 0 && !agreed) {
    throw new IdlewildError(
      'consent_refused',
      `that would lend more than was agreed (${wider.join('; ')}), which needs the lender's yes`,
    );
  }
  const isOther = settings !== undefined && !isDeepStrictEqual(settings, await readLending(folder.folder));
  if (isOther) await writeLending(folder.folder, settings);
  if (!isChange(before, change)) return isOther;
  await folder.giveConsent(choice);
  return true;
}
