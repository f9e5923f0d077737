/**
 * A real systemd for one user, as a login would start it, in namespaces of its own: processes, mounts and control
 * groups of this machine are out of its reach, and all that it started ends with it. It needs root, and a kernel that
 * allows it.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { runProgram, type Ran } from './program.ts';

export interface UserManager {
  /** A command of its user. */
  run(words: readonly string[], more?: Readonly<Record<string, string>>): Promise<Ran>;
  /** As logging out and turning the machine off would. */
  stop(): Promise<void>;
  /** As a power cut would: every process at once. */
  cut(): Promise<void>;
}

const SYSTEMD = '/lib/systemd/systemd';
const RUNTIME = '/run/user/idlewild';

/** What the outermost process does; it is the first of its namespace, so everything ends with it. */
const SCRIPT = `
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system ${RUNTIME}
chmod 700 ${RUNTIME}
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/idlewild-test-$1
mkdir "$group"
echo $$ > "$group/cgroup.procs"
set +e
${SYSTEMD} --user >/dev/null 2>&1 &
manager=$!
until systemctl --user show-environment >/dev/null 2>&1; do
  kill -0 $manager 2>/dev/null || break
  sleep 0.05
done
echo started
exec 2>/dev/null
read -r how
if [ "$how" = cut ]; then kill -KILL -1; else kill -TERM $manager; fi
wait $manager
kill -KILL -1 2>/dev/null
echo $$ > /sys/fs/cgroup/cgroup.procs
for try in 1 2 3 4 5 6 7 8 9 10; do
  find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
  [ -d "$group" ] || break
  sleep 0.05
done
`;

/** Why there can be none here; `undefined` where there can. */
export function whyNoUserManager(): string | undefined {
  if (process.platform !== 'linux') return 'systemd is a program of Linux';
  if (process.getuid?.() !== 0) return 'it takes root to start a user manager of its own';
  for (const [program, word] of [
    [SYSTEMD, '--version'],
    ['systemctl', '--version'],
    ['nsenter', '--version'],
  ] as const) {
    if (spawnSync(program, [word]).status !== 0) return `there is no ${program}`;
  }
  const tried =
    'mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup && ' +
    'mkdir /sys/fs/cgroup/idlewild-tried && rmdir /sys/fs/cgroup/idlewild-tried';
  const { status } = spawnSync('unshare', [...NAMESPACES, 'bash', '-c', tried]);
  return status === 0 ? undefined : 'this machine allows no namespaces and control groups of one’s own';
}

const NAMESPACES = ['--mount', '--cgroup', '--pid', '--fork', '--kill-child', '--mount-proc'];

let started = 0;

export async function startUserManager(home: string): Promise<UserManager> {
  const env = { PATH: process.env.PATH ?? '', HOME: home, XDG_RUNTIME_DIR: RUNTIME };
  const outer = spawn('unshare', [...NAMESPACES, 'bash', '-c', SCRIPT, 'bash', `${process.pid}-${++started}`], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => {
    outer.once('close', () => resolve());
  });
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: outer.stdout }).once('line', () => resolve());
    outer.once('close', () => reject(new Error('the user manager did not start')));
  });
  const target = String(firstChild(outer));
  const tell = async (how: 'stop' | 'cut'): Promise<void> => {
    outer.stdin.end(`${how}\n`);
    await ended;
  };
  return {
    run: (words, more = {}) =>
      runProgram('nsenter', ['--target', target, '--mount', '--cgroup', '--pid', '--', ...words], {
        env: { ...env, ...more },
      }),
    stop: () => tell('stop'),
    cut: () => tell('cut'),
  };
}

const firstChild = ({ pid }: ChildProcess): number =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
