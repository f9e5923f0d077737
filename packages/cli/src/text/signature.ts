/** What people read of a steward's signature of the rules of use, early enough to do something. */
import type { RulesSignature } from '@idlewild/client';
import { whenText } from './units.ts';

/** A month: a steward who looks in once a month is told before it ends. */
const SOON_MS = 30 * 86_400_000;

const THEN = 'end-to-end encrypted prompts that they hold for are refused; as a steward: idlewild use sign';

/** `isFine`: nothing has to be done now. */
export function signatureText(
  { signature, signedUntil }: RulesSignature,
  nowMs: number,
): { readonly text: string; readonly isFine: boolean } {
  if (signature === 'none') return { isFine: false, text: `nobody signed these rules: ${THEN}` };
  if (signature === 'removed') return { isFine: false, text: `the key that signed these rules was removed: ${THEN}` };
  if (signedUntil === null) return { isFine: true, text: 'signed by a steward, without an end' };
  const when = whenText(signedUntil, nowMs);
  if (signature === 'ended') return { isFine: false, text: `the signature of these rules ended ${when}: ${THEN}` };
  if (Date.parse(signedUntil) - nowMs > SOON_MS)
    return { isFine: true, text: `signed by a steward; that ends ${when}` };
  return { isFine: false, text: `the signature of these rules ends ${when}; from then on ${THEN}` };
}
