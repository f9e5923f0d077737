/**
 * One replica of a hub as a process: `idlewild up` with a folder of its own, started, killed, stopped as by an
 * orchestrator and paused as by a machine that swaps. It comes back under the same name with the same folder and at the
 * same port, and as another replica.
 *
 * Between it and the bus stands a wire of its own, so that it alone can be cut off from the others.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { startChild, type Child } from '../processes/child.ts';
import { startBalancer, type Balancer } from './balancer.ts';

const CLI = join(import.meta.dirname, '../../packages/cli/bin/idlewild.mjs');
const START_MS_MAX = 60_000;
/** Below those that systems give to outgoing connections, one of which may otherwise sit on it when it comes back. */
const [PORT_MIN, PORT_MAX] = [20_000, 32_000];

export interface Replica {
  readonly name: string;
  readonly data: string;
  /** Its way to the bus. */
  readonly bus: Balancer;
  url(): string;
  pid(): number;
  /** Resolves when it listens; `onStart` of the options is told before. */
  start(): Promise<void>;
  /** As a power cut would. */
  kill(): Promise<void>;
  /** SIGTERM, as an orchestrator ends it; resolves with how it ended, and after how long. */
  terminate(): Promise<{ readonly code: number | null; readonly tookMs: number }>;
  pause(): void;
  resume(): void;
  isRunning(): boolean;
  log(): string;
  /** Everything that it printed since it was started last. */
  said(): string;
  /** Ends it and its wire. */
  end(): Promise<void>;
}

export interface ReplicaOptions {
  readonly name: string;
  readonly data: string;
  readonly database: string;
  /** `nats://user:password@host:port` */
  readonly bus: string;
  /** More words of the command line. */
  readonly words?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  onStart?(port: number): void;
}

interface UpLine {
  readonly url: string;
}

export async function createReplica(options: ReplicaOptions): Promise<Replica> {
  const { name, data, database, words = [], onStart } = options;
  const wire = await startBalancer();
  const far = new URL(options.bus);
  wire.set('nats', Number(far.port));
  const near = new URL(options.bus);
  near.hostname = '127.0.0.1';
  near.port = String(wire.port);
  const at = ['--database', database, '--bus', near.href, '--data', data, '--port', String(await freePort())];
  const all = ['up', ...at, '--json', '--stop-with-stdin', ...words];
  let child: Child<UpLine> | undefined;
  let url = '';
  const running = (): Child<UpLine> => {
    if (child === undefined) throw new Error(`the replica ${name} does not run`);
    return child;
  };
  const gone = (ending: Child<UpLine>): void => {
    if (child === ending) child = undefined;
  };
  const replica: Replica = {
    name,
    data,
    bus: wire,
    url: () => url,
    pid: () => running().pid,
    async start() {
      const starting = startChild<UpLine>(CLI, all, options.env);
      child = starting;
      void starting.ended.then(() => gone(starting));
      const ready = await starting.line((line) => 'url' in line, `the replica ${name} starting`, {
        deadlineMs: START_MS_MAX,
      });
      url = ready.url;
      onStart?.(Number(new URL(url).port));
    },
    async kill() {
      const ending = running();
      await ending.kill();
      gone(ending);
    },
    async terminate() {
      const ending = running();
      const startedMs = performance.now();
      process.kill(ending.pid, 'SIGTERM');
      const { code } = await ending.ended;
      return { code, tookMs: performance.now() - startedMs };
    },
    pause: () => void process.kill(running().pid, 'SIGSTOP'),
    resume: () => void process.kill(running().pid, 'SIGCONT'),
    isRunning: () => child !== undefined,
    said: () => running().said(),
    log() {
      const file = join(data, 'hub.log');
      return existsSync(file) ? readFileSync(file, 'utf8') : '';
    },
    async end() {
      await child?.kill();
      await wire.close();
    },
  };
  return replica;
}

/** A port that nobody has, and that none of the system's outgoing connections gets. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    await new Promise((resolve) => server.close(resolve));
    if (isFree) return port;
  }
}
