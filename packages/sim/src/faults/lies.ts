/**
 * A device that lies: changes, repeats and invents frames on their way out of an honest agent. Everything here can be
 * told from the truth by a hub that trusts no frame; a wrong token under the right index cannot, and is not tried.
 * Where tokens may be lost on their way and told again, every index may be the right one, but one that is far off.
 */
import { decodeCbor, encodeFrame, type AnswerEvent, type ToHub } from '@idlewild/protocol';
import type { Chance } from '../chance.ts';

export const LIES = [
  'wrong index',
  'other epoch',
  'token twice',
  'finish twice',
  'forged receipt',
  'garbage',
  'token for another lease',
  'end of another lease',
  'finish early',
] as const;
export type Lie = (typeof LIES)[number];

/** A lease of another device, as an eavesdropper would know it. */
export interface OtherLease {
  readonly lease: string;
  readonly epoch: number;
  readonly tokens: number;
}

export interface Liar {
  /** Tells this lie with the next frames that it fits, `times` times. */
  begin(lie: Lie, times: number): void;
  /** What is sent in place of `frame`. */
  utter(frame: Uint8Array): readonly Uint8Array[];
}

export function createLiar(chance: Chance, otherLease: () => OtherLease | undefined, mayRepeat = false): Liar {
  let lie: Lie | undefined;
  let left = 0;
  return {
    begin(next, times) {
      lie = next;
      left = times;
    },
    utter(frame) {
      if (lie === undefined || left === 0) return [frame];
      const message = decodeCbor(frame, 'an own frame') as ToHub;
      const told = tell(lie, frame, message, { chance, otherLease, mayRepeat });
      if (told === undefined) return [frame];
      left--;
      return told;
    },
  };
}

/** More tokens than any answer has. */
const FAR = 10_000;

interface Means {
  readonly chance: Chance;
  readonly otherLease: () => OtherLease | undefined;
  readonly mayRepeat: boolean;
}

/** The frames of the lie, or `undefined` when it does not fit this frame. */
function tell(
  lie: Lie,
  frame: Uint8Array,
  message: ToHub,
  { chance, otherLease, mayRepeat }: Means,
): Uint8Array[] | undefined {
  if (message.t !== 'answer.token' && message.t !== 'answer.finished') return undefined;
  const send = (...events: AnswerEvent[]): Uint8Array[] => events.map((event) => encodeFrame(event));
  if (lie === 'garbage') return [chance.bytes(chance.whole(1, 40))];
  if (message.t === 'answer.token') {
    if (lie === 'wrong index') {
      const by = chance.pick(mayRepeat ? [FAR, 2 * FAR] : [-1, 1, 7]);
      return send({ ...message, i: Math.max(0, message.i + by) });
    }
    if (lie === 'other epoch') return [...send({ ...message, epoch: message.epoch + 1, id: 0 }), frame];
    if (lie === 'token twice') return [frame, frame];
    if (lie === 'finish early') {
      const { lease, epoch } = message;
      const answerTokens = message.i + 3;
      return send({
        t: 'answer.finished',
        lease,
        epoch,
        finish: 'stop',
        s: '',
        promptTokens: 1,
        answerTokens,
        receipt: chance.bytes(80),
      });
    }
    const other = otherLease();
    if (other === undefined) return undefined;
    const { lease, epoch, tokens } = other;
    if (lie === 'token for another lease') return [...send({ ...message, lease, epoch, i: tokens, id: 0 }), frame];
    if (lie === 'end of another lease') {
      const failed = { t: 'answer.failed', lease, epoch, code: 'invalid_request', message: 'so says another' } as const;
      return [...send(failed), frame];
    }
    return undefined;
  }
  if (lie === 'finish twice') return [frame, frame];
  if (lie === 'forged receipt') {
    const receipt = message.receipt.slice();
    const at = chance.whole(0, receipt.length - 1);
    receipt[at] = (receipt[at] as number) ^ 1;
    return send({ ...message, receipt });
  }
  return undefined;
}
