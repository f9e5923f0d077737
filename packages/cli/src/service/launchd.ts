/** launchd of the person who is logged in at the screen: an agent in `~/Library/LaunchAgents`. */
import { join } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';
import { LABEL, launchdAgent } from './launchd-agent.ts';
import { endedWell, firstLine, type Machine, type Ran, type ServiceManager, type ServiceState } from './manager.ts';

export interface LaunchdOptions {
  readonly machine: Machine;
  readonly home: string;
  readonly userId: number;
}

/** Between looks whether the old one is gone. */
const LOOK_MS = 500;
/** Longer than it is given to stop; to start one that is still there fails. */
const LOOKS_MAX = 80;

export function createLaunchd({ machine, home, userId }: LaunchdOptions): ServiceManager {
  const file = join(home, 'Library', 'LaunchAgents', `${LABEL}.plist`);
  const domain = `gui/${userId}`;
  const launchctl = (...words: string[]): Promise<Ran> => machine.run('/bin/launchctl', words);
  async function remove(): Promise<void> {
    await launchctl('bootout', `${domain}/${LABEL}`);
    for (let look = 0; look < LOOKS_MAX; look++) {
      if ((await launchctl('list', LABEL)).code !== 0) return;
      await machine.wait(LOOK_MS);
    }
    throw new IdlewildError('internal', `launchd does not let go of ${LABEL}; log out and in again, then repeat this`);
  }
  return {
    name: 'launchd',
    file,
    look: `launchctl print ${domain}/${LABEL}`,
    text: launchdAgent,
    async check() {
      const { code, err } = await launchctl('print', domain);
      if (code === 0) return;
      throw new IdlewildError(
        'usage',
        `nobody is logged in at the screen as this user (launchctl: ${code}, ${firstLine(err)}); ` +
          'log in there, and install from there',
      );
    },
    async install(service, facts) {
      await remove();
      machine.write(file, launchdAgent(service, facts));
      // One that was disabled by hand stays so over a removal, and is refused.
      await launchctl('enable', `${domain}/${LABEL}`);
      endedWell(`launchctl bootstrap ${domain} ${file}`, await launchctl('bootstrap', domain, file));
    },
    async uninstall() {
      await remove();
      machine.remove(file);
    },
    async state() {
      const listed = await launchctl('list', LABEL);
      return listed.code === 0 ? stateIn(listed.out) : GONE;
    },
  };
}

const GONE: ServiceState = { enabled: false, running: false, pid: undefined, lastExit: undefined };

/** From what `launchctl list LABEL` prints; its status is one of wait(2), 0 also before the first end. */
export function stateIn(out: string): ServiceState {
  const number = (name: string): number | undefined => {
    const text = new RegExp(`"${name}" = (-?\\d+);`).exec(out)?.[1];
    return text === undefined ? undefined : Number(text);
  };
  const pid = number('PID');
  const status = number('LastExitStatus');
  const signal = (status ?? 0) & 0x7f;
  const code = (status ?? 0) >> 8;
  const isRunning = pid !== undefined;
  const never = status === undefined || (status === 0 && isRunning);
  const lastExit = never ? undefined : signal === 0 ? { code } : { signal: `signal ${signal}` };
  return { enabled: true, running: isRunning, pid, lastExit };
}
