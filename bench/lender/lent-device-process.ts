/**
 * A device whose owner may come back: at one of several displays, or by starting a program that needs the processors.
 *
 * A touch pauses it in the turn in which the display tells of it. Load is looked for as a device does that respects its
 * owner's presence, from the moment in which it is told to, with everything but load left out. It is resumed by a word.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { DEFAULT_PAUSE_RULES, NO_PAUSE_RULES, onProcessors, startDriver } from '@idlewild/agent';
import { openSignals, startNodeAgent } from '@idlewild/agent/node';
import { systemClock } from '@idlewild/protocol/node';
import { deviceOptions, type DeviceTask } from '../device-options.ts';
import { taskOf } from '../processes.ts';

export interface LentDeviceTask {
  /** As in `DISPLAY`. */
  readonly displays: readonly string[];
}
/** `watch`: a moment from now on for load. `resume`: nobody is there any more. */
export type LentDeviceTold = 'watch' | 'resume';

/** Two readings. */
const QUIET_MS = 100;

const { task, say, onTold, onStop } = await taskOf<DeviceTask & LentDeviceTask>();
const agent = await startNodeAgent({
  ...deviceOptions(task, say),
  consent: { kinds: ['answers'], presence: 'ignore' },
  limits: { threads: task.threads, dutyShare: 1, slotsMax: task.slots },
});
for (const display of task.displays) {
  process.env['DISPLAY'] = display;
  const source = await openSignals({ clock: systemClock });
  source.onInput?.(() => agent.pause('input', `somebody is at ${display}`));
}
const source = await openSignals({ clock: systemClock });
let stopWatching = (): void => undefined;

async function watchLoad(): Promise<void> {
  stopWatching();
  // What went on before is none of its business.
  await source.read();
  await pause(QUIET_MS);
  const driver = startDriver({
    clock: systemClock,
    // It outlives the driver: opening it takes longer than a trial.
    source: { ...source, onInput: () => ({ stop: () => undefined }), close: () => undefined },
    rules: { ...NO_PAUSE_RULES, otherCpuMax: onProcessors(DEFAULT_PAUSE_RULES, task.machine.cores).otherCpuMax },
    outside: () => ({ localTime: { weekday: 0, minute: 0 }, nowMs: Date.now() }),
    // Callers ask without end: between two of their answers there is no time to rest in.
    isWorking: () => true,
    pause: (name, text, told) => agent.pause(name, text, told),
    resume: (name) => agent.resume(name),
    halt: (is) => agent.halt(is),
    onTrouble: (message) => message !== undefined && process.stderr.write(`${message}\n`),
  });
  stopWatching = () => driver.stop();
}

onTold((message) => {
  const { tell } = message as { readonly tell: LentDeviceTold };
  if (tell === 'watch') return void watchLoad();
  stopWatching();
  for (const { name } of agent.state().pauses) agent.resume(name);
});
onStop(() => agent.stop());
say(agent.state());
