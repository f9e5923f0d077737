/**
 * What a sign-in has to remember between two requests of one browser: a passkey's challenge, a provider's state.
 *
 * It lies sealed in a short-lived cookie of that browser, so a step that was begun elsewhere cannot be finished here,
 * and beginning one costs the hub nothing to keep. A step that is finished is written down until it would have expired,
 * in the transaction of what it leads to: it is taken once, on whichever replica. It knows no HTTP.
 */
import {
  IdlewildError,
  codeOf,
  concat,
  fromUtf8,
  hex,
  utf8,
  type Clock,
  type Crypto,
  type Random,
} from '@idlewild/protocol';
import type { DatabaseTransaction } from '../db/schema.ts';
import { SIGN_IN_LIMITS } from './limits.ts';

/** What is begun: signing in with a passkey, adding one, going to a provider, joining by one. */
export type StepKind = 'passkey' | 'add-passkey' | 'provider' | 'join';

export interface Step<Data> {
  readonly id: string;
  readonly expiresAtMs: number;
  readonly data: Data;
}

export interface Steps {
  /** The text of a cookie. */
  begin(kind: StepKind, data: object): Promise<string>;
  /** Throws `invalid_request` for what was not begun in this browser, or too long ago. */
  open<Data>(kind: StepKind, text: string | undefined): Promise<Step<Data>>;
  /** Throws `conflict` when it was taken before. */
  take(transaction: DatabaseTransaction, step: Pick<Step<unknown>, 'id' | 'expiresAtMs'>): Promise<void>;
}

export interface StepsDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  /** 32 bytes, the same for all replicas. */
  readonly key: Uint8Array;
}

const NONCE_BYTES = 12;
const ID_BYTES = 16;
/** A cookie of a browser has 4,096 in all. */
const TEXT_MAX = 3_800;

export function createSteps({ crypto, random, clock, key }: StepsDeps, territory: string): Steps {
  const boundTo = (kind: StepKind): Uint8Array => utf8(`idlewild/v1/sign-in step\n${territory}\n${kind}`);
  const again = (seen: string): IdlewildError =>
    new IdlewildError('invalid_request', `${seen}; begin again on the sign-in page`);

  return {
    async begin(kind, data) {
      const nonce = random.bytes(NONCE_BYTES);
      const step: Step<object> = {
        id: hex(random.bytes(ID_BYTES)),
        expiresAtMs: clock.now() + SIGN_IN_LIMITS.stepMs,
        data,
      };
      const sealed = await crypto.seal(key, nonce, utf8(JSON.stringify(step)), boundTo(kind));
      return Buffer.from(concat([nonce, sealed])).toString('base64url');
    },
    async open<Data>(kind: StepKind, text: string | undefined) {
      if (text === undefined) throw again('this browser has not begun to sign in, or refuses cookies');
      const bytes = new Uint8Array(Buffer.from(text.slice(0, TEXT_MAX), 'base64url'));
      if (bytes.length <= NONCE_BYTES) throw again('this is not a step of a sign-in');
      let plain: Uint8Array;
      try {
        plain = await crypto.open(key, bytes.subarray(0, NONCE_BYTES), bytes.subarray(NONCE_BYTES), boundTo(kind));
      } catch (error) {
        if (codeOf(error) !== 'signature_invalid') throw error;
        throw again('this is not a step of a sign-in here');
      }
      const step = JSON.parse(fromUtf8(plain)) as Step<Data>;
      if (clock.now() >= step.expiresAtMs) throw again('this took too long');
      return step;
    },
    async take(transaction, { id, expiresAtMs }) {
      await transaction
        .deleteFrom('sign_in_steps')
        .where('territory_id', '=', territory)
        .where('expires_at_ms', '<', clock.now())
        .execute();
      const taken = await transaction
        .insertInto('sign_in_steps')
        .values({ territory_id: territory, id, expires_at_ms: expiresAtMs })
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .execute();
      if (taken.length === 0)
        throw new IdlewildError('conflict', 'this step of a sign-in was taken already; begin again');
    },
  };
}
