/** The Task Scheduler of Windows: a task of the person who installs it, found again by its name. */
import { win32 } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';
import { endedWell, type Machine, type Ran, type ServiceManager, type ServiceState } from './manager.ts';
import { TASK_NAME, scheduledTask } from './scheduled-task.ts';

export interface TaskSchedulerOptions {
  readonly machine: Machine;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
}

const BYTE_ORDER_MARK = '\ufeff';

export function createTaskScheduler({ machine, env, home }: TaskSchedulerOptions): ServiceManager {
  const local = env.LOCALAPPDATA ?? win32.join(home, 'AppData', 'Local');
  const file = win32.join(local, 'Idlewild', 'service.xml');
  const user = `${env.USERDOMAIN ?? '.'}\\${env.USERNAME ?? ''}`;
  const schtasks = (...words: string[]): Promise<Ran> => machine.run('schtasks.exe', words);
  const must = async (...words: string[]): Promise<void> =>
    endedWell(`schtasks ${words.join(' ')}`, await schtasks(...words));
  return {
    name: 'Task Scheduler',
    file,
    look: `schtasks /Query /TN ${TASK_NAME} /V /FO LIST`,
    text: (service, facts) => scheduledTask(service, facts, user),
    async check() {
      const { code } = await machine.run('schtasks.exe', ['/?']);
      if (code === 0) return;
      throw new IdlewildError('usage', 'there is no schtasks here; start what --dry-run shows in another way');
    },
    async install(service, facts) {
      // As it wants to read it: in the scheduler's own encoding.
      machine.write(file, Buffer.from(`${BYTE_ORDER_MARK}${scheduledTask(service, facts, user)}`, 'utf16le'));
      await schtasks('/End', '/TN', TASK_NAME);
      await must('/Create', '/TN', TASK_NAME, '/XML', file, '/F');
      await must('/Run', '/TN', TASK_NAME);
    },
    async uninstall() {
      await schtasks('/End', '/TN', TASK_NAME);
      await schtasks('/Delete', '/TN', TASK_NAME, '/F');
      machine.remove(file);
    },
    async state() {
      return stateIn((await machine.run('powershell.exe', ['-NoProfile', '-NonInteractive', '-Command', ASK])).out);
    },
  };
}

/** What schtasks prints is in the language of the system; this is in numbers. */
const ASK =
  `$t = Get-ScheduledTask -TaskName '${TASK_NAME}' -TaskPath '\\' -ErrorAction SilentlyContinue; ` +
  'if ($t) { @{ state = [int]$t.State; last = ($t | Get-ScheduledTaskInfo).LastTaskResult } | ' +
  'ConvertTo-Json -Compress }';

const RUNNING = 4;
const DISABLED = 1;
/** SCHED_S_TASK_RUNNING, SCHED_S_TASK_HAS_NOT_RUN: no ends. */
const NO_ENDS: readonly number[] = [0x41301, 0x41303];

export function stateIn(out: string): ServiceState {
  const { state, last } = parse(out);
  const ended = typeof last === 'number' && !NO_ENDS.includes(last);
  return {
    enabled: state !== undefined && state !== DISABLED,
    running: state === RUNNING,
    pid: undefined,
    lastExit: ended ? { code: last } : undefined,
  };
}

function parse(out: string): { readonly state?: number; readonly last?: number } {
  try {
    return JSON.parse(out) as { state?: number; last?: number };
  } catch {
    return {}; // Nothing is printed where there is no such task.
  }
}
