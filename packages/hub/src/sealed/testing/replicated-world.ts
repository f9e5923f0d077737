/**
 * Two replicas of one hub over one database and one bus, on a fake clock, with a scripted device at the first: what
 * tests of sealed prompts over replicas have in common.
 */
import { LIMITS, createMemoryBlobStore, joinTokenOf, type ToDevice } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished } from 'vitest';
import { createLocalBusHub } from '../../bus/local-bus.ts';
import { openDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { OWN_LEAVE, type Permit } from '../../policy/permit.ts';
import { FLEET_LIMITS } from '../../replicas/limits.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../../testing/scripted-device.ts';
import { publishTestModel } from '../../testing/test-model.ts';
import { addTestSteward } from '../../testing/test-steward.ts';
import type { Offer } from '../port.ts';
import type { SealedHold } from '../spend.ts';

type Order = Extract<ToDevice, { t: 'sealed' }>;

export interface SubmitMore {
  readonly permit?: Permit;
  readonly hold?: SealedHold;
}

export interface ReplicatedWorld {
  readonly clock: FakeClock;
  readonly home: Hub;
  readonly other: Hub;
  /** With one slot, at `home`, and vouched for. */
  readonly device: ScriptedDevice;
  readonly model: { readonly cid: string; readonly name: string };
  offer(hub: Hub): Promise<Offer>;
  /** What was said to the caller, and signed at the end. */
  submit(hub: Hub, offer: Offer, more?: SubmitMore): Promise<string[] & { receipt?: Uint8Array | undefined }>;
}

/** `settle` runs what is pending in the platform. */
export async function createReplicatedWorld(settle: () => Promise<void>): Promise<ReplicatedWorld> {
  const clock = createFakeClock(settle);
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
  const vouch = await addTestSteward(home, clock.now);
  await vouch(device);
  await clock.advance(HUB_LIMITS.vouchesReadMs);
  const caller = { territory, caller: 'key_a' };
  return {
    clock,
    home,
    other,
    device,
    model,
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
    async submit(hub, { token }, { permit = OWN_LEAVE, hold } = {}) {
      const said: string[] & { receipt?: Uint8Array | undefined } = [];
      const sealed = new Uint8Array(LIMITS.sealedPromptBytesMin + 16);
      const prompt = { key: new Uint8Array(32), enc: new Uint8Array(32), sealed };
      const submitting = hub.sealed.submit(
        { token, ...caller, hold, admit: () => permit, refuse: expect.unreachable },
        prompt,
        {
          part: (n) => void said.push(`part ${n}`),
          done(n, _sealed, receipt) {
            said.push(`done ${n}`);
            said.receipt = receipt;
          },
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

export const ordersOf = ({ heard }: ScriptedDevice): Order[] => heard.filter((message) => message.t === 'sealed');
/** All of a short answer. */
export function answer(device: ScriptedDevice): void {
  const { lease, epoch } = ordersOf(device).at(-1) as Order;
  const sealed = new Uint8Array(LIMITS.sealedEventBytesMin + 16);
  device.send({ t: 'sealed.part', lease, epoch, n: 0, promptTokens: 3, tokens: 0, sealed });
  device.send({ t: 'sealed.part', lease, epoch, n: 1, tokens: 1, sealed });
  device.send({ t: 'sealed.done', lease, epoch, n: 2, promptTokens: 3, tokens: 1, sealed });
}
export const leases = (hub: Hub): number => [...hub.local.list()].reduce((sum, device) => sum + device.leases.size, 0);
