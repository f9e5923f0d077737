/** The service manager of this machine, and the machine itself. */
import { homedir, userInfo } from 'node:os';
import { IdlewildError } from '@idlewild/protocol';
import { createLaunchd } from './launchd.ts';
import type { ServicePorts } from './install.ts';
import { thisMachine as machine } from './machine.ts';
import type { ServiceManager } from './manager.ts';
import { createSystemd } from './systemd.ts';
import { createTaskScheduler } from './task-scheduler.ts';

export const portsHere = (): ServicePorts => ({ manager: managerHere(process.platform), machine });

/** Throws `usage` on a system that has none of the three. */
function managerHere(platform: string): ServiceManager {
  const home = homedir();
  const { env } = process;
  if (platform === 'linux') return createSystemd({ machine, home, env, user: userInfo().username });
  if (platform === 'darwin') return createLaunchd({ machine, home, userId: userInfo().uid });
  if (platform === 'win32') return createTaskScheduler({ machine, home, env });
  throw new IdlewildError(
    'usage',
    `on ${platform} no service can be made; let what starts programs there start \`idlewild join\``,
  );
}
