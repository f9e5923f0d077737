/**
 * Whether sound is played or recorded: a stream of a sound card that runs (`/proc/asound`), or, where sound goes over
 * Bluetooth or there is no card at all, what the sound server says (`pactl`). Which program it is, is not asked.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import type { Probe } from '../probe.ts';
import type { System } from '../system.ts';

const ASOUND = '/proc/asound';

export function createSoundCardProbe(system: System, clock: Clock): Probe {
  let streams: readonly string[] = [];
  let discoveredMs = -Infinity;
  return {
    sources: () => (streams.length > 0 ? { audio: `sound cards (${ASOUND})` } : {}),
    read() {
      if (clock.monotonic() - discoveredMs >= SIGNAL_LIMITS.discoveryEveryMs) {
        discoveredMs = clock.monotonic();
        streams = streamsOf(system);
      }
      if (streams.length === 0) return {};
      return { audio: streams.some((path) => /^state: RUNNING$/m.test(system.peek(path) ?? '')) };
    },
  };
}

function streamsOf(system: System): string[] {
  const below = (folder: string, name: RegExp): string[] =>
    system
      .list(folder)
      .filter((entry) => name.test(entry))
      .map((entry) => `${folder}/${entry}`);
  return below(ASOUND, /^card\d+$/)
    .flatMap((card) => below(card, /^pcm\d+[pc]$/))
    .flatMap((device) => below(device, /^sub\d+$/))
    .map((stream) => `${stream}/status`);
}

export function createSoundServerProbe(system: System): Probe {
  let isTold = false;
  const needs = ['XDG_RUNTIME_DIR', 'PULSE_SERVER', 'HOME'];
  return {
    sources: () => (isTold ? { audio: 'the sound server (pactl)' } : {}),
    async read() {
      const hasCards = system.list(ASOUND).some((name) => /^card\d+$/.test(name));
      const hasBluetooth = system.list('/sys/class/bluetooth').length > 0;
      const hasServer = system.list(`${system.env['XDG_RUNTIME_DIR'] ?? ''}/pulse`).includes('native');
      isTold = false;
      if (!hasServer || (hasCards && !hasBluetooth)) return {};
      const [sinks, sources] = await Promise.all(
        ['sinks', 'sources'].map((kind) => system.run('pactl', ['list', 'short', kind], needs)),
      );
      if (sinks === undefined) return {};
      isTold = true;
      return { audio: isRunning(sinks) || isRunning(sources ?? '') };
    },
  };
}

/** A monitor of an output runs with it, and is nobody's microphone. */
const isRunning = (list: string): boolean =>
  list.split('\n').some((line) => line.endsWith('\tRUNNING') && !/\.monitor\t/.test(line));
