/** `idlewild lending pause` and `resume`: the lender's own pause, of a device that runs or is to run again. */
import type { KeptPause } from '@idlewild/agent';
import { keepPause, readKeptPause } from '@idlewild/agent/node';
import type { Context } from '../context.ts';
import { spanText } from '../text/units.ts';
import { withDevice } from './ask-device.ts';

export async function pause(
  context: Context,
  { data, forMs }: { readonly data: string; readonly forMs: number | undefined },
): Promise<void> {
  const { untilMs, running } = await withDevice(
    data,
    async (client) => ({ ...((await client.ask({ do: 'pause', forMs })) as KeptPause), running: true }),
    async () => {
      const nowMs = Date.now();
      const sinceMs = (await readKeptPause(data))?.sinceMs ?? nowMs;
      const kept: KeptPause = { sinceMs, ...(forMs === undefined ? {} : { untilMs: nowMs + forMs }) };
      await keepPause(data, kept);
      return { ...kept, running: false };
    },
  );
  const how = forMs === undefined ? 'until it is resumed' : `for ${spanText(forMs / 1_000)}`;
  const value = { paused: true, until: untilMs === undefined ? null : new Date(untilMs).toISOString(), running };
  context.show(value, () => [running ? `paused ${how}` : `paused ${how}; the device does not run now`]);
}

export async function resume(context: Context, { data }: { readonly data: string }): Promise<void> {
  const running = await withDevice(
    data,
    async (client) => {
      await client.ask({ do: 'resume' });
      return true;
    },
    async () => {
      await keepPause(data, undefined);
      return false;
    },
  );
  context.show({ paused: false, until: null, running }, () => [
    running ? 'resumed' : 'resumed; the device does not run now',
  ]);
}
