/** `idlewild lending pause` and `resume`: the lender's own pause, of a device that runs or is to run again. */
import { keepPause, readKeptPause } from '@idlewild/agent/node';
import type { Context } from '../context.ts';
import { spanText } from '../text/units.ts';
import { withDevice } from './ask-device.ts';

export async function pause(
  context: Context,
  { data, forMs }: { readonly data: string; readonly forMs: number | undefined },
): Promise<void> {
  const until = forMs === undefined ? undefined : Date.now() + forMs;
  const running = await withDevice(
    data,
    async (client) => {
      await client.ask({ do: 'pause', forMs });
      return true;
    },
    async () => {
      const sinceMs = (await readKeptPause(data))?.sinceMs ?? Date.now();
      await keepPause(data, { sinceMs, ...(until === undefined ? {} : { untilMs: until }) });
      return false;
    },
  );
  const how = forMs === undefined ? 'until it is resumed' : `for ${spanText(forMs / 1_000)}`;
  const value = { paused: true, until: until === undefined ? null : new Date(until).toISOString(), running };
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
