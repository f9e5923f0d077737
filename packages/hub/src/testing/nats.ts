/**
 * A real `nats-server` of a test's own, on a free port of the loopback, that can be stopped, killed, paused and
 * started again at the same place. It never uses one that runs already. `undefined`, with a line that says what to
 * install, where there is no `nats-server`.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface NatsServer {
  /** Without a user or password; `tls://` where it has a certificate. */
  readonly url: string;
  readonly pid: () => number | undefined;
  /** Ends it for good, with its folder. */
  stop(): Promise<void>;
  /** Ends it at once, without a word to its clients. */
  kill(): Promise<void>;
  /** Starts it again at the same address, ending it first where it still runs. */
  restart(): Promise<void>;
  /** Stands still: connections stay open and nothing is read. */
  pause(): void;
  resume(): void;
}

export interface NatsServerOptions {
  readonly auth?: { readonly user: string; readonly password: string } | { readonly token: string };
  /** Files in PEM; with `verifyCaFile` clients must show a certificate that it signed. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly verifyCaFile?: string };
  /** More lines for its configuration. */
  readonly config?: string;
}

const PROGRAM = 'nats-server';
const READY = 'Server is ready';

export async function startNats(options: NatsServerOptions = {}): Promise<NatsServer | undefined> {
  if (spawnSync(PROGRAM, ['--version']).error !== undefined) {
    console.warn('skipped: there is no nats-server here; apt-get install nats-server');
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-nats-'));
  const port = await freePort();
  const config = join(folder, 'nats.conf');
  writeFileSync(config, configOf(port, options));
  let child: ChildProcess | undefined;
  const killNow = (): void => void child?.kill('SIGKILL');
  const start = async (): Promise<void> => {
    child = spawn(PROGRAM, ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    process.once('exit', killNow);
    await ready(child);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    process.off('exit', killNow);
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill(signal);
    if (signal !== 'SIGKILL') ending.kill('SIGCONT');
    await ended;
  };
  await start();
  return {
    url: `${options.tls === undefined ? 'nats' : 'tls'}://127.0.0.1:${port}`,
    pid: () => child?.pid,
    async stop() {
      await end('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM');
      await start();
    },
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
  };
}

function configOf(port: number, { auth, tls, config = '' }: NatsServerOptions): string {
  const lines = [`host: 127.0.0.1`, `port: ${port}`];
  if (auth !== undefined) {
    const words = 'token' in auth ? `token: "${auth.token}"` : `user: "${auth.user}", password: "${auth.password}"`;
    lines.push(`authorization { ${words} }`);
  }
  if (tls !== undefined) {
    const verify = tls.verifyCaFile === undefined ? '' : `, ca_file: "${tls.verifyCaFile}", verify: true`;
    lines.push(`tls { cert_file: "${tls.certFile}", key_file: "${tls.keyFile}"${verify} }`);
  }
  return `${[...lines, config].join('\n')}\n`;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves when the server says that it is ready; rejects when it ends instead. */
function ready(child: ChildProcess): Promise<void> {
  let said = '';
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`nats-server did not start: ${said.slice(-2_000)}`)));
    child.stderr?.on('data', (part: Buffer) => {
      if (said.includes(READY)) return;
      said += String(part);
      if (said.includes(READY)) resolve();
    });
  });
}
