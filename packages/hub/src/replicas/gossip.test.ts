/** Claims about what a replica tells of very many devices, or of some that say very much of themselves. */
import { decodeCbor } from '@idlewild/protocol';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { BUS_BYTES_MAX, type Bus } from '../bus/port.ts';
import type { LocalDevice } from '../session/connected-device.ts';
import { write, type Changes } from './fleet-wire.ts';
import { createGossip } from './gossip.ts';
import { FLEET_LIMITS } from './limits.ts';
import { plainSeer } from '../testing/texts.ts';

const DEVICES = 200;
/** As much as a device can say of itself: what all of them say does not fit into one message. */
const models = Array.from({ length: 32 }, (_, index) => ({
  cid: `bafy${index}`.padEnd(64, 'x'),
  state: 'failed' as const,
  fraction: 0,
  reason: '語'.repeat(512),
}));

function setUp() {
  const clock = createFakeClock(async () => {});
  const devices = Array.from({ length: DEVICES }, (_, index): LocalDevice => {
    const id = `dev_${String(index).padStart(4, '0')}`;
    const status = { state: 'ready', pauseReasons: [], slots: 1, active: 0, models };
    const key = new Uint8Array(32);
    const device = { id, session: `ses_${index}`, name: id, territory: 'ter_a', publicKey: key, joinedAtMs: 1 };
    const said = { status, draining: false, wanted: [], leases: new Set<string>() };
    return { ...device, ...said, features: [], ...plainSeer() } as unknown as LocalDevice;
  });
  const messages: Uint8Array[] = [];
  const bus = {
    publish(_subject: string, bytes: Uint8Array) {
      if (bytes.length > BUS_BYTES_MAX) throw new Error(`a message of ${bytes.length} bytes`);
      messages.push(bytes);
    },
  } as unknown as Bus;
  const local = { get: () => undefined, list: () => devices.values() };
  const gossip = createGossip({ replica: 'rep_a', bus, isAlone: false, clock, local: () => local });
  const told = (): Changes[] => messages.splice(0).map((bytes) => decodeCbor(bytes, 'a message') as Changes);
  return { clock, devices, gossip, told };
}

test('what does not fit into one message goes with the next: nothing is lost, and nothing told twice', async () => {
  const { clock, devices, gossip, told } = setUp();
  for (const device of devices) gossip.joined(device);
  await clock.advance(1_000);
  const joins = told();
  expect(joins.length).toBeGreaterThan(1);
  expect(joins.map(({ n }) => n)).toEqual(joins.map((_, index) => index + 1));
  expect(joins.flatMap(({ joined }) => joined.map(({ id }) => id))).toEqual(devices.map(({ id }) => id));

  for (const device of devices) {
    device.draining = true;
    gossip.changed(device);
  }
  await clock.advance(1_000);
  expect(told().flatMap(({ changed }) => changed.map(({ id }) => id))).toEqual(devices.map(({ id }) => id));

  for (const device of devices) gossip.gone(device, 'disconnected', 'its line was cut');
  await clock.advance(1_000);
  expect(told().flatMap(({ gone }) => gone.map(({ id }) => id))).toEqual(devices.map(({ id }) => id));
});

test('whoever asks for all devices gets them a page at a time, each small enough for the bus', () => {
  const { devices, gossip } = setUp();
  const seen: string[] = [];
  for (let after: string | undefined = ''; after !== undefined;) {
    const page = gossip.page(after);
    expect(write(page).length).toBeLessThan(BUS_BYTES_MAX);
    seen.push(...page.devices.map(({ id }) => id));
    expect(page.next).not.toBe(after);
    after = page.next;
  }
  expect(seen).toEqual(devices.map(({ id }) => id));
});

test('a round trip is told when it has become another, and not at every beat', async () => {
  const { clock, devices, gossip, told } = setUp();
  const [device] = devices as [LocalDevice];
  const roundTripsTold = (): (number | undefined)[] =>
    told().flatMap(({ changed }) => changed.map(({ status }) => status.roundTripMs));
  const beat = async (roundTripMs: number): Promise<void> => {
    device.status = { ...device.status, roundTripMs };
    gossip.changed(device);
    await clock.advance(5_000);
  };
  device.status = { ...device.status, models: [] };
  gossip.joined(device);
  await clock.advance(FLEET_LIMITS.roundTripToldMs);
  told();
  for (const roundTripMs of [20, 400, 30, 900, 25, 35, 39, 12]) await beat(roundTripMs);
  expect(roundTripsTold()).toEqual([20]);
  await beat(90);
  expect(roundTripsTold()).toEqual([90]);

  device.draining = true;
  await beat(500);
  expect(roundTripsTold()).toEqual([90]);
});
