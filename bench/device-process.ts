/**
 * A device as `idlewild join` starts it, with the bench's threads and slots. Says each of its states, and is paused and
 * resumed by a word, as by its lender.
 */
import { startNodeAgent } from '@idlewild/agent/node';
import { deviceOptions, type DeviceTask } from './device-options.ts';
import { taskOf } from './processes.ts';

/** What it may be told. */
export type DeviceTold = 'pause' | 'resume';

const { task, say, onTold, onStop } = await taskOf<DeviceTask>();
const agent = await startNodeAgent({
  ...deviceOptions(task, say),
  consent: { kinds: ['answers'], presence: 'ignore' },
  limits: { threads: task.threads, dutyShare: 1, slotsMax: task.slots },
});
onTold((message) => {
  const { tell } = message as { readonly tell: DeviceTold };
  if (tell === 'pause') agent.pause('lender', 'the bench paused it');
  else agent.resume('lender');
});
onStop(() => agent.stop());
say(agent.state());
