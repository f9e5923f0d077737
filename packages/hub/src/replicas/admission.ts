/**
 * Whether one more device may join this replica, and how many should leave it for another.
 *
 *  - A token bucket holds joins to what one core proves in a second. Whoever is refused is told when its turn comes,
 *    each a little later than the one before, so that a storm comes back as a queue and not as a storm.
 *  - A replica holds so many devices and no more.
 *  - A replica that holds clearly more than its share, all devices over all live replicas, refuses most who come, so
 *    that the balancer's next try lands elsewhere. Never all: behind a balancer that always sends a device here it is
 *    in after a few tries, and no two replicas can send one back and forth for ever.
 *  - For as long as it holds more than its share it lets some go, a few each minute.
 *
 * The share is of one look at the register, this replica's own count included: in a storm all counts are equally old,
 * and nobody refuses because others' news travels slowly. Nothing here knows which device it is that comes.
 */
import type { Clock, Random } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { JoinRefusal } from '../session/sessions.ts';
import type { ReplicaStanding } from './register.ts';

export interface Admission {
  /** Takes a place for one that joins; or says why not, and when to come again. */
  mayJoin(): JoinRefusal | undefined;
  /** How many devices should go elsewhere during the next minute. To be asked once a minute. */
  toMove(): number;
}

export interface AdmissionDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly random: Pick<Random, 'unit'>;
  /** Live replicas at the last look, this one among them. */
  readonly live: () => readonly Pick<ReplicaStanding, 'devices' | 'state' | 'isSelf'>[];
  /** Devices that this replica has now. */
  readonly devices: () => number;
  readonly devicesMax?: number | undefined;
}

const {
  joinsPerSecond: RATE,
  joinsBurst: BURST,
  joinWaitMsMax: WAIT_MS_MAX,
  joinElsewhereMs: ELSEWHERE_MS,
  shareSlack: SLACK,
  shareDevicesMin: DEVICES_MIN,
  shareRefusedMax: REFUSED_MAX,
  movedPerMinute: MOVED,
  movedPerMinuteMax: MOVED_MAX,
} = HUB_LIMITS;

export function createAdmission(deps: AdmissionDeps): Admission {
  const { clock, random } = deps;
  const devicesMax = deps.devicesMax ?? HUB_LIMITS.devicesMax;
  let level: number = BURST;
  /** Who was told to come back and has not had the time to. */
  let promised = 0;
  let atMs = clock.monotonic();
  let wasOver = false;

  const about = (ms: number): number => Math.round(ms * (0.5 + random.unit()));

  function fill(): void {
    const nowMs = clock.monotonic();
    const more = ((nowMs - atMs) * RATE) / 1_000;
    atMs = nowMs;
    level = Math.min(BURST, level + more);
    promised = Math.max(0, promised - more);
  }

  /** By how much this replica is over its share: 0.5 is by half. Draining ones have none, and their devices come. */
  function overShare(): { readonly over: number; readonly tooMany: number } {
    const live = deps.live();
    const staying = live.filter(({ state }) => state === 'live');
    const own = staying.find(({ isSelf }) => isSelf)?.devices ?? 0;
    if (staying.length < 2 || own < DEVICES_MIN) return { over: 0, tooMany: 0 };
    const share = live.reduce((sum, { devices }) => sum + devices, 0) / staying.length;
    return { over: own / Math.max(1, share) - 1, tooMany: own - share };
  }

  return {
    mayJoin() {
      fill();
      if (deps.devices() >= devicesMax) {
        const message = `this hub holds as many devices as it may (${devicesMax}); try again, another may have room`;
        return { code: 'too_busy', message, retryAfterMs: about(ELSEWHERE_MS * 10) };
      }
      if (level < 1) {
        promised = Math.min(promised + 1, (WAIT_MS_MAX * RATE) / 1_000);
        const retryAfterMs = Math.ceil((promised * 1_000) / RATE) + about(ELSEWHERE_MS);
        return { code: 'too_busy', message: 'too many devices are joining at once; try again', retryAfterMs };
      }
      const { over } = overShare();
      if (over > SLACK && random.unit() < Math.min(REFUSED_MAX, (over - SLACK) / SLACK)) {
        const message = 'this hub holds more devices than its equals do; try again, another will take it';
        return { code: 'too_busy', message, retryAfterMs: about(ELSEWHERE_MS) };
      }
      level -= 1;
      return undefined;
    },
    toMove() {
      const { over, tooMany } = overShare();
      // Once may be a replica that restarts: its devices are elsewhere for a moment.
      const isOverAgain = wasOver && over > SLACK;
      wasOver = over > SLACK;
      if (!isOverAgain) return 0;
      return Math.ceil(Math.min(tooMany, deps.devices() * MOVED, MOVED_MAX));
    },
  };
}
