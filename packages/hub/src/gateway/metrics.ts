/**
 * The numbers behind /metrics, in Prometheus' names and base units. No label holds a person's, key's or prompt's
 * anything.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { AnswerMeter } from '../answers/port.ts';
import type { Dropped } from './door/crowd.ts';

export interface Metrics {
  readonly meter: AnswerMeter;
  /** A request or a device that was told to come again, for this replica had enough to do. */
  shed(what: 'request' | 'device'): void;
  /** A connection that had to go, so that the door stays open for others. */
  dropped(why: Dropped): void;
  /** Bytes of blobs that devices were given. */
  blob(origin: 'store' | 'peer', bytes: number): void;
  /** Prometheus text format. */
  render(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsSources {
  devicesByState(): Readonly<Record<string, number>>;
  answers(): { readonly open: number; readonly queued: number };
  /** Replicas that are alive, this one included. */
  replicas(): number;
  /** Of the whole process, for whoever runs it; absent: it is not told of here. */
  connections?(): { readonly strangers: number; readonly known: number };
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export function createMetrics(sources: () => MetricsSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const ended = new Counter({
    name: 'idlewild_answers_total',
    help: 'Answers that ended.',
    labelNames: ['state', 'code'],
    registers,
  });
  const tokens = new Counter({ name: 'idlewild_answer_tokens_total', help: 'Tokens delivered.', registers });
  const failovers = new Counter({
    name: 'idlewild_failovers_total',
    help: 'Attempts that were lost after they had started.',
    registers,
  });
  const blobs = new Counter({
    name: 'idlewild_blob_bytes_total',
    help: "Bytes of blobs given to devices, from the hub's store or from other devices.",
    labelNames: ['source'],
    registers,
  });
  const duration = new Histogram({
    name: 'idlewild_answer_seconds',
    help: 'From acceptance to end.',
    buckets: SECONDS,
    registers,
  });
  const first = new Histogram({
    name: 'idlewild_first_token_seconds',
    help: 'From acceptance to the first token.',
    buckets: SECONDS,
    registers,
  });
  const shed = new Counter({
    name: 'idlewild_shed_total',
    help: 'Requests and devices that were told to come again, since this replica had enough to do.',
    labelNames: ['what'],
    registers,
  });
  const dropped = new Counter({
    name: 'idlewild_connections_dropped_total',
    help: 'Connections that were closed by the hub, by the bound that was reached.',
    labelNames: ['why'],
    registers,
  });
  gauges(sources, registers);
  return {
    meter: {
      ended(state, code, answer) {
        ended.inc({ state, code });
        tokens.inc(answer.tokens);
        failovers.inc(answer.failovers);
        duration.observe(answer.ms / 1000);
      },
      firstToken: (ms) => first.observe(ms / 1000),
    },
    shed: (what) => shed.inc({ what }),
    dropped: (why) => dropped.inc({ why }),
    blob: (source, bytes) => blobs.inc({ source }, bytes),
    render: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

function gauges(sources: () => MetricsSources, registers: Registry[]): void {
  new Gauge({
    name: 'idlewild_devices',
    help: 'Connected devices by state.',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, count] of Object.entries(sources().devicesByState())) this.set({ state }, count);
    },
  });
  new Gauge({
    name: 'idlewild_connections',
    help: 'Connections that are open, of those whom this replica knows and of strangers.',
    labelNames: ['of'],
    registers,
    collect() {
      for (const [of, count] of Object.entries(sources().connections?.() ?? {})) this.set({ of }, count);
    },
  });
  new Gauge({
    name: 'idlewild_replicas',
    help: 'Replicas of the hub that are alive, as this one sees it.',
    registers,
    collect() {
      this.set(sources().replicas());
    },
  });
  new Gauge({
    name: 'idlewild_answers_open',
    help: 'Answers that are open.',
    registers,
    collect() {
      this.set(sources().answers().open);
    },
  });
  new Gauge({
    name: 'idlewild_answers_queued',
    help: 'Answers that wait for a device.',
    registers,
    collect() {
      this.set(sources().answers().queued);
    },
  });
}
