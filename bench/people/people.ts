/** The bench of people: what decisions, revocations, sealed prompts and the audit log cost. */
import type { Bench } from '../bench.ts';
import { bundledModel, largeFourBitModel } from '../models.ts';
import { measureAudit } from './audit.ts';
import { measureChecking } from './checking.ts';
import { measureCells, measurePolicy } from './decisions.ts';
import { metrics } from './metrics.ts';
import { measureRevoke } from './revoke.ts';
import { measureSealedStream, measureTraces } from './sealed.ts';
import { measureSpend } from './spending.ts';

export const people: Bench = {
  metrics,
  measured:
    'Measured: decisions, cells, the audit log and what is held of a cap in this process, over real databases; ' +
    'revocations on three replicas as `idlewild up` starts them, over one PostgreSQL and one NATS; sealed prompts ' +
    'with a hub and devices in processes of their own.',
  async run(run) {
    const [cached, made] = ['people.decision_cached_us_p50', 'people.decision_us_p50'];
    await run.group([cached, made], () => measurePolicy(run, cached, made));
    const revoke = 'people.revoke_ms_p99';
    await run.group([revoke], () => measureRevoke(run, revoke));
    const cells = 'people.routes_without_cell';
    await run.group([cells], () => measureCells(run, cells));
    const ratio = 'people.sealed_stream_ratio';
    await run.group([ratio], () => measureSealedStream(run, ratio));
    const checking = 'people.verify_cost_ratio';
    const small = { name: 'jacobean', tokens: 180, pairs: 21, folder: bundledModel };
    await run.group([checking], () => measureChecking(run, checking, { ...small, folder: small.folder() }));
    const large = 'people.verify_cost_ratio_134m_q4';
    const slow = { name: 'random-134m-4bit', tokens: 120, pairs: 9, folder: largeFourBitModel };
    await run.group([large], () => measureChecking(run, large, { ...slow, folder: slow.folder() }));
    const traces = 'people.sealed_traces';
    await run.group([traces], () => measureTraces(run, traces));
    const append = 'people.audit_append_per_s';
    await run.group([append], () => measureAudit(run, append));
    const spend = 'people.spend_capped_per_s';
    await run.group([spend], () => measureSpend(run, spend));
  },
};
