/**
 * Keyboards, mice, touch screens and game pads themselves (`/dev/input`), where this user may read them: root, or the
 * group `input`. It learns that one was touched, at once; what was pressed is thrown away unread.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { Probe } from '../probe.ts';
import type { EventDevice, System } from '../system.ts';

export interface EventDevices extends Probe {
  readonly count: () => number;
}

export function createEventDevices(system: System, clock: Clock): EventDevices {
  const devices = new Map<string, EventDevice>();
  let listener: (() => void) | undefined;
  let touchedMs = clock.monotonic();
  let discoveredMs = -Infinity;
  let timer: Timer | undefined;

  function discover(): void {
    discoveredMs = clock.monotonic();
    for (const path of touchable(system.peek('/proc/bus/input/devices'))) {
      if (devices.has(path) || devices.size >= SIGNAL_LIMITS.eventDevicesMax) continue;
      const device = system.openEvents(path);
      if (device === undefined) continue;
      devices.set(path, device);
      // What came before we looked is of no known time.
      device.drain();
    }
  }
  function look(): void {
    let isTouched = false;
    for (const [path, device] of devices) {
      const seen = device.drain();
      if (seen === 'some') isTouched = true;
      if (seen !== 'gone') continue;
      device.close();
      devices.delete(path);
    }
    if (!isTouched) return;
    touchedMs = clock.monotonic();
    listener?.();
  }
  function keepLooking(): void {
    timer = clock.after(SIGNAL_LIMITS.eventsEveryMs, () => {
      look();
      if (devices.size > 0) keepLooking();
      else timer = undefined;
    });
  }

  return {
    count: () => devices.size,
    sources: () => (devices.size > 0 ? { inputIdleMs: `events of ${devices.size} keyboards, mice and the like` } : {}),
    read() {
      if (clock.monotonic() - discoveredMs >= SIGNAL_LIMITS.sensorsEveryMs) discover();
      if (timer === undefined && listener !== undefined && devices.size > 0) keepLooking();
      look();
      return devices.size > 0 ? { inputIdleMs: clock.monotonic() - touchedMs } : {};
    },
    onInput(listen) {
      listener = listen;
      if (timer === undefined && devices.size > 0) keepLooking();
    },
    close() {
      timer?.cancel();
      listener = undefined;
      for (const device of devices.values()) device.close();
      devices.clear();
    },
  };
}

/**
 * Of the kernel's list, those that a person touches: what has a handler of keys, of a pointer or of a game pad. A
 * sensor of movement has a pointer's axes and moves with the table that it stands on.
 */
function touchable(list: string | undefined): string[] {
  return (list ?? '').split('\n\n').flatMap((device) => {
    const handlers = /^H: Handlers=(.*)$/m.exec(device)?.[1]?.split(' ') ?? [];
    const event = handlers.find((name) => /^event\d+$/.test(name));
    const properties = Number.parseInt(/^B: PROP=([0-9a-f]+)$/m.exec(device)?.[1] ?? '0', 16);
    const isSensor = (properties & (1 << 6)) !== 0;
    const isTouched = handlers.some((name) => /^(kbd|mouse\d+|js\d+)$/.test(name));
    return event === undefined || isSensor || !isTouched ? [] : [`/dev/input/${event}`];
  });
}
