/** The bench of a lent machine: how fast it is its owner's again, and what callers notice of that. */
import type { Bench } from '../bench.ts';
import { bundledModel } from '../models.ts';
import { inWorld } from '../world.ts';
import { measureFlaps } from './flaps.ts';
import { measureForeground } from './foreground.ts';
import { measureIdle } from './idle.ts';
import { metrics } from './metrics.ts';
import { measureMovedAnswers } from './moved.ts';
import { measureYield } from './yield.ts';

const MODEL = 'jacobean';

export const lender: Bench = {
  metrics,
  measured:
    'Measured: devices in processes of their own with real engines, below a hub on loopback; processor time as the ' +
    'kernel tells it of every thread.',
  async run(run) {
    await run.group(['lender.answer_moved_wrong'], () =>
      inWorld({ run, devices: 2, slots: 4, models: { [MODEL]: bundledModel() } }, (world) =>
        measureMovedAnswers(run, world, MODEL),
      ),
    );
    await run.group(['lender.flaps'], () => measureFlaps(run));
    await run.group(['lender.idle_cpu_pct', 'lender.idle_rss_mb'], () => measureIdle(run));
    const foreground = 'lender.foreground_slowdown_pct';
    await run.group([foreground], () => measureForeground(run, foreground, 'balanced'));
    const background = 'lender.background_slowdown_pct';
    await run.group([background], () => measureForeground(run, background, 'dedicated'));
    await run.group(['lender.yield_ms_p99'], () => measureYield(run));
  },
};
