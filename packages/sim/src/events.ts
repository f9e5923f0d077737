/**
 * Everything that happens in a world that an invariant may depend on: the one stream that the checkers judge, that a
 * trace prints and that two runs of a seed are compared by.
 *
 * Requests are known by their number in the world; ids of requests and leases are the hub's own.
 */
import type { AnswerEvent, AnswerWork, DeviceTier, ErrorCode } from '@idlewild/protocol';
import type { AnswerOutcome } from '@idlewild/hub';
import type { Booked } from './members/booked.ts';
import type { Written } from './machines/shared-database.ts';

/** The frame of a device in whose handling something happened. */
export interface Via {
  readonly device: string;
  readonly frame: AnswerEvent;
}

/** Why a device must not run what it was given. */
export type Forbidden = 'consent' | 'territory' | 'paused' | 'draining';

/**
 * What stewards turn on and off: a device is in a pool, a key is bound to one (`ID POOL`), a person is suspended, a
 * model stopped, a rule of use in force.
 */
export type ChangeKind = 'pool' | 'bound' | 'suspended' | 'stopped' | 'ruled';

export type SimEvent =
  /** `keyed`: under an Idempotency-Key, so that its caller comes back when its stream breaks. */
  | {
      readonly e: 'asked';
      readonly request: number;
      readonly key: string;
      /** By name. */
      readonly model: string;
      readonly work: Omit<AnswerWork, 'tokens'>;
      readonly keyed?: true;
    }
  /** Also by each replica that goes on with it. */
  | { readonly e: 'accepted'; readonly request: number; readonly id: string; readonly replica: string }
  | { readonly e: 'refused'; readonly request: number; readonly code: ErrorCode | 'unreachable' }
  | { readonly e: 'started'; readonly request: number }
  | {
      readonly e: 'token';
      readonly request: number;
      readonly i: number;
      readonly id: number;
      readonly s: string;
      readonly via: Via | undefined;
    }
  /** A token reaches a hub, whatever that makes of it. */
  | { readonly e: 'sent'; readonly device: string; readonly frame: Extract<AnswerEvent, { t: 'answer.token' }> }
  /** The owner of a keyed request tells a token, for the first time or again. */
  | {
      readonly e: 'made';
      readonly request: number;
      readonly replica: string;
      readonly i: number;
      readonly id: number;
      readonly s: string;
    }
  /** A caller's stream broke, and it comes back with what it has. */
  | { readonly e: 'broke'; readonly request: number; readonly why: string }
  | { readonly e: 'came'; readonly request: number; readonly replica: string; readonly after: string | undefined }
  | { readonly e: 'finished'; readonly request: number; readonly outcome: AnswerOutcome; readonly via: Via | undefined }
  | { readonly e: 'failed'; readonly request: number; readonly code: ErrorCode }
  /** `late`: its replica stands still, and hears of it after all that came before. */
  | { readonly e: 'hungUp'; readonly request: number; readonly late?: true }
  /** The hub died under the caller. */
  | { readonly e: 'cutOff'; readonly request: number }
  /** An `answer` frame leaves the hub. `forbidden`: as the hub itself knows the device at this moment. */
  | {
      readonly e: 'ordered';
      readonly device: string;
      readonly lease: string;
      readonly epoch: number;
      readonly request: number;
      readonly tokens: readonly number[];
      readonly forbidden: Forbidden | undefined;
    }
  /** Any frame leaves the hub for this device; `heartbeat.ack` included. */
  | { readonly e: 'told'; readonly replica: string; readonly device: string; readonly kind: string }
  /** A `hold` frame leaves the hub: what the device is asked to hold, in bytes of files. */
  | {
      readonly e: 'placed';
      /** The device's home, and who placed where that is another replica, by which epoch of the duty. */
      readonly replica: string;
      readonly by: { readonly from: string; readonly duty: number } | undefined;
      readonly device: string;
      readonly models: readonly { readonly cid: string; readonly bytes: number }[];
    }
  /** An engine begins. `forbidden`: as its lender knows the device at this moment. */
  | {
      readonly e: 'ran';
      readonly device: string;
      readonly request: number;
      readonly tokens: number;
      readonly forbidden: Forbidden | undefined;
    }
  /** A steward says how far a device is trusted; `trusted` when the hub has acknowledged it. */
  | { readonly e: 'trusting' | 'trusted'; readonly device: string; readonly tier: DeviceTier }
  | { readonly e: 'act'; readonly action: string; readonly subject: string; readonly actor: string }
  | { readonly e: 'denied'; readonly action: string; readonly actor: string }
  /** An act that the audit log has once for each time that it was done, and perhaps for one that nobody heard of. */
  | { readonly e: 'trying'; readonly action: string; readonly subject: string }
  /** A steward changes something, and it is done; between the two either may hold. */
  | { readonly e: 'changing' | 'changed'; readonly what: ChangeKind; readonly subject: string; readonly isOn: boolean }
  /** What a request may spend was held, or refused, under this name. */
  | {
      readonly e: 'held';
      readonly request: number;
      readonly hold: string;
      readonly tokens: number;
      readonly tokensMax: number;
    }
  | { readonly e: 'unheld'; readonly request: number; readonly hold: string; readonly code: string }
  /** Something of spending was committed. */
  | { readonly e: 'booked'; readonly fact: Booked }
  /** All that was committed until now is booked. */
  | { readonly e: 'read' }
  /** A device was offered for a sealed prompt. */
  | { readonly e: 'offered'; readonly request: number; readonly key: string; readonly device: string }
  /** Somebody seals a prompt, takes a token, and hears or makes an end of it. */
  | { readonly e: 'sealing'; readonly request: number; readonly work: Omit<AnswerWork, 'tokens'> }
  | { readonly e: 'unsealed'; readonly request: number; readonly i: number; readonly id: number; readonly s: string }
  | {
      readonly e: 'sealedEnd';
      readonly request: number;
      /** `finished`, `hungUp` or a code. */
      readonly how: string;
      readonly finish?: string;
      readonly s?: string;
      readonly exact?: boolean;
      readonly devices?: readonly string[];
      readonly answerTokens?: number;
    }
  /** Somewhere at the hub the mark of sealed prompts is in the open. */
  | { readonly e: 'overheard'; readonly where: string }
  /** Something of another community is tried at a door of this one. */
  | { readonly e: 'trespass'; readonly what: string; readonly opened: boolean; readonly code: string }
  | { readonly e: 'fault'; readonly kind: string; readonly what: string }
  | { readonly e: 'healed'; readonly kind: string; readonly what: string }
  | {
      readonly e: 'hub';
      readonly what: 'started' | 'crashed' | 'stopped' | 'paused' | 'asleep' | 'woken';
      readonly replica: string;
    }
  /** A row with an owner has changed. */
  | ({ readonly e: 'wrote' } & Written)
  /** `interrupted`: begun, and without a device now. */
  | { readonly e: 'counted'; readonly open: number; readonly queued: number; readonly interrupted: number }
  | { readonly e: 'hubError'; readonly replica: string; readonly message: string; readonly why: string }
  | { readonly e: 'ended'; readonly device: string; readonly code: ErrorCode; readonly because: boolean };

export type Timed = SimEvent & { readonly atMs: number };

/** What is left out of traces: it fills them and says little. */
export const isRoutine = (event: SimEvent): boolean =>
  event.e === 'counted' ||
  event.e === 'read' ||
  event.e === 'sent' ||
  (event.e === 'told' && event.kind === 'heartbeat.ack');
