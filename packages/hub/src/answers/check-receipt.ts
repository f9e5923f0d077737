/** A receipt of a device held against what the hub saw of the attempt: a device may say anything. */
import { IdlewildError, digestTokens, equalBytes, openStatement, receiptSchema, type Crypto } from '@idlewild/protocol';
import type { Log } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { ReceiptFacts } from './port.ts';

/** What a receipt tells that the hub did not see; `undefined` for one that does not say what it saw. */
export type CheckReceipt = (
  device: ConnectedDevice,
  receipt: Uint8Array,
  seen: ReceiptFacts,
) => Promise<{ readonly energyWh: number | undefined } | undefined>;

/** Whether a device's receipt says what the hub saw of the attempt, and what else it says. */
export async function checkReceipt(
  device: ConnectedDevice,
  bytes: Uint8Array,
  seen: ReceiptFacts,
  crypto: Crypto,
  log: Log,
): ReturnType<CheckReceipt> {
  try {
    const { statement } = await openStatement('receipt', bytes, receiptSchema, crypto, device.publicKey);
    const agrees =
      equalBytes(statement.device, device.publicKey) &&
      statement.lease === seen.lease &&
      statement.epoch === seen.epoch &&
      statement.model === seen.model &&
      statement.firstToken === seen.firstToken &&
      statement.tokens === seen.tokens.length &&
      equalBytes(statement.tokensDigest, await digestTokens(seen.tokens, crypto));
    if (!agrees) throw new IdlewildError('signature_invalid', 'it does not say what was seen');
    return { energyWh: statement.energy?.wattHours };
  } catch (error) {
    log.warn({ device: device.id, lease: seen.lease, why: (error as Error).message }, 'a receipt was refused');
    return undefined;
  }
}
