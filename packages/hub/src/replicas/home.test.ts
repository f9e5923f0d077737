/** Claims about leases that a device says it has. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import type { Bus, BusMessage } from '../bus/port.ts';
import type { LocalDevice } from '../session/connected-device.ts';
import { framesSchema, readAs, write, type Order } from './fleet-wire.ts';
import { createHome, type HomeDeps } from './home.ts';
import { FLEET_LIMITS } from './limits.ts';

const LEASE = 'att_of_the_other';

function setUp(passGapMs = 0) {
  const clock = createFakeClock(async () => {});
  const published: string[] = [];
  const messages: Uint8Array[] = [];
  const revoked: string[] = [];
  const listeners = new Map<string, (message: BusMessage) => void>();
  const bus = {
    publish(subject: string, bytes: Uint8Array) {
      published.push(subject);
      messages.push(bytes);
    },
    subscribe(subject: string, listener: (message: BusMessage) => void) {
      listeners.set(subject, listener);
      return { stop: () => listeners.delete(subject) };
    },
  } as unknown as Bus;
  const local = {
    resume: () => {},
    revokeLease: (device: LocalDevice, lease: string) => void revoked.push(`${device.id} ${lease}`),
  } as unknown as ReturnType<HomeDeps['local']>;
  const home = createHome({ bus, clock, local: () => local, passGapMs, onChanged: () => {} });
  const join = (id: string, leases: readonly string[]): LocalDevice => {
    const attempts = leases.map((lease) => ({ lease, epoch: 1, tokens: 0 }));
    const device = { id, status: { attempts }, leases: new Set<string>() } as unknown as LocalDevice;
    home.onJoin(device);
    return device;
  };
  const order = (device: string, asked: Order): void =>
    listeners.get(`dev.${device}`)?.({ subject: '', bytes: write(asked), respond: () => {} });
  return { clock, home, join, order, published, messages, revoked };
}

test('a device that claims the lease of another gets nothing by it', async () => {
  const { clock, home, join, order, published, revoked } = setUp();
  const honest = join('dev_a', [LEASE]);
  order('dev_a', { k: 'resume', from: 'rep_b', ownerEpoch: 2, lease: LEASE, epoch: 1, at: 0 });
  const liar = join('dev_b', [LEASE]);
  expect(liar.leases.size).toBe(0);
  expect(home.forward(liar, LEASE, new Uint8Array(), false)).toBe(false);
  await clock.advance(2 * FLEET_LIMITS.claimMs);
  expect(revoked).toEqual([]);
  expect(home.forward(honest, LEASE, new Uint8Array(), false)).toBe(true);
  expect(published).toEqual(['rep.rep_b.ans']);
});

test('a device that comes back has its own leases, and nobody who wants them', async () => {
  const { clock, join, revoked } = setUp();
  join('dev_a', [LEASE]);
  const again = join('dev_a', [LEASE]);
  expect([...again.leases]).toEqual([LEASE]);
  await clock.advance(FLEET_LIMITS.claimMs);
  expect(revoked).toEqual([`dev_a ${LEASE}`]);
});

test('frames of one moment go to their owner together and in order, and one alone does not wait', async () => {
  const gapMs = 3;
  const { clock, home, join, order, published, messages } = setUp(gapMs);
  const device = join('dev_a', [LEASE]);
  order('dev_a', { k: 'resume', from: 'rep_b', ownerEpoch: 2, lease: LEASE, epoch: 1, at: 0 });
  for (const i of [0, 1, 2]) home.forward(device, LEASE, Uint8Array.of(i), false);
  expect(published).toEqual(['rep.rep_b.ans']);
  await clock.advance(gapMs);
  const told = messages.map((bytes) => readAs(framesSchema, bytes)?.map(([lease, frame]) => [lease, ...frame]));
  expect(told).toEqual([
    [[LEASE, 0]],
    [
      [LEASE, 1],
      [LEASE, 2],
    ],
  ]);
  await clock.advance(gapMs);
  home.forward(device, LEASE, Uint8Array.of(3), false);
  expect(published).toHaveLength(3);
});
