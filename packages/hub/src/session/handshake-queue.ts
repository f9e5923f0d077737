/**
 * In which order handshakes are worked on when thousands come at once: what was begun is finished first, few are begun
 * at a time, and whoever would wait for longer than a handshake may take is sent away at once, with a time to return.
 *
 * Worked on all together, none of them would be done before its deadline, and all would come again. The pace is
 * measured, so it is that of this machine and of what else it does just now.
 */
import { messageOf, type Clock, type Random } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';

export interface Waiting {
  isOver(): boolean;
  /** Catches its own errors. */
  work(): Promise<void>;
}

export interface HandshakeQueue {
  /**
   * How long to stay away; `undefined` when there is time for one more. `open` is how many handshakes are not over:
   * those who have only just connected will say hello in a moment, and who does not stands in nobody's way.
   */
  refusalMs(open: number): number | undefined;
  /** Does the first part of a handshake in its turn, and calls it begun; nothing when it is over by then. */
  begin(handshake: Waiting): void;
  /** Does the next part of one that has begun, before any other begins. */
  goOn(handshake: Waiting): void;
  /** One that had begun is over, however. */
  ended(): void;
}

export function createHandshakeQueue({
  clock,
  random,
  log,
}: {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly random: Pick<Random, 'unit'>;
  readonly log: Log;
}): HandshakeQueue {
  const fresh: Waiting[] = [];
  const begunOnes: Waiting[] = [];
  let working = 0;
  let begun = 0;
  /** Of one handshake, while there are others to do. */
  let paceMs: number = HUB_LIMITS.handshakePaceMs;
  let endedAtMs: number | undefined;
  /** Who was sent away and is not back yet, as a number that falls at the pace. */
  let promised = 0;
  let promisedAtMs = clock.monotonic();
  /** Who connected in this moment, and in the one before. */
  let came = { atMs: clock.monotonic(), now: 0, before: 0 };

  function cameLately(nowMs: number): typeof came {
    const moments = Math.floor((nowMs - came.atMs) / HUB_LIMITS.handshakeHelloMs);
    if (moments === 0) return came;
    return { atMs: nowMs, now: 0, before: moments === 1 ? came.now : 0 };
  }

  function next(): void {
    while (working < HUB_LIMITS.handshakesAtOnce) {
      const isNew = begunOnes.length === 0;
      if (isNew && begun >= HUB_LIMITS.handshakesBegunMax) return;
      const handshake = isNew ? fresh.shift() : begunOnes.shift();
      if (handshake === undefined) return;
      if (handshake.isOver()) continue;
      if (isNew) begun++;
      working++;
      handshake
        .work()
        .catch((error: unknown) => log.error({ why: messageOf(error) }, 'a handshake failed without a word'))
        .finally(() => {
          working--;
          next();
        });
    }
  }

  return {
    refusalMs(open) {
      const nowMs = clock.monotonic();
      promised = Math.max(0, promised - (nowMs - promisedAtMs) / paceMs);
      promisedAtMs = nowMs;
      came = cameLately(nowMs);
      const waiting = fresh.length + begun;
      const waitMs = (waiting + Math.min(Math.max(0, open - waiting), came.now + came.before)) * paceMs;
      if (waitMs < HUB_LIMITS.handshakeWaitMsMax) {
        came.now++;
        return undefined;
      }
      promised++;
      const awayMs = (waitMs + promised * paceMs) * (0.75 + random.unit() / 2);
      return Math.ceil(Math.min(HUB_LIMITS.joinWaitMsMax, awayMs));
    },
    begin(handshake) {
      fresh.push(handshake);
      next();
    },
    goOn(handshake) {
      begunOnes.push(handshake);
      next();
    },
    ended() {
      begun--;
      const nowMs = clock.monotonic();
      const isBusy = fresh.length > 0;
      if (isBusy && endedAtMs !== undefined) paceMs += HUB_LIMITS.handshakePaceShare * (nowMs - endedAtMs - paceMs);
      endedAtMs = isBusy ? nowMs : undefined;
      next();
    },
  };
}
