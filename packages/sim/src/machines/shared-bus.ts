/**
 * The bus as one process sees it: the one in memory, behind the process's gate. It also carries, beside each message,
 * which frame of a device caused it, so that what happens on another replica because of it can be judged.
 */
import { asIdlewildError, decodeCbor } from '@idlewild/protocol';
import type { Bus, LocalBusMember } from '@idlewild/hub';
import type { Via } from '../events.ts';
import type { Gate } from './gate.ts';

/** Why something happens, in all processes together: one thing at a time is done. */
export interface Causes {
  via: Via | undefined;
  /** A list of models to hold is on its way to a device, by this duty's holder. */
  hold: { readonly from: string; readonly duty: number } | undefined;
  readonly viaOf: WeakMap<Uint8Array, Via>;
}

export const createCauses = (): Causes => ({ via: undefined, hold: undefined, viaOf: new WeakMap() });

export interface GatedBusDeps {
  readonly member: LocalBusMember;
  readonly gate: Gate;
  readonly causes: Causes;
  readonly wake: () => void;
  /** A test breaks the world here. */
  readonly rewrite: (subject: string, bytes: Uint8Array) => Uint8Array;
}

export function createGatedBus({ member, gate, causes, wake, rewrite }: GatedBusDeps): Bus {
  const remember = (bytes: Uint8Array): void => {
    if (causes.via !== undefined) causes.viaOf.set(bytes, causes.via);
  };
  return {
    publish(subject, bytes) {
      remember(bytes);
      gate.give(() => member.publish(subject, bytes));
    },
    subscribe(pattern, onMessage) {
      let isStopped = false;
      const subscription = member.subscribe(pattern, (message) =>
        gate.take(() => {
          if (isStopped) return;
          wake();
          if (!gate.isLive()) return;
          const { subject } = message;
          causes.via = causes.viaOf.get(message.bytes);
          causes.hold = subject.includes('.dev.') ? holdIn(message.bytes) : undefined;
          const respond = (bytes: Uint8Array): void => gate.give(() => message.respond(bytes));
          try {
            onMessage({ subject, bytes: rewrite(subject, message.bytes), respond });
          } finally {
            causes.via = undefined;
            causes.hold = undefined;
          }
        }),
      );
      return {
        stop() {
          isStopped = true;
          subscription.stop();
        },
      };
    },
    request(subject, bytes, options) {
      remember(bytes);
      return new Promise((resolve, reject) => {
        gate.give(() => {
          member.request(subject, bytes, options).then(
            (answer) => gate.take(() => resolve(answer)),
            (error: unknown) => gate.take(() => reject(asIdlewildError(error, 'asking'))),
          );
        });
      });
    },
    isUp: () => member.isUp(),
    onChange: (listener) => member.onChange((isUp) => gate.take(() => listener(isUp))),
    close: () => member.close(),
  };
}

/** Decoding every order to see what it is would take long. */
function holdIn(bytes: Uint8Array): Causes['hold'] {
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('hold')) return undefined;
  const order = decodeCbor(bytes, 'an order') as { k: string; from: string; duty: number };
  return order.k === 'hold' ? { from: order.from, duty: order.duty } : undefined;
}
