/**
 * The sessions of this machine as logind (or elogind) knows them: who sits at a screen, whether it is locked, and what
 * the desktop last hinted about being idle. Over the system's message bus; every user may ask.
 */
import type { Clock } from '@idlewild/protocol';
import type { Probe } from '../probe.ts';
import type { Bus } from './dbus.ts';
import { propertiesOf } from './dbus.ts';
import type { DBusValue } from './dbus-format.ts';
import type { Link } from './link.ts';

export interface Session {
  readonly userId: number;
  /** `x11`, `wayland`, `mir`: has windows; `tty`: text. */
  readonly type: string;
  readonly display: string;
  readonly isLocked: boolean;
  /** Absent: the desktop says that somebody is there, or never says anything. */
  readonly idleSinceMs: number | undefined;
}

export interface Logind extends Probe {
  /** Of people at this machine's screens, those that are shown now. */
  sessions(): readonly Session[];
  /** What desktops hinted; absent: no session with windows. */
  hintedIdleMs(): number | undefined;
}

const NAME = 'org.freedesktop.login1';
const SESSIONS_MAX = 32;

export function createLogind(bus: Link<Bus>, clock: Clock): Logind {
  let sessions: readonly Session[] = [];
  const withWindows = (): Session[] => sessions.filter(({ type }) => /^(x11|wayland|mir)$/.test(type));
  return {
    sessions: () => sessions,
    hintedIdleMs() {
      const idle = withWindows().map(({ idleSinceMs }) =>
        idleSinceMs === undefined ? 0 : Math.max(0, clock.now() - idleSinceMs),
      );
      return idle.length === 0 ? undefined : Math.min(...idle);
    },
    sources: () => (withWindows().length > 0 ? { locked: 'your session (logind)' } : {}),
    async read() {
      const open = await bus.get();
      sessions = open === undefined ? [] : await ask(open);
      const screens = withWindows();
      return screens.length === 0 ? {} : { locked: screens.every(({ isLocked }) => isLocked) };
    },
  };
}

async function ask(bus: Bus): Promise<readonly Session[]> {
  const manager = { destination: NAME, path: '/org/freedesktop/login1', interface: `${NAME}.Manager` };
  const listed = (await bus.ask({ ...manager, member: 'ListSessions' }))?.[0];
  const paths = (Array.isArray(listed) ? (listed as readonly DBusValue[]) : []).flatMap((row) => {
    const path = Array.isArray(row) ? (row as readonly DBusValue[])[4] : undefined;
    return typeof path === 'string' ? [path] : [];
  });
  const answers = await Promise.all(
    paths.slice(0, SESSIONS_MAX).map((path) => bus.ask(propertiesOf(NAME, path, `${NAME}.Session`))),
  );
  return answers.flatMap((answer) => readSession(answer?.[0]));
}

function readSession(answer: DBusValue): Session[] {
  if (typeof answer !== 'object' || Array.isArray(answer)) return [];
  const has = answer as Readonly<Record<string, DBusValue>>;
  // A greeter is nobody's; whoever came over the network has no screen here; and another's session may be behind ours.
  if (has['Class'] !== 'user' || has['Remote'] === true || has['Active'] !== true) return [];
  const owner = has['User'];
  const [userId] = Array.isArray(owner) ? (owner as readonly DBusValue[]) : [];
  const sinceMicros = has['IdleHint'] === true ? has['IdleSinceHint'] : undefined;
  return [
    {
      userId: typeof userId === 'number' ? userId : -1,
      type: typeof has['Type'] === 'string' ? has['Type'] : 'tty',
      display: typeof has['Display'] === 'string' ? has['Display'] : '',
      isLocked: has['LockedHint'] === true,
      idleSinceMs: typeof sinceMicros === 'number' && sinceMicros > 0 ? sinceMicros / 1000 : undefined,
    },
  ];
}
