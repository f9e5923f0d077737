/**
 * The receipt that goes out with an answer: what the hub saw of it, signed, around what its last device signed. A hub
 * that cannot sign one logs it and answers without: a receipt is a proof, and no condition.
 */
import {
  messageOf,
  signAnswerReceipt,
  type AnswerText,
  type Clock,
  type Crypto,
  type DataClass,
  type KeyPair,
  digestParts,
} from '@idlewild/protocol';
import type { Certificate } from '../identity/territory.ts';
import type { Log } from '../log.ts';
import type { AnswerOutcome } from './port.ts';

export interface ReceiptOrder {
  /** Id of the request as its caller sees it. */
  readonly request: string;
  readonly choice: number;
  readonly model: { readonly cid: string; readonly name: string };
  readonly dataClass: DataClass;
  /** When it was asked for; absent: now. */
  readonly atMs?: number | undefined;
  readonly outcome: AnswerOutcome;
  /** SHA-256 of all its text. */
  readonly textDigest: Uint8Array;
  readonly calls: AnswerText['calls'];
}

export interface AnswerReceipts {
  /** In base64url; `undefined` where none could be made. */
  issue(order: ReceiptOrder): Promise<string | undefined>;
}

export interface AnswerReceiptsDeps {
  readonly territory: Uint8Array;
  readonly hub: KeyPair;
  readonly certificate: Certificate;
  readonly crypto: Crypto;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Log;
}

export function createAnswerReceipts(deps: AnswerReceiptsDeps): AnswerReceipts {
  const { territory, hub, certificate, crypto, clock, log } = deps;
  async function sign(order: ReceiptOrder): Promise<string> {
    const { request, choice, model, dataClass, atMs = clock.now(), outcome, textDigest, calls } = order;
    const signed = await signAnswerReceipt(
      {
        territory,
        certificate: await certificate(),
        atMs: Math.floor(atMs),
        request,
        choice,
        model: model.cid,
        modelName: model.name,
        dataClass,
        seed: outcome.seed,
        promptTokens: outcome.promptTokens,
        answerTokens: outcome.answerTokens,
        finish: outcome.finish,
        devices: outcome.devices.map(({ id }) => id),
        failovers: outcome.failovers,
        numericClass: outcome.numericClass,
        exact: outcome.exact,
        digest: await digestParts(textDigest, calls, crypto),
        ...(outcome.receipt === undefined ? {} : { device: outcome.receipt }),
      },
      hub,
      crypto,
    );
    return Buffer.from(signed).toString('base64url');
  }
  return {
    async issue(order) {
      try {
        return await sign(order);
      } catch (error) {
        log.error({ request: order.request, why: messageOf(error) }, 'the receipt of an answer could not be signed');
        return undefined;
      }
    },
  };
}
