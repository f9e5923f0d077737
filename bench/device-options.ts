/** What every device of a bench is started with, whatever its lender chose. */
import type { AgentState } from '@idlewild/agent';
import type { NodeAgentOptions } from '@idlewild/agent/node';
import type { Machine } from '@idlewild/engine/node';

export interface DeviceTask {
  readonly data: string;
  readonly name: string;
  readonly invite: string;
  readonly url: string;
  readonly threads: number;
  readonly slots: number;
  readonly machine: Machine;
}

type Common = Pick<NodeAgentOptions, 'data' | 'name' | 'invite' | 'url' | 'machine' | 'log' | 'onState'>;

export const deviceOptions = (
  { data, name, invite, url, machine }: DeviceTask,
  say: (state: AgentState) => void,
): Common => ({
  data,
  name,
  invite,
  url,
  machine,
  log: (level, message) => {
    if (level === 'error') process.stderr.write(`${message}\n`);
  },
  onState: say,
});
