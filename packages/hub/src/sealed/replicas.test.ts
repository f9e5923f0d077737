/** Claims about sealed prompts over several replicas: offers, prompts and devices may each be with another one. */
import {
  LIMITS,
  createMemoryBlobStore,
  equalBytes,
  idOfKey,
  joinTokenOf,
  signDeviceVouch,
  signStatement,
  type ToDevice,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { createLocalBusHub } from '../bus/local-bus.ts';
import { openDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { OWN_LEAVE } from '../policy/permit.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { publishTestModel } from '../testing/test-model.ts';
import type { Offer } from './port.ts';

type Order = Extract<ToDevice, { t: 'sealed' }>;

interface World {
  readonly clock: FakeClock;
  readonly home: Hub;
  readonly other: Hub;
  /** With one slot, at `home`, and vouched for. */
  readonly device: ScriptedDevice;
  offer(hub: Hub): Promise<Offer>;
  /** What was said to the caller. */
  submit(hub: Hub, offer: Offer): Promise<string[]>;
}

async function createWorld(): Promise<World> {
  const clock = createFakeClock(() => new Promise((resolve) => setImmediate(resolve)));
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const secrets = createMemorySecrets();
  const buses = createLocalBusHub({ clock, log: silentLog, random });
  const ports = { database, clock, random, crypto: nodeCrypto, store, secrets, log: silentLog };
  const hubs: Hub[] = [];
  onTestFinished(async () => {
    for (const hub of hubs) await hub.stop();
    await database.close();
  });
  for (const letter of ['a', 'b']) {
    const replica = { id: `rep_${letter.repeat(26)}`, bus: buses.connect(), isAlone: false };
    hubs.push(await createHub({ ...ports, replica, meter: { ended: () => {}, firstToken: () => {} } }));
    await clock.advance(FLEET_LIMITS.beatMs * 2);
  }
  const [home, other] = hubs as [Hub, Hub];
  const model = { cid: await publishTestModel(home, store, 'tiny'), name: 'tiny' };
  await home.announceModels();
  const territory = home.territory.id;
  const invite = await home.invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
  const device = await joinScriptedDevice({
    accept: (channel) => home.local.accept(channel),
    territory: home.territory.publicKey,
    clock,
    random,
    crypto: nodeCrypto,
    joinToken: joinTokenOf(invite.secret),
    status: { slots: 1, models: [warmModel(model.cid)] },
  });
  for (let i = 0; i < 12; i++) await clock.advance(1);
  await device.joined;
  const steward = await nodeCrypto.signingKey(new Uint8Array(32).fill(3));
  await home.vouches.addSteward({ territory, actor: 'test', publicKey: steward.publicKey, name: 'Ada' });
  const life = { issuedAtMs: clock.now(), expiresAtMs: clock.now() + 86_400_000 };
  const said = { territory: home.territory.publicKey, device: device.key.publicKey, tier: 'vetted' as const, ...life };
  const id = await idOfKey('dev', device.key.publicKey, nodeCrypto);
  const chain = [await signDeviceVouch(said, steward, nodeCrypto)];
  await home.vouches.put({ territory, actor: 'test', device: id, chain });
  await clock.advance(HUB_LIMITS.vouchesReadMs);
  const caller = { territory, caller: 'key_a' };
  return {
    clock,
    home,
    other,
    device,
    offer: (hub) =>
      hub.sealed.offer(
        {
          ...caller,
          model,
          text: { dataClass: 'internal', cause: undefined, person: undefined },
          permit: OWN_LEAVE,
          bytes: LIMITS.sealedPromptBytesMin,
          tokens: 10,
          without: [],
        },
        new AbortController().signal,
      ),
    async submit(hub, { token }) {
      const said: string[] = [];
      const sealed = new Uint8Array(LIMITS.sealedPromptBytesMin + 16);
      const prompt = { key: new Uint8Array(32), enc: new Uint8Array(32), sealed };
      const submitting = hub.sealed.submit(
        { token, ...caller, admit: () => OWN_LEAVE, refuse: expect.unreachable },
        prompt,
        {
          part: (n) => void said.push(`part ${n}`),
          done: (n) => void said.push(`done ${n}`),
          lost: (code) => void said.push(`lost ${code}`),
          failed: ({ code }) => void said.push(`failed ${code}`),
        },
      );
      submitting.catch(() => {});
      await clock.advance(100);
      await submitting;
      return said;
    },
  };
}

const ordersOf = ({ heard }: ScriptedDevice): Order[] => heard.filter((message) => message.t === 'sealed');
function answer(device: ScriptedDevice): void {
  const { lease, epoch } = ordersOf(device).at(-1) as Order;
  const sealed = new Uint8Array(LIMITS.sealedEventBytesMin + 16);
  device.send({ t: 'sealed.part', lease, epoch, n: 0, promptTokens: 3, tokens: 0, sealed });
  device.send({ t: 'sealed.part', lease, epoch, n: 1, tokens: 1, sealed });
  device.send({ t: 'sealed.done', lease, epoch, n: 2, promptTokens: 3, tokens: 1, sealed });
}
const leases = (hub: Hub): number => [...hub.local.list()].reduce((sum, device) => sum + device.leases.size, 0);

test.each([
  ['home', 'other'],
  ['other', 'home'],
  ['other', 'other'],
] as const)('an offer of one (%s) is taken by another (%s), also of the only slot', async (offering, taking) => {
  const world = await createWorld();
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
  const world = await createWorld();
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
  const world = await createWorld();
  const { device, clock, other } = world;
  const fresh = await nodeCrypto.agreementKey(new Uint8Array(32).fill(77));
  const life = { issuedAtMs: clock.now(), expiresAtMs: clock.now() + 86_400_000 };
  const said = { v: 1, device: device.key.publicKey, key: fresh.publicKey, ...life };
  const key = await signStatement('agreement-key', said, device.key, nodeCrypto);
  device.send({ t: 'agreement', key });
  await clock.advance(FLEET_LIMITS.gossipMs * 4);
  expect(equalBytes((await world.offer(other)).agreementKey, key)).toBe(true);
});
