/**
 * Prompts that were sealed to this device: opened here, answered by the lane as any other, and every event sealed back.
 *
 *   sealed order ──► guard ──► opened ──► the lane ──► events ──► sealed, in order ──► the hub
 *                      │          └─ does not open, or is no work: refused by a code
 *                      └─ refused before anything is opened
 *
 * What was sealed is known to this process and the engine's, and to nobody through either: the hub is told counts and,
 * where an attempt fails, a code with its general meaning. What there is to say beyond it is sealed to the caller.
 */
import {
  ERRORS,
  IdlewildError,
  asIdlewildError,
  isErrorCode,
  openWork,
  type AnswerEvent,
  type AnswerSealer,
  type Crypto,
  type ErrorCode,
  type Random,
  type ToDevice,
  type ToHub,
} from '@idlewild/protocol';
import { AGENT_LIMITS } from '../limits.ts';
import type { AnswerMessage } from './attempts.ts';

export type SealedMessage = Extract<ToDevice, { t: 'sealed' }>;

export interface SealedOrders {
  offer(message: SealedMessage): void;
  /** What is being opened does not begin any more. */
  cancel(lease: string, epoch: number): void;
  /** Nobody is left to tell. */
  dropAll(): void;
}

export interface SealedOrdersPorts {
  readonly crypto: Crypto;
  readonly random: Random;
  /** This device's identity. */
  readonly device: Uint8Array;
  /** The private key that belongs to an X25519 key of this device that has not ended. */
  privateKeyOf(publicKey: Uint8Array): Uint8Array | undefined;
  /** Why this may not run now. */
  refusal(message: SealedMessage): IdlewildError | undefined;
  /** The lane; `tell` takes the attempt's events instead of the hub. */
  offer(message: AnswerMessage, tell: (event: ToHub) => void): void;
  /** The attempt cannot be told any more. */
  drop(lease: string, epoch: number): void;
  send(message: ToHub): void;
}

export function createSealedOrders(ports: SealedOrdersPorts): SealedOrders {
  const opening = new Set<SealedMessage>();

  async function open(message: SealedMessage): Promise<void> {
    const { crypto, random, device } = ports;
    const { lease, epoch, model, dataClass, cause, key, enc, sealed, deadlineMs } = message;
    const privateKey = ports.privateKeyOf(key);
    if (privateKey === undefined)
      throw new IdlewildError(
        'sealed_unopened',
        'it was sealed to a key that this device does not have, or not any more',
      );
    const terms = { device, key, model, lease, epoch, dataClass, cause };
    const own = { publicKey: key, privateKey };
    const { work, answer } = await openWork({ enc, sealed, own, terms }, { crypto, random });
    // It was cancelled, or the channel lost, meanwhile.
    if (!opening.delete(message)) return;
    const purpose = { ...(dataClass === undefined ? {} : { dataClass }), ...(cause === undefined ? {} : { cause }) };
    ports.offer(
      { t: 'answer', lease, epoch, model, ...purpose, work, deadlineMs },
      createVoice(ports, message, answer),
    );
  }

  return {
    offer(message) {
      const { lease, epoch } = message;
      const refused = ports.refusal(message);
      if (refused !== undefined) return ports.send(failed(message, refused.code, refused.message));
      if (opening.size >= AGENT_LIMITS.sealedOpeningMax)
        return ports.send(failed(message, 'device_full', 'too many sealed prompts are being opened'));
      opening.add(message);
      open(message).catch((thrown: unknown) => {
        // Both of these say nothing of what was sealed.
        const error = asIdlewildError(thrown, 'opening a sealed prompt');
        const code = error.code === 'invalid_request' ? error.code : 'sealed_unopened';
        if (opening.delete(message)) ports.send(failed({ lease, epoch }, code, ERRORS[code].meaning));
      });
      return undefined;
    },
    cancel(lease, epoch) {
      for (const message of opening) if (message.lease === lease && message.epoch === epoch) opening.delete(message);
    },
    dropAll: () => opening.clear(),
  };
}

type Leased = Pick<SealedMessage, 'lease' | 'epoch'>;

const failed = (
  { lease, epoch }: Leased,
  code: ErrorCode,
  message: string,
): Extract<ToHub, { t: 'sealed.failed' }> => ({
  t: 'sealed.failed',
  lease,
  epoch,
  code,
  message: message.slice(0, AGENT_LIMITS.failureCharactersMax),
});

/** What the lane says of an attempt, sealed one after the other. */
function createVoice(ports: SealedOrdersPorts, { lease, epoch }: Leased, answer: AnswerSealer): (event: ToHub) => void {
  let promptTokens: number | undefined;
  let tokens = 0;
  let last: Promise<void> = Promise.resolve();
  const leased = { lease, epoch };

  function frameOf(event: Exclude<AnswerEvent, { t: 'answer.progress' }>, n: number, sealed: Uint8Array): ToHub {
    switch (event.t) {
      case 'answer.started': {
        promptTokens = event.promptTokens;
        const { cachedTokens } = event;
        const counts = { promptTokens, ...(cachedTokens === undefined ? {} : { cachedTokens }) };
        return { t: 'sealed.part', ...leased, n, ...counts, tokens, sealed };
      }
      case 'answer.token':
        return { t: 'sealed.part', ...leased, n, tokens: ++tokens, sealed };
      case 'answer.finished':
        return { t: 'sealed.done', ...leased, n, promptTokens: promptTokens ?? event.promptTokens, tokens, sealed };
      case 'answer.failed': {
        const code = isErrorCode(event.code) ? event.code : 'internal';
        return { ...failed(leased, code, ERRORS[code].meaning), n, sealed };
      }
    }
  }

  async function tell(event: Exclude<AnswerEvent, { t: 'answer.progress' }>): Promise<void> {
    const { lease: _lease, epoch: _epoch, ...inner } = event;
    const { n, sealed } = await answer.seal(inner);
    ports.send(frameOf(event, n, sealed));
  }

  return (event) => {
    if (event.t === 'answer.progress') return ports.send({ t: 'sealed.progress', ...leased });
    if (!isTold(event)) throw new Error(`an attempt at a sealed prompt says "${event.t}"`);
    last = last
      .then(() => tell(event))
      .catch(() => {
        ports.drop(lease, epoch);
        ports.send(failed(leased, 'internal', ERRORS.internal.meaning));
      });
    return undefined;
  };
}

const TOLD: ReadonlySet<string> = new Set(['answer.started', 'answer.token', 'answer.finished', 'answer.failed']);
const isTold = (event: ToHub): event is Exclude<AnswerEvent, { t: 'answer.progress' }> => TOLD.has(event.t);
