/** A device with a preset as its lender chose it on the screen of `idlewild join`: it looks at the machine itself. */
import { consentOfPreset, type PresetName } from '@idlewild/agent';
import { startNodeAgent } from '@idlewild/agent/node';
import { deviceOptions, type DeviceTask } from '../device-options.ts';
import { taskOf } from '../processes.ts';

export interface OwnDeviceTask {
  readonly preset: PresetName;
}

const { task, say, onStop } = await taskOf<DeviceTask & OwnDeviceTask>();
const agent = await startNodeAgent({
  ...deviceOptions(task, say),
  lending: { v: 1, preset: task.preset, rules: {} },
  consent: { kinds: ['answers'], ...consentOfPreset(task.preset, task.machine) },
});
onStop(() => agent.stop());
say(agent.state());
