/**
 * What a desktop tells over the message bus of the lender's session: GNOME for how long nobody has touched anything,
 * and when somebody does; most desktops whether the screen saver is up; GNOME and KDE whether a program keeps the
 * screen on, which stands for "full-screen" where windows are nobody else's business (Wayland).
 *
 * `org.freedesktop.ScreenSaver` has a call for idle time, too. It is not asked: some answer it in seconds and some in
 * milliseconds.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { Probe } from '../probe.ts';
import { propertyOf, type Bus } from './dbus.ts';
import type { DBusCall } from './dbus-format.ts';
import type { Link } from './link.ts';

const MUTTER = {
  destination: 'org.gnome.Mutter.IdleMonitor',
  path: '/org/gnome/Mutter/IdleMonitor/Core',
  interface: 'org.gnome.Mutter.IdleMonitor',
} as const;

const SAVERS: readonly DBusCall[] = ['gnome', 'freedesktop', 'mate', 'cinnamon'].map((desktop) => ({
  destination: `org.${desktop}.ScreenSaver`,
  path: `/org/${desktop}/ScreenSaver`,
  interface: `org.${desktop}.ScreenSaver`,
  member: 'GetActive',
}));

const GNOME_SESSION = 'org.gnome.SessionManager';
/** Of GNOME's inhibited actions: the session counts as idle. */
const GNOME_IDLE = 8;
const KDE_AGENT = 'org.kde.Solid.PowerManagement.PolicyAgent';
/** Of KDE's policies: the screen may be dimmed or turned off. */
const KDE_SCREEN = 4;

/** Who is on the bus, asked anew now and then: a desktop starts after us, or is replaced. */
interface Names {
  has(bus: Bus, name: string): Promise<boolean>;
}

export function createNames(clock: Clock): Names {
  let known: { readonly bus: Bus; readonly names: ReadonlySet<unknown>; readonly atMs: number } | undefined;
  return {
    async has(bus, name) {
      const now = clock.monotonic();
      if (known === undefined || known.bus !== bus || now - known.atMs >= SIGNAL_LIMITS.reconnectMs) {
        const call = { destination: 'org.freedesktop.DBus', path: '/', interface: 'org.freedesktop.DBus' };
        const listed = (await bus.ask({ ...call, member: 'ListNames' }))?.[0];
        known = { bus, names: new Set(Array.isArray(listed) ? listed : []), atMs: now };
      }
      return known.names.has(name);
    },
  };
}

/** GNOME's idle monitor. */
export function createMutterProbe(link: Link<Bus>, names: Names): Probe {
  let watched: Bus | undefined;
  let isArmed = false;
  let isTold = false;
  let listener: (() => void) | undefined;

  /** A watch goes off once, with the next input. */
  function arm(bus: Bus): void {
    if (watched !== bus) {
      bus.onSignal({ interface: MUTTER.interface, member: 'WatchFired' }, () => {
        if (isArmed) listener?.();
        isArmed = false;
      });
      [watched, isArmed] = [bus, false];
    }
    if (isArmed) return;
    isArmed = true;
    void bus.ask({ ...MUTTER, member: 'AddUserActiveWatch' });
  }
  return {
    sources: () => (isTold ? { inputIdleMs: "GNOME's idle monitor" } : {}),
    async read() {
      isTold = false;
      const bus = await link.get();
      if (bus === undefined || !(await names.has(bus, MUTTER.destination))) return {};
      const idleMs = (await bus.ask({ ...MUTTER, member: 'GetIdletime' }))?.[0];
      if (typeof idleMs !== 'number') return {};
      isTold = true;
      if (listener !== undefined && idleMs >= SIGNAL_LIMITS.awayMs) arm(bus);
      return { inputIdleMs: idleMs };
    },
    onInput(listen) {
      listener = listen;
    },
  };
}

export function createDesktopProbe(link: Link<Bus>, names: Names, isWayland: () => boolean): Probe {
  let saver = false;
  let keeper: string | undefined;

  async function isSaverUp(bus: Bus): Promise<boolean | undefined> {
    for (const call of SAVERS) {
      if (!(await names.has(bus, call.destination))) continue;
      const up = (await bus.ask(call))?.[0];
      if (typeof up === 'boolean') return up;
    }
    return undefined;
  }
  async function isScreenKeptOn(bus: Bus): Promise<boolean | undefined> {
    if (await names.has(bus, GNOME_SESSION)) {
      const path = '/org/gnome/SessionManager';
      const actions = (await bus.ask(propertyOf(GNOME_SESSION, path, GNOME_SESSION, 'InhibitedActions')))?.[0];
      keeper = 'GNOME';
      if (typeof actions === 'number') return (actions & GNOME_IDLE) !== 0;
    }
    if (await names.has(bus, KDE_AGENT)) {
      const agent = { destination: KDE_AGENT, path: '/org/kde/Solid/PowerManagement/PolicyAgent' };
      const asked = { member: 'HasInhibition', signature: 'u', args: [KDE_SCREEN] };
      const isKept = (await bus.ask({ ...agent, interface: KDE_AGENT, ...asked }))?.[0];
      keeper = 'KDE';
      if (typeof isKept === 'boolean') return isKept;
    }
    keeper = undefined;
    return undefined;
  }
  return {
    sources: () => ({
      ...(saver ? { locked: 'the screen saver of your desktop' } : {}),
      ...(keeper === undefined ? {} : { fullScreen: `whether a program keeps the screen on (${keeper})` }),
    }),
    async read() {
      const bus = await link.get();
      const locked = bus === undefined ? undefined : await isSaverUp(bus);
      const fullScreen = bus === undefined || !isWayland() ? undefined : await isScreenKeptOn(bus);
      saver = locked !== undefined;
      if (fullScreen === undefined) keeper = undefined;
      return { ...(locked === undefined ? {} : { locked }), ...(fullScreen === undefined ? {} : { fullScreen }) };
    },
  };
}

/** NetworkManager's word for "this network costs by the byte", or its guess: a phone's hotspot. */
export function createNetworkProbe(link: Link<Bus>): Probe {
  const NETWORK = 'org.freedesktop.NetworkManager';
  const [yes, no, guessYes, guessNo] = [1, 2, 3, 4];
  let isTold = false;
  return {
    sources: () => (isTold ? { meteredNetwork: 'NetworkManager' } : {}),
    async read() {
      const bus = await link.get();
      const path = '/org/freedesktop/NetworkManager';
      const metered = (await bus?.ask(propertyOf(NETWORK, path, NETWORK, 'Metered')))?.[0];
      const isMetered = metered === yes || metered === guessYes;
      isTold = isMetered || metered === no || metered === guessNo;
      return isTold ? { meteredNetwork: isMetered } : {};
    },
  };
}
