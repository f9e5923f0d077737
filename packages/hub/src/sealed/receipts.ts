/**
 * The hub's part of the receipt of an answer that it could not read: what it saw, and a commitment of the device's to
 * a text that it does not know. A hub that cannot sign one logs it, and the answer goes out without.
 */
import { messageOf, signSealedReceipt, type SealedReceipt } from '@idlewild/protocol';
import type { AnswerReceiptsDeps } from '../answers/receipts.ts';

type SealedReceiptOrder = Omit<
  SealedReceipt,
  'v' | 'sourceType' | 'verification' | 'territory' | 'certificate' | 'atMs'
>;

export interface SealedReceipts {
  /** A Signed `sealed-receipt`; `undefined` where none could be made. */
  issue(order: SealedReceiptOrder): Promise<Uint8Array | undefined>;
}

export function createSealedReceipts(deps: AnswerReceiptsDeps): SealedReceipts {
  const { territory, hub, certificate, crypto, clock, log } = deps;
  return {
    async issue(order) {
      try {
        return await signSealedReceipt(
          { territory, certificate: await certificate(), atMs: Math.floor(clock.now()), ...order },
          hub,
          crypto,
        );
      } catch (error) {
        log.error({ request: order.request, why: messageOf(error) }, 'the receipt of an answer could not be signed');
        return undefined;
      }
    },
  };
}
