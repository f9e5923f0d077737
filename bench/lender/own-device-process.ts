/** A device with a preset as its lender chose it on the screen of `idlewild join`: it looks at the machine itself. */
import { consentOfPreset, type AgentState, type PresetName } from '@idlewild/agent';
import { startNodeAgent } from '@idlewild/agent/node';
import type { DeviceTask } from '../device-process.ts';
import { taskOf } from '../processes.ts';

export interface OwnDeviceTask {
  readonly preset: PresetName;
}

const { task, say, onStop } = await taskOf<DeviceTask & OwnDeviceTask>();
const agent = await startNodeAgent({
  data: task.data,
  name: task.name,
  invite: task.invite,
  url: task.url,
  machine: task.machine,
  lending: { v: 1, preset: task.preset, rules: {} },
  consent: { kinds: ['answers'], ...consentOfPreset(task.preset, task.machine) },
  log: (level, message) => {
    if (level === 'error') process.stderr.write(`${message}\n`);
  },
  onState: (state: AgentState) => say(state),
});
onStop(() => agent.stop());
say(agent.state());
