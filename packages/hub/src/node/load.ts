/**
 * What this process takes on, put together: requests by how far behind it is, devices by their pace and its share of
 * them; and, once a minute, devices that should be elsewhere are sent there.
 */
import type { IdlewildError, Timer } from '@idlewild/protocol';
import { nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { Metrics } from '../gateway/metrics.ts';
import { createOverload } from '../gateway/door/overload.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { createAdmission } from '../replicas/admission.ts';
import type { Register } from '../replicas/register.ts';
import { activeOf } from '../session/connected-device.ts';
import type { JoinRefusal, LocalSessions } from '../session/sessions.ts';
import { createLoadProbe } from './load-probe.ts';

export interface Load {
  /** Why one more answer is not begun in this territory. */
  requestRefusal(territory: string): IdlewildError | undefined;
  /** Why one more device may not join. */
  joinRefusal(): JoinRefusal | undefined;
  stop(): void;
}

export interface LoadDeps {
  readonly register: Register;
  readonly devicesMax: number | undefined;
  readonly metrics: Pick<Metrics, 'shed'>;
  /** Channels of this replica, of each of its territories. */
  readonly locals: () => readonly LocalSessions[];
  readonly log: Log;
}

export function createLoad({ register, devicesMax, metrics, locals, log }: LoadDeps): Load {
  const ports = { clock: systemClock, random: nodeRandom };
  const probe = createLoadProbe(() => register.beatMs());
  const overload = createOverload({ ...ports, log, probe });
  const admission = createAdmission({
    ...ports,
    devicesMax,
    live: () => register.live(),
    devices: () => locals().reduce((sum, local) => sum + local.count(), 0),
  });

  function spread(): void {
    timer = systemClock.after(HUB_LIMITS.rebalanceMs, spread);
    let count = admission.toMove();
    for (const here of locals()) {
      const idle = [...here.list()].filter((device) => activeOf(device) === 0).slice(0, count);
      if (idle.length === 0) continue;
      count -= idle.length;
      log.info({ devices: idle.length }, 'devices are sent to other replicas, which have fewer');
      here.move(idle, HUB_LIMITS.rebalanceMs, 'this replica has more devices than its equals');
    }
  }
  let timer: Timer = systemClock.after(HUB_LIMITS.rebalanceMs, spread);

  const counted = <Refusal>(what: 'request' | 'device', refusal: Refusal | undefined): Refusal | undefined => {
    if (refusal !== undefined) metrics.shed(what);
    return refusal;
  };
  return {
    requestRefusal: (territory) => counted('request', overload.refusal(territory)),
    joinRefusal: () => counted('device', admission.mayJoin()),
    stop() {
      timer.cancel();
      overload.stop();
      probe.stop();
    },
  };
}
