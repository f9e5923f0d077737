/** A device as `idlewild join` starts it, with the bench's threads and slots. Says each of its states. */
import { startNodeAgent } from '@idlewild/agent/node';
import type { AgentState } from '@idlewild/agent';
import type { Machine } from '@idlewild/engine/node';
import { taskOf } from './processes.ts';

export interface DeviceTask {
  readonly data: string;
  readonly name: string;
  readonly invite: string;
  readonly url: string;
  readonly threads: number;
  readonly slots: number;
  readonly machine: Machine;
}

const { task, say, onStop } = await taskOf<DeviceTask>();
const agent = await startNodeAgent({
  data: task.data,
  name: task.name,
  invite: task.invite,
  url: task.url,
  machine: task.machine,
  consent: { kinds: ['answers'], presence: 'ignore' },
  limits: { threads: task.threads, slotsMax: task.slots },
  log: (level, message) => {
    if (level === 'error') process.stderr.write(`${message}\n`);
  },
  onState: (state: AgentState) => say(state),
});
onStop(() => agent.stop());
say(agent.state());
