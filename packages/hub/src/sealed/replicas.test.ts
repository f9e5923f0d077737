/** Claims about sealed prompts over several replicas: offers, prompts and devices may each be with another one. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { equalBytes, signStatement } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
import type { Offer } from './port.ts';
import { answer, createReplicatedWorld, leases, ordersOf } from './testing/replicated-world.ts';

test.each([
  ['home', 'other'],
  ['other', 'home'],
  ['other', 'other'],
] as const)('an offer of one (%s) is taken by another (%s), also of the only slot', async (offering, taking) => {
  const world = await createReplicatedWorld(() => nextTurn());
  const offer = await world.offer(world[offering]);
  await world.clock.advance(50);
  const said = await world.submit(world[taking], offer);
  expect(ordersOf(world.device)).toHaveLength(1);
  answer(world.device);
  await world.clock.advance(100);
  expect(said).toEqual(['part 0', 'part 1', 'done 2']);
  await world.clock.advance(HUB_LIMITS.offerHoldMs + 500);
  expect(leases(world.home)).toBe(0);
  // Nothing of the offer is left that would keep the slot from the next.
  expect((await world.offer(world.home)).lease).not.toBe(offer.lease);
});

test('offers wait for a slot elsewhere, and what is lost there is told here', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const running = await world.submit(world.home, await world.offer(world.home));
  let next: Offer | undefined;
  void world.offer(world.other).then((offer) => (next = offer));
  await world.clock.advance(500);
  expect(next).toBeUndefined();
  answer(world.device);
  await world.clock.advance(500);
  expect(running.at(-1)).toBe('done 2');
  const said = await world.submit(world.other, next as unknown as Offer);
  expect(ordersOf(world.device)).toHaveLength(2);
  world.device.link.cut('the plug was pulled');
  await world.clock.advance(FLEET_LIMITS.gossipMs * 4);
  expect(said).toEqual(['lost disconnected']);
});

test('a new key of a device is known everywhere', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const { device, clock, other } = world;
  const fresh = await nodeCrypto.agreementKey(new Uint8Array(32).fill(77));
  const life = { issuedAtMs: clock.now(), expiresAtMs: clock.now() + 86_400_000 };
  const said = { v: 1, device: device.key.publicKey, key: fresh.publicKey, ...life };
  const key = await signStatement('agreement-key', said, device.key, nodeCrypto);
  device.send({ t: 'agreement', key });
  await clock.advance(FLEET_LIMITS.gossipMs * 4);
  expect(equalBytes((await world.offer(other)).agreementKey, key)).toBe(true);
});
