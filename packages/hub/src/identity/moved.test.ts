import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import type { LocalDevice } from '../session/connected-device.ts';
import { noteMoved, readMoved, watchMoved } from './moved.ts';
import { createMemorySecrets } from './secrets.ts';

const device = (id: string): LocalDevice => ({ id }) as LocalDevice;

test('what was noted comes back, and is gone when the territory is here again', async () => {
  const secrets = createMemorySecrets();
  expect(await readMoved(secrets)).toBeUndefined();
  const to = { url: 'https://new.example:7860', pin: new Uint8Array(32).fill(7), session: true };
  await noteMoved(secrets, to);
  expect(await readMoved(secrets)).toEqual(to);
  await noteMoved(secrets, undefined);
  expect(await readMoved(secrets)).toBeUndefined();
});

test('each device that is connected is told once, one that comes back again, and nobody once it is over', async () => {
  const clock = createFakeClock(async () => {});
  const secrets = createMemorySecrets();
  const told: string[] = [];
  let connected = [device('a'), device('b')];
  const watch = watchMoved(
    { secrets, clock, log: silentLog },
    {
      list: () => connected.values(),
      move: (devices, _, __, to) => told.push(...devices.map(({ id }) => `${id} ${to?.url}`)),
    },
  );
  const look = () => clock.advance(HUB_LIMITS.movedReadMs);
  await look();
  expect(told.splice(0)).toEqual([]);
  await noteMoved(secrets, { url: 'https://new' });
  await look();
  await look();
  expect(told.splice(0)).toEqual(['a https://new', 'b https://new']);
  connected = [connected[0] as LocalDevice, device('b'), device('c')];
  await look();
  expect(told.splice(0)).toEqual(['b https://new', 'c https://new']);
  await noteMoved(secrets, { url: 'https://newer' });
  await look();
  expect(told.splice(0)).toHaveLength(3);
  await noteMoved(secrets, undefined);
  connected = [device('d')];
  await look();
  expect(told).toEqual([]);
  watch.stop();
});
