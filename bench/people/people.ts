/** The bench of people: what decisions, revocations, sealed prompts and the audit log cost. */
import type { Bench } from '../bench.ts';
import { measureAudit } from './audit.ts';
import { metrics } from './metrics.ts';

export const people: Bench = {
  metrics,
  measured:
    'Measured: decisions and the audit log in this process over real databases; revocations on three replicas over ' +
    'PostgreSQL and NATS; sealed prompts through a hub and a device in processes of their own.',
  async run(run) {
    const append = 'people.audit_append_per_s';
    await run.group([append], () => measureAudit(run, append));
  },
};
