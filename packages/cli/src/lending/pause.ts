/** `idlewild lending pause` and `resume`: the lender's own pause, of a device that runs or is to run again. */
import type { KeptPause, LendingStatus } from '@idlewild/agent';
import { heldPause, keepPause, pauseResting } from '@idlewild/agent/node';
import type { Context } from '../context.ts';
import { momentText, spanText } from '../text/units.ts';
import { withDevice } from './ask-device.ts';

export async function pause(
  context: Context,
  { data, forMs }: { readonly data: string; readonly forMs: number | undefined },
): Promise<void> {
  const { untilMs, running } = await withDevice(
    data,
    async (client) => ({ ...((await client.ask({ do: 'pause', forMs })) as KeptPause), running: true }),
    async () => ({ ...(await pauseResting(data, Date.now(), forMs)), running: false }),
  );
  const how =
    forMs === undefined || untilMs === undefined
      ? 'until it is resumed'
      : `for ${spanText(forMs / 1_000)}, until ${momentText(untilMs)}`;
  const value = { paused: true, until: untilMs === undefined ? null : new Date(untilMs).toISOString(), running };
  context.show(value, () => [running ? `paused ${how}` : `paused ${how}; the device does not run now`]);
}

export async function resume(context: Context, { data }: { readonly data: string }): Promise<void> {
  const { was, running, pauses } = await withDevice<Resumed>(
    data,
    async (client) => {
      const { paused } = (await client.ask({ do: 'status' })) as LendingStatus;
      await client.ask({ do: 'resume' });
      const { pauses: left } = (await client.ask({ do: 'status' })) as LendingStatus;
      return { was: paused, running: true, pauses: left };
    },
    async () => {
      const kept = await heldPause(data, Date.now());
      await keepPause(data, undefined);
      return { was: kept, running: false, pauses: [] };
    },
  );
  const done = was === undefined ? 'its lender had not paused it' : 'resumed';
  context.show({ paused: false, until: null, running }, () => [
    running ? done : `${done}; the device does not run now`,
    ...pauses.map(({ name, text }) => `still paused, by ${name}: ${text}`),
  ]);
}

interface Resumed {
  readonly was: KeptPause | undefined;
  readonly running: boolean;
  readonly pauses: LendingStatus['pauses'];
}
