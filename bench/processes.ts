/**
 * Processes of a bench: each leads a group of its own, is told what to do by one message and stops when its channel
 * closes.
 *
 * However the bench ends, they end: by its exit, or, should even that be a kill -9, because the channel is gone. A
 * group is killed as a whole, as a power cut would: an engine goes with its device.
 */
import { fork, spawn, type ChildProcess } from 'node:child_process';

export interface BenchProcess<Said> {
  readonly pid: number;
  /** Resolves with the first message. Rejects when the process ends before it. */
  readonly ready: Promise<Said>;
  readonly ended: Promise<void>;
  /** More than its task. */
  tell(message: object): void;
  /** Asks it to stop and waits; ends its group when it takes too long. */
  stop(): Promise<void>;
  /** Ends its whole group at once. */
  kill(): void;
}

export interface BenchProcessOptions<Said> {
  /** The file that it runs. */
  readonly script: string;
  /** Sent as its first message. */
  readonly task: object;
  readonly profileFolder?: string | undefined;
  /** Options of Node's. */
  readonly flags?: readonly string[] | undefined;
  onMessage?(said: Said): void;
}

const STOP_MS = 10_000;
const PRINTED_CHARACTERS_MAX = 2_000;

export function startBenchProcess<Said>(options: BenchProcessOptions<Said>): BenchProcess<Said> {
  const { script, task, profileFolder, flags = [], onMessage } = options;
  const profiling = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`];
  const child = fork(script, {
    detached: true,
    execArgv: [...flags, ...profiling],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const kill = (): void => killGroup(child);
  process.once('exit', kill);
  let printed = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    printed = (printed + text).slice(-PRINTED_CHARACTERS_MAX);
  });
  const ended = new Promise<void>((resolve) => {
    // Not 'close': that never comes once it is this side that has let go of the channel.
    child.once('exit', () => {
      process.off('exit', kill);
      resolve();
    });
  });
  const ready = new Promise<Said>((resolve, reject) => {
    child.on('message', (said) => {
      resolve(said as Said);
      onMessage?.(said as Said);
    });
    child.once('error', reject);
    void ended.then(() => reject(new Error(`${script} ended with code ${child.exitCode}: ${printed.trim()}`)));
  });
  // Whoever waits for it is told; whoever does not must not be brought down by it.
  ready.catch(() => undefined);
  child.send(task);
  return {
    pid: child.pid ?? 0,
    ready,
    ended,
    kill,
    tell: (message) => void (child.connected && child.send(message)),
    async stop() {
      if (child.connected) child.disconnect();
      const timer = setTimeout(kill, STOP_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Runs a command to its end and returns what it printed. Throws, with what it said, when it fails. */
export async function runCommand(words: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, words, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = (): void => killGroup(child);
  process.once('exit', kill);
  const printed = ['', ''];
  [child.stdout, child.stderr].forEach((stream, index) => {
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed[index] = `${printed[index] ?? ''}${text}`;
    });
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  process.off('exit', kill);
  const [out = '', said = ''] = printed;
  if (code === 0) return out;
  const tail = said.slice(-PRINTED_CHARACTERS_MAX).trim();
  throw new Error(`${words.slice(0, 3).join(' ')} ended with code ${code}: ${tail}`);
}

/** The other side of a `BenchProcess`. */
export interface BenchTask<Task> {
  readonly task: Task;
  say(message: object): void;
  /** Whatever comes after the task. */
  onTold(listen: (message: unknown) => void): void;
  /** `stop` is called when the bench lets go of this process, which ends after it. */
  onStop(stop: () => Promise<void>): void;
}

/** Resolves once the task has come. */
export async function taskOf<Task>(): Promise<BenchTask<Task>> {
  const task = await new Promise<Task>((resolve) => process.once('message', (message) => resolve(message as Task)));
  return {
    task,
    say: (message) => void (process.connected && process.send?.(message)),
    onTold: (listen) => void process.on('message', listen),
    onStop(stop) {
      const leave = (): void => {
        stop().then(
          () => process.exit(0),
          () => process.exit(1),
        );
      };
      if (process.connected) process.once('disconnect', leave);
      else leave();
    },
  };
}
