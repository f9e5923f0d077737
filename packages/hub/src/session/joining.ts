/**
 * Channels that are nobody's yet: from their opening to a device that is let in, or to a refusal.
 *
 *   waiting for hello ──hello──► proving ──prove──► a device's
 *          └──── too late, garbage, not enrolled, too many ───┴──► refused, and closed
 *
 * Frames are read one at a time, within a deadline, of no more than `handshakesMax` channels. While many are open, who
 * keeps silent goes sooner: nobody keeps others out by a hello that no proof follows. Of one that is a device's
 * by then frames are only handed on; what is wrong with one of those refuses its channel, too.
 */
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  encodeFrame,
  newId,
  type Channel,
  type CheckedDevice,
  type Clock,
  type Crypto,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import type { Tickets } from '../identity/tickets.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { LocalDevice } from './connected-device.ts';
import { createHandshakeQueue } from './handshake-queue.ts';
import { createHandshake, type Admitted, type Enrolment, type HubIdentity } from './handshake.ts';
import type { DialledChannel } from './port.ts';

export interface Joining {
  /** Takes a fresh channel and runs its handshake. */
  accept(channel: DialledChannel): void;
  /** Takes no more. */
  close(): void;
}

export interface JoinRefusal {
  readonly code: 'too_busy' | 'hub_stopping';
  readonly message: string;
  readonly retryAfterMs: number;
}

/** Who was let in, and with what. */
export interface Admission {
  readonly channel: DialledChannel;
  readonly who: Admitted;
  readonly checked: CheckedDevice;
  readonly session: string;
  readonly ticket: string;
}

/** What becomes of those who are let in. */
interface Admitting {
  admit(admission: Admission): LocalDevice;
  /** Throws at a frame that makes no sense. */
  read(device: LocalDevice, frame: Uint8Array): void;
  gone(device: LocalDevice, why: string): void;
  revoked(device: LocalDevice): void;
  /** How many there are. */
  count(): number;
}

export interface JoiningDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly identity: HubIdentity;
  readonly enrolment: Enrolment;
  readonly tickets: Pick<Tickets, 'issue'>;
  /** Why no device may join at the moment. */
  readonly refusal?: (() => JoinRefusal | undefined) | undefined;
  readonly log: Log;
}

export function createJoining(deps: JoiningDeps, devices: Admitting): Joining {
  const { clock, random, crypto, identity, enrolment, tickets, log } = deps;
  const queue = createHandshakeQueue({ clock, random, log });
  let handshakes = 0;
  let stopping = false;
  /** What lets go of those of whom a frame is awaited, and since when; in that order. */
  const silent = new Map<() => void, number>();

  function letGoSilent(): void {
    const nowMs = clock.monotonic();
    for (const [letGo, sinceMs] of [...silent]) {
      if (nowMs - sinceMs < HUB_LIMITS.handshakeSilentMsMax) return;
      letGo();
    }
  }

  function refusalNow(): JoinRefusal | undefined {
    const retryAfterMs = HUB_LIMITS.joinAgainMs;
    if (handshakes >= HUB_LIMITS.handshakesOpenMany) letGoSilent();
    if (stopping) return { code: 'hub_stopping', message: 'the hub is stopping', retryAfterMs };
    const isFull = handshakes >= HUB_LIMITS.handshakesMax || devices.count() >= HUB_LIMITS.devicesMax;
    if (isFull) return { code: 'too_busy', message: 'too many devices are joining; try again', retryAfterMs };
    const awayMs = queue.refusalMs(handshakes);
    if (awayMs !== undefined)
      return { code: 'too_busy', message: 'too many devices are joining at once; try again', retryAfterMs: awayMs };
    return deps.refusal?.();
  }

  /** Counts as a handshake until it is over: let in, refused, or closed. */
  function beginDeadline(onLate: (error: IdlewildError) => void) {
    handshakes++;
    let begun = false;
    let done = false;
    const over = (): void => {
      if (!done) {
        handshakes--;
        if (begun) queue.ended();
      }
      done = true;
      silent.delete(letGo);
      timer.cancel();
    };
    const letGo = (): void => {
      over();
      onLate(new IdlewildError('too_busy', 'others are joining, and nothing was heard of you; try again'));
    };
    const timer: Timer = clock.after(LIMITS.handshakeMs, () => {
      over();
      const late = `the handshake took longer than ${LIMITS.handshakeMs / 1000} s`;
      onLate(new IdlewildError('handshake_refused', late));
    });
    silent.set(letGo, clock.monotonic());
    return {
      over,
      isOver: () => done,
      /** Its frames, each in its turn. */
      next(work: () => Promise<void>): void {
        silent.delete(letGo);
        const begin = async (): Promise<void> => {
          begun = true;
          await work();
          if (!done) silent.set(letGo, clock.monotonic());
        };
        (begun ? queue.goOn : queue.begin)({ isOver: () => done, work: begin });
      },
    };
  }

  function run(channel: DialledChannel): void {
    let device: LocalDevice | undefined;
    let closed = false;
    let isReading = false;
    const isClosed = (): boolean => closed;
    const deadline = beginDeadline((late) => refuse(channel, late));
    const proofs = createHandshake({ channel, identity, random, crypto, clock, enrolment });
    const readHandshake = async (frame: Uint8Array): Promise<void> => {
      const admitted = await proofs.read(frame);
      if (admitted === undefined || closed) return;
      const session = newId('ses', random);
      const { id, territory } = admitted.who;
      const ticket = await tickets.issue({ device: id, session, territory });
      // It may have gone, or have been refused, while its ticket was made.
      if (isClosed() || deadline.isOver()) return;
      deadline.over();
      device = devices.admit({ channel, ...admitted, session, ticket });
      // A steward may have revoked it while it was let in, when it had no channel yet that could be dropped.
      if (await enrolment.isRevoked(device.id)) devices.revoked(device);
    };
    const fail = (thrown: unknown): void => {
      const error = asIdlewildError(thrown, 'reading a frame');
      log.warn({ device: device?.id, code: error.code, why: error.message }, 'channel refused');
      deadline.over();
      if (device !== undefined) devices.gone(device, error.message);
      refuse(channel, error);
    };
    channel.listen({
      onFrame(frame) {
        if (device !== undefined) {
          try {
            devices.read(device, frame);
          } catch (error) {
            fail(error);
          }
          return;
        }
        if (deadline.isOver()) return;
        if (isReading)
          return fail(new IdlewildError('handshake_refused', 'a frame came before the last one was answered'));
        isReading = true;
        deadline.next(async () => {
          await readHandshake(frame).catch(fail);
          isReading = false;
        });
      },
      onClose(reason) {
        closed = true;
        deadline.over();
        if (device !== undefined) devices.gone(device, reason === '' ? 'its connection closed' : reason);
      },
    });
  }

  return {
    accept(channel) {
      const refusal = refusalNow();
      if (refusal === undefined) return run(channel);
      channel.listen({ onFrame: () => {}, onClose: () => {} });
      return refuse(channel, new IdlewildError(refusal.code, refusal.message), refusal.retryAfterMs);
    },
    close() {
      stopping = true;
    },
  };
}

function refuse(channel: Channel, error: IdlewildError, retryAfterMs?: number): void {
  const when = retryAfterMs === undefined ? {} : { retryAfterMs };
  const { left } = error.details;
  const farewell = left instanceof Uint8Array ? { left } : {};
  channel.send(encodeFrame({ t: 'refused', code: error.code, message: error.message, ...when, ...farewell }));
  channel.close(error.message);
}
