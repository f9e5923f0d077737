/**
 * Prompts that were sealed to this device: opened here, answered by the lane as any other, and every event sealed back.
 *
 *   sealed order ──► guard ──► opened ──► rules of use ──► the lane ──► events ──► sealed, in order ──► the hub
 *                      │          │            └─ a rule speaks against it: refused by its name
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
import type { AnswerMessage, EmbedMessage, OrderMessage } from './attempts.ts';
import { heldToUse } from './held-to-use.ts';
import { createSealedText, type SealedText } from './sealed-text.ts';

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
  /** The lane; `tell` takes the attempt's events instead of the hub, and `text` what is told of an answer. */
  offer(message: OrderMessage, tell: (event: ToHub) => void, text?: SealedText): void;
  /** The attempt cannot be told any more. */
  drop(lease: string, epoch: number): void;
  send(message: ToHub): void;
}

export function createSealedOrders(ports: SealedOrdersPorts): SealedOrders {
  /** With the lease of the classifier that judges it, while one does. */
  const opening = new Map<SealedMessage, string | undefined>();

  let judged = 0;

  async function open(message: SealedMessage): Promise<void> {
    const { crypto, random, device } = ports;
    const { lease, epoch, model, dataClass, cause, key, enc, sealed, use, deadlineMs } = message;
    const privateKey = ports.privateKeyOf(key);
    if (privateKey === undefined)
      throw new IdlewildError(
        'sealed_unopened',
        'it was sealed to a key that this device does not have, or not any more',
      );
    const terms = { device, key, model, lease, epoch, dataClass, cause, use };
    const own = { publicKey: key, privateKey };
    const { work, answer } = await openWork({ enc, sealed, own, terms }, { crypto, random });
    const wanted =
      use === undefined ? work : await heldToUse(work, use, (cid, inputs) => classify(message, cid, inputs));
    // It was cancelled, or the channel lost, meanwhile.
    if (!opening.delete(message)) return;
    const text = createSealedText({ crypto, random });
    const apart = { ...wanted, ...apartFromOpen(wanted) };
    const order = { t: 'answer', lease, epoch, model, ...purposeOf(message), work: apart, deadlineMs } as const;
    ports.offer(order, createVoice(ports, message, answer, text), text);
  }

  /** Beside the answer's own lease, so that whoever is asked for it counts it and bounds it as any work. */
  async function classify(message: SealedMessage, model: string, inputs: readonly string[]): Promise<Float32Array[]> {
    if (!opening.has(message)) throw new IdlewildError('cancelled', 'no longer wanted');
    const lease = `${message.lease}.use${judged++}`;
    opening.set(message, lease);
    const work: EmbedMessage['work'] = { kind: 'classify', inputs: [...inputs] };
    const deadlineMs = Math.min(message.deadlineMs, AGENT_LIMITS.useJudgeMsMax);
    const { promise, resolve, reject } = Promise.withResolvers<Float32Array[]>();
    ports.offer(
      { t: 'embed', lease, epoch: message.epoch, model, ...purposeOf(message), work, deadlineMs },
      (event) => {
        if (event.t === 'embed.done') resolve(event.vectors.map((vector) => new Float32Array(vector.slice().buffer)));
        else if (event.t === 'embed.failed')
          reject(new IdlewildError(isErrorCode(event.code) ? event.code : 'engine_failed', event.message));
      },
    );
    return promise;
  }

  return {
    offer(message) {
      const { lease, epoch } = message;
      const refused = ports.refusal(message);
      if (refused !== undefined) return ports.send(failed(message, refused.code, refused.message));
      if (opening.size >= AGENT_LIMITS.sealedOpeningMax)
        return ports.send(failed(message, 'device_full', 'too many sealed prompts are being opened'));
      opening.set(message, undefined);
      open(message).catch((thrown: unknown) => {
        // None of these says more of what was sealed than its code, and the name of a rule that its caller knows.
        const { code: seen, details } = asIdlewildError(thrown, 'opening a sealed prompt');
        const code = seen === 'internal' ? 'sealed_unopened' : seen;
        const told = { ...failed({ lease, epoch }, code, ERRORS[code].meaning), ...ruleIn(details) };
        if (opening.delete(message)) ports.send(told);
      });
      return undefined;
    },
    cancel(lease, epoch) {
      for (const [message, judging] of opening) {
        if (message.lease !== lease || message.epoch !== epoch) continue;
        opening.delete(message);
        if (judging !== undefined) ports.drop(judging, epoch);
      }
    },
    dropAll: () => opening.clear(),
  };
}

const purposeOf = ({ dataClass, cause }: SealedMessage): Pick<AnswerMessage, 'dataClass' | 'cause'> => ({
  ...(dataClass === undefined ? {} : { dataClass }),
  ...(cause === undefined ? {} : { cause }),
});

/** As long as any may be. */
const SCOPE_CHARACTERS_MAX = 64;

/**
 * Its caller chose the scope, and hubs choose those of prompts in the open, which every device sees that answers one:
 * nobody finds by a sealed prompt what was read here for somebody in the open.
 */
const apartFromOpen = ({ scope }: Pick<AnswerMessage['work'], 'scope'>): { readonly scope?: string } =>
  scope === undefined ? {} : { scope: `sealed ${scope}`.slice(0, SCOPE_CHARACTERS_MAX) };

const ruleIn = ({ rule }: IdlewildError['details']): { readonly rule?: string } =>
  typeof rule === 'string' ? { rule } : {};

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
function createVoice(
  ports: SealedOrdersPorts,
  { lease, epoch }: Leased,
  answer: AnswerSealer,
  text: Pick<SealedText, 'told'>,
): (event: ToHub) => void {
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
      case 'answer.finished': {
        const counts = { promptTokens: promptTokens ?? event.promptTokens, tokens };
        return { t: 'sealed.done', ...leased, n, ...counts, sealed, ...text.told() };
      }
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
