/** A process full of light devices, which says how many of them are connected. */
import { startLightDevices } from '@idlewild/agent/testing';
import { fromHex } from '@idlewild/protocol';
import { taskOf } from '../processes.ts';
import type { LightSaid, LightTask } from './light.ts';

const SAY_MS = 100;

const { task, say, onStop } = await taskOf<LightTask>();
const told = { connected: 0, ended: 0, why: '', putOff: 0 };
let last = '';
setInterval(() => {
  const now = JSON.stringify(told);
  if (now !== last) say(told satisfies LightSaid);
  last = now;
}, SAY_MS);
// The system ends their sockets with the process: nobody waits for thousands of farewells.
onStop(async () => undefined);
await startLightDevices({
  ...task,
  territory: fromHex(task.territory),
  onEvent(event) {
    if (event.t === 'backOff') told.putOff++;
    else if (event.t !== 'ended') told.connected += event.t === 'opened' ? 1 : -1;
    else {
      told.ended++;
      told.why = event.code ?? 'stopped';
    }
  },
});
