/** A hub as `idlewild up` starts it, in a process of its own. Says its address and its steward's key, then serves. */
import { join } from 'node:path';
import { createPinoLog, startHub } from '@idlewild/hub';
import { taskOf } from './processes.ts';

export interface HubTask {
  readonly data: string;
}
export interface HubSaid {
  readonly url: string;
  readonly stewardKey: string;
}

const { task, say, onStop } = await taskOf<HubTask>();
const log = createPinoLog({ level: 'info', destination: join(task.data, 'hub.log') });
const hub = await startHub({ data: task.data, host: '127.0.0.1', port: 0, log });
onStop(() => hub.stop());
say({ url: hub.url, stewardKey: hub.stewardKey ?? '' } satisfies HubSaid);
