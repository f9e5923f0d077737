/**
 * The lender's screen: which one it is, and what it tells of input and full-screen windows. Wayland before X11: the X
 * server inside a Wayland session sees the input of its own windows alone, and asking it might start it.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { Probe } from '../probe.ts';
import type { System } from '../system.ts';
import { createLink } from './link.ts';
import type { Session } from './logind.ts';
import { openSeat } from './wayland.ts';
import { findCookie, openDisplay } from './x11.ts';

export interface Screen extends Probe {
  /** Absent: nobody of this user sits at a screen. */
  kind(): 'wayland' | 'x11' | undefined;
}

interface Watched {
  readonly kind: 'wayland' | 'x11';
  readonly name: string;
  isOpen(): boolean;
  inputIdleMs(): Promise<number | undefined>;
  fullScreen(): Promise<boolean | undefined>;
  onInput(listen: () => void): void;
  close(): void;
}

export function createScreen(system: System, clock: Clock, sessions: () => readonly Session[]): Screen {
  let listener: (() => void) | undefined;
  let kind: 'wayland' | 'x11' | undefined;
  let idle: { readonly ms: number; readonly atMs: number } | undefined;
  let told: { readonly input: boolean; readonly window: boolean } | undefined;
  const link = createLink(clock, async () => {
    const found = await openScreen(system, clock, sessions());
    kind = found.kind;
    found.watched?.onInput(() => listener?.());
    return found.watched;
  });

  /** A display that does not answer for a moment is busy, not gone: what it said last is believed a while longer. */
  function lastIdle(seen: number | undefined): number | undefined {
    const now = clock.monotonic();
    if (seen !== undefined) idle = { ms: seen, atMs: now };
    return idle !== undefined && now - idle.atMs < SIGNAL_LIMITS.reconnectMs ? idle.ms : undefined;
  }
  return {
    kind: () => kind,
    sources() {
      const screen = link.current();
      if (screen === undefined) return {};
      return {
        ...(told?.input === true ? { inputIdleMs: screen.name } : {}),
        ...(told?.window === true ? { fullScreen: `the active window (${screen.name})` } : {}),
      };
    },
    async read() {
      const screen = await link.get();
      if (screen === undefined) {
        [idle, told] = [undefined, undefined];
        return {};
      }
      const [seen, fullScreen] = await Promise.all([screen.inputIdleMs(), screen.fullScreen()]);
      const inputIdleMs = lastIdle(seen);
      told = { input: inputIdleMs !== undefined, window: fullScreen !== undefined };
      return {
        ...(inputIdleMs === undefined ? {} : { inputIdleMs }),
        ...(fullScreen === undefined ? {} : { fullScreen }),
      };
    },
    onInput(listen) {
      listener = listen;
    },
    close: () => link.close(),
  };
}

interface Found {
  readonly kind: 'wayland' | 'x11' | undefined;
  readonly watched?: Watched | undefined;
}

async function openScreen(system: System, clock: Clock, sessions: readonly Session[]): Promise<Found> {
  const ours = sessions.filter(({ userId }) => userId === system.userId);
  const folder = system.env['XDG_RUNTIME_DIR'] ?? `/run/user/${system.userId}`;
  const named = system.env['WAYLAND_DISPLAY'];
  const socket = named ?? system.list(folder).find((name) => /^wayland-\d+$/.test(name));
  if (socket !== undefined) {
    const watched = await openWayland(system, clock, socket.startsWith('/') ? socket : `${folder}/${socket}`);
    if (watched !== undefined || named !== undefined) return { kind: 'wayland', watched };
  }
  if (ours.some(({ type }) => type === 'wayland')) return { kind: 'wayland' };
  const display = system.env['DISPLAY'] ?? ours.find(({ display }) => display !== '')?.display;
  // A display with a host before the colon is the screen of another machine, from which somebody came over ssh.
  const number = /^(?:unix)?:(\d+)(?:\.\d+)?$/.exec(display ?? '')?.[1];
  if (number === undefined) return { kind: undefined };
  const watched = await openX11(system, clock, number);
  return { kind: watched === undefined ? undefined : 'x11', watched };
}

async function openWayland(system: System, clock: Clock, path: string): Promise<Watched | undefined> {
  const socket = await system.connect(path);
  const seat = socket === undefined ? undefined : await openSeat(socket, clock);
  if (seat === undefined) return undefined;
  return {
    ...seat,
    kind: 'wayland',
    name: 'the compositor (Wayland)',
    inputIdleMs: () => Promise.resolve(seat.inputIdleMs()),
    fullScreen: () => Promise.resolve(undefined),
  };
}

async function openX11(system: System, clock: Clock, number: string): Promise<Watched | undefined> {
  const path = `/tmp/.X11-unix/X${number}`;
  const socket = (await system.connect(path)) ?? (await system.connect(`\0${path}`));
  if (socket === undefined) return undefined;
  const cookie = authorityFiles(system)
    .map((file) => findCookie(system.bytes(file) ?? new Uint8Array(), system.hostName, number))
    .find((found) => found !== undefined);
  const display = await openDisplay(socket, clock, cookie);
  return display === undefined ? undefined : { ...display, kind: 'x11', name: `display :${number} (X11)` };
}

/** Where login managers keep the key to the screen, for a service that was started without its environment. */
function authorityFiles(system: System): string[] {
  const { XAUTHORITY, HOME } = system.env;
  const runtime = `/run/user/${system.userId}`;
  const sddm = [runtime, '/tmp'].flatMap((folder) =>
    system
      .list(folder)
      .filter((name) => name.startsWith('xauth_'))
      .map((name) => `${folder}/${name}`),
  );
  return [
    XAUTHORITY,
    HOME === undefined ? undefined : `${HOME}/.Xauthority`,
    `${runtime}/gdm/Xauthority`,
    ...sddm,
  ].filter((file) => file !== undefined);
}
