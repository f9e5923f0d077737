/**
 * The bench of a hub as several equal replicas over PostgreSQL and NATS: what they cost beside one, what a restart and
 * a storm of devices look like from outside, and what a device costs that does nothing.
 */
import type { Bench } from '../bench.ts';
import { measureCross } from './cross.ts';
import { measureDrain } from './drain.ts';
import { measureIdle } from './idle.ts';
import { metrics } from './metrics.ts';
import { measureMoved } from './moved.ts';
import { measureReconnect } from './reconnect.ts';
import { measureThreeToOne } from './three-to-one.ts';

export const replicas: Bench = {
  metrics,
  measured:
    'Measured: replicas as `idlewild up` starts them, a PostgreSQL that commits to disk and a nats-server, all on ' +
    'loopback and the same cores; devices are real agents whose engines are arithmetic, so hubs are what is measured.',
  async run(run) {
    await run.group(['replicas.three_to_one_ratio'], () => measureThreeToOne(run));
    await run.group(['replicas.cross_token_ms'], () => measureCross(run));
    await run.group(['replicas.drain_failed'], () => measureDrain(run));
    await run.group(['replicas.hub_destroyed_devices_moved'], () => measureMoved(run));
    await run.group(['replicas.idle_device_kb'], () => measureIdle(run));
    await run.group(['replicas.reconnect20k_s', 'replicas.reconnect_failed_requests'], () => measureReconnect(run));
  },
};
