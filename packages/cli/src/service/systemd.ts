/**
 * The user's systemd. A unit runs while its user is logged in; that it runs from the machine's start on, lingering, is
 * a setting of the whole user, which is changed only where the lender said so.
 */
import { join } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';
import {
  endedWell,
  firstLine,
  type Linger,
  type Machine,
  type Ran,
  type ServiceManager,
  type ServiceState,
} from './manager.ts';
import { systemdUnit } from './systemd-unit.ts';

const UNIT = 'idlewild.service';

export interface SystemdOptions {
  readonly machine: Machine;
  readonly home: string;
  readonly user: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function createSystemd({ machine, home, user, env }: SystemdOptions): ServiceManager {
  const config = env.XDG_CONFIG_HOME?.startsWith('/') === true ? env.XDG_CONFIG_HOME : join(home, '.config');
  const file = join(config, 'systemd', 'user', UNIT);
  const systemctl = (...words: string[]): Promise<Ran> => machine.run('systemctl', ['--user', '--no-pager', ...words]);
  const must = async (...words: string[]): Promise<void> =>
    endedWell(`systemctl --user ${words.join(' ')}`, await systemctl(...words));
  return {
    name: 'systemd',
    file,
    look: `systemctl --user status ${UNIT}, journalctl --user -u ${UNIT}`,
    text: systemdUnit,
    async check() {
      const { code, err } = await systemctl('show', '--property=Version');
      if (code === 0) return;
      const why = code === 127 ? 'there is no systemctl here' : firstLine(err) || 'it did not answer';
      throw new IdlewildError(
        'usage',
        `no systemd of this user answers (${why}); log in as this user without su or sudo, or let what starts ` +
          'programs on this machine start what `idlewild service install --dry-run` shows',
      );
    },
    async install(service, facts) {
      machine.write(file, systemdUnit(service, facts));
      await must('daemon-reload');
      const read = properties((await systemctl('show', UNIT, '--property=LoadState,FragmentPath')).out);
      if (read.LoadState !== 'loaded' || read.FragmentPath !== file) {
        throw new IdlewildError(
          'internal',
          `systemd of this user reads ${read.FragmentPath || 'nothing'} (${read.LoadState ?? ''}) and not ${file}; ` +
            'remove what is in the way, or unset XDG_CONFIG_HOME',
        );
      }
      await must('enable', UNIT);
      await must('restart', UNIT);
    },
    async uninstall() {
      // Of one that is not there it says so and changes nothing.
      await systemctl('disable', '--now', UNIT);
      machine.remove(file);
      await systemctl('daemon-reload');
      await systemctl('reset-failed', UNIT);
    },
    state: async () => stateIn((await systemctl('show', UNIT, `--property=${PROPERTIES.join(',')}`)).out),
    linger: lingerOf(machine, user),
  };
}

const PROPERTIES = ['LoadState', 'UnitFileState', 'ActiveState', 'MainPID', 'ExecMainCode', 'ExecMainStatus'] as const;
/** As waitid(2) has them. */
const [EXITED, KILLED, DUMPED] = ['1', '2', '3'];
const SIGNALS: Readonly<Record<string, string>> = { 6: 'SIGABRT', 9: 'SIGKILL', 11: 'SIGSEGV', 15: 'SIGTERM' };

/** From the lines of `systemctl show`. */
export function stateIn(out: string): ServiceState {
  const { UnitFileState, ActiveState, MainPID = '0', ExecMainCode, ExecMainStatus = '0' } = properties(out);
  const running = ActiveState === 'active' || ActiveState === 'reloading' || ActiveState === 'deactivating';
  const wasKilled = ExecMainCode === KILLED || ExecMainCode === DUMPED;
  const lastExit = wasKilled
    ? { signal: SIGNALS[ExecMainStatus] ?? `signal ${ExecMainStatus}` }
    : ExecMainCode === EXITED
      ? { code: Number(ExecMainStatus) }
      : undefined;
  return { enabled: UnitFileState === 'enabled', running, pid: Number(MainPID) || undefined, lastExit };
}

function properties(out: string): Partial<Record<string, string>> {
  return Object.fromEntries(
    out.split('\n').flatMap((line) => {
      const at = line.indexOf('=');
      return at === -1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
    }),
  );
}

const lingerOf = (machine: Machine, user: string): Linger => ({
  command: 'loginctl enable-linger',
  // Where logind remembers it; anybody may look.
  isOn: () => machine.exists(join('/var/lib/systemd/linger', user)),
  async turn(on) {
    const words = [on ? 'enable-linger' : 'disable-linger'];
    endedWell(`loginctl ${words.join(' ')}`, await machine.run('loginctl', words));
  },
});
