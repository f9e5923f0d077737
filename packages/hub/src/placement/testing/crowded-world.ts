/**
 * Replicas of one hub whose devices have room for some models only, and fetch what they are told to hold as agents do:
 * a while after they were told they have it ready. The clock is stepped.
 */
import {
  DATA_CLASSES,
  LIMITS,
  createMemoryBlobStore,
  joinTokenOf,
  type DataClass,
  type DeviceModel,
  type DeviceTier,
  type Fields,
  type AnswerWork,
  type ToDevice,
  type UseOrder,
  type WantedModel,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { onTestFinished } from 'vitest';
import { createLocalBusHub, type BusFaults, type LocalBusHub } from '../../bus/local-bus.ts';
import { openDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import { OWN_LEAVE, type Permit } from '../../policy/permit.ts';
import { FLEET_LIMITS } from '../../replicas/limits.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../../testing/scripted-device.ts';
import { publishTestModel } from '../../testing/test-model.ts';
import { addTestSteward } from '../../testing/test-steward.ts';

export interface CrowdedWorld {
  readonly clock: FakeClock;
  readonly buses: LocalBusHub;
  readonly faults: BusFaults;
  /** A replica; the first one places. */
  start(): Promise<Hub>;
  join(hub: Hub, name: string, options?: Joining): Promise<Agent>;
  /** Puts the device into a pool. */
  pool(hub: Hub, device: Agent, name: string): Promise<void>;
  tier(hub: Hub, device: Agent, tier: DeviceTier): Promise<void>;
  vouch(hub: Hub, device: Agent): Promise<void>;
  /** A member of the territory. */
  person(hub: Hub, id: string): Promise<void>;
  ask(hub: Hub, model: string, asking?: Asking): Promise<Asked>;
  /** Asks for a place for a sealed prompt. */
  offer(hub: Hub, model: string, asking?: Asking & { readonly judges?: readonly string[] }): Promise<Asked>;
  pin(hub: Hub, model: string): Promise<void>;
  cidOf(model: string): string;
  /** Time, a little at a time, so that what waits for the database comes to it. */
  pass(ms: number): Promise<void>;
}

export interface Joining {
  readonly tier?: DeviceTier;
  readonly person?: string;
  /** Beside all classes and purposes. */
  readonly consent?: Fields;
  /** Models that it has ready. */
  readonly has?: readonly string[];
  /** Models that it cannot make ready, as it says from the beginning. */
  readonly failsAt?: readonly string[];
  /** How many models it has room for; 1 unless said. */
  readonly room?: number;
  /** From being told to having a model ready. */
  readonly fetchMs?: number;
}

export interface Agent extends ScriptedDevice {
  readonly id: string;
  /** Names of the models that it was told to hold last. */
  wanted(): string[];
  /** How many lists it was told. */
  lists(): number;
  orders(): Extract<ToDevice, { t: 'answer' }>[];
}

export interface Asking {
  readonly dataClass?: DataClass;
  readonly cause?: string;
  readonly person?: string;
  /** Pools whose devices alone may answer. */
  readonly pools?: readonly string[];
}

export interface Asked {
  /** `undefined` as long as it waits or is answered; else its code and message. */
  failure(): { readonly code: string; readonly message: string } | undefined;
  /** Of an offer: the device that it is for. */
  device(): string | undefined;
}

/** Files of the test models have fewer bytes than this each, and more than half of it. */
const ONE_BYTES = 24;

export async function createCrowdedWorld(models: readonly string[]): Promise<CrowdedWorld> {
  const clock = createFakeClock(yieldToNode);
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const secrets = createMemorySecrets();
  const faults: BusFaults = {};
  const buses = createLocalBusHub({ clock, log: silentLog, random, faults });
  const hubs: Hub[] = [];
  onTestFinished(async () => {
    for (const hub of hubs) await hub.stop();
    await database.close();
  });
  const ports = { database, clock, random, crypto: nodeCrypto, store, secrets, log: silentLog };
  const cids = new Map<string, string>();
  const cidOf = (name: string): string => cids.get(name) ?? name;
  let vouchFor: Awaited<ReturnType<typeof addTestSteward>> | undefined;

  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 20) await clock.advance(Math.min(20, ms - passed));
  }

  function obey(device: ScriptedDevice, lent: object, fetchMs: number, models: DeviceModel[]): void {
    let has = models;
    const say = (): void => device.setStatus({ models: has, ...lent });
    device.onMessage = (message) => {
      if (message.t !== 'hold') return;
      const wanted = message.models.map(({ cid }) => cid);
      has = has.filter(({ cid, state }) => wanted.includes(cid) || state === 'failed');
      for (const cid of wanted) {
        if (has.some((each) => each.cid === cid)) continue;
        has = [...has, { cid, state: 'fetching', fraction: 0 }];
        clock.after(fetchMs, () => {
          has = has.map((each) => (each.cid === cid ? warmModel(cid) : each));
          say();
        });
      }
      say();
    };
    const beat = (): void => {
      if (device.closed() !== undefined) return;
      say();
      clock.after(LIMITS.heartbeatMs, beat);
    };
    clock.after(LIMITS.heartbeatMs, beat);
  }

  const textOf = ({ dataClass = 'confidential', cause, person }: Asking) => ({ dataClass, cause, person });
  const permitOf = ({ pools }: Asking): Permit => {
    if (pools === undefined) return OWN_LEAVE;
    const reach = {
      key: pools.join(),
      pools: () => pools,
      includes: (its: readonly string[]) => its.some((pool) => pools.includes(pool)),
    };
    return { refusal: () => undefined, reach: () => reach };
  };
  function heard(work: Promise<string | undefined>): Asked & { fail(error: unknown): void } {
    let failure: { code: string; message: string } | undefined;
    let device: string | undefined;
    const fail = (error: unknown): void => {
      failure = error as { code: string; message: string };
    };
    work.then((name) => void (device = name), fail);
    return { failure: () => failure, device: () => device, fail };
  }

  return {
    clock,
    buses,
    faults,
    cidOf,
    pass,
    async start() {
      const id = `rep_${String.fromCharCode(97 + hubs.length).repeat(26)}`;
      const replica = { id, bus: buses.connect(), isAlone: false };
      const hub = await createHub({ ...ports, replica, meter: { ended: () => {}, firstToken: () => {} } });
      hubs.push(hub);
      for (const name of models) if (!cids.has(name)) cids.set(name, await publishTestModel(hub, store, name));
      await hub.announceModels();
      await pass(FLEET_LIMITS.beatMs * 2);
      return hub;
    },
    async join(
      hub,
      name,
      { tier = 'member', person, consent, has = [], failsAt = [], room = 1, fetchMs = 2_000 } = {},
    ) {
      const territory = hub.territory.id;
      const invite = await hub.invites.create({
        territory,
        uses: 1,
        expiresInMs: 60_000,
        createdBy: 'test',
        tier,
        person,
      });
      const lent = { lent: { memoryBytes: 2 ** 30, diskBytes: room * ONE_BYTES, uploadBytesPerSecond: 0 } };
      const failed = failsAt.map((model): DeviceModel => ({ cid: cidOf(model), state: 'failed', fraction: 0 }));
      const status = { models: [...has.map((model) => warmModel(cidOf(model))), ...failed], ...lent };
      const device = await joinScriptedDevice({
        name,
        clock,
        random,
        crypto: nodeCrypto,
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        joinToken: joinTokenOf(invite.secret),
        status,
        consent: { v: 2, classes: [...DATA_CLASSES], causes: [], refused: [], gpu: 'never', ...consent },
      });
      obey(device, lent, fetchMs, status.models);
      for (let i = 0; i < 12; i++) await clock.advance(1);
      const { device: id } = await device.joined;
      await pass(FLEET_LIMITS.gossipMs * 2);
      const lists = (): WantedModel[][] =>
        device.heard.flatMap((message) => (message.t === 'hold' ? [[...message.models]] : []));
      return Object.assign(device, {
        id,
        wanted: () => (lists().at(-1) ?? []).map((model) => model.name),
        lists: () => lists().length,
        orders: () => device.heard.filter((message) => message.t === 'answer'),
      });
    },
    async pool(hub, { id }, pool) {
      await hub.deviceTrust.addToPool({ territory: hub.territory.id, id, pool, actor: 'test' });
    },
    async tier(hub, { id }, tier) {
      await hub.deviceTrust.set({ territory: hub.territory.id, id, tier, actor: 'test' });
    },
    async vouch(hub, device) {
      vouchFor ??= await addTestSteward(hub, clock.now);
      await vouchFor(device);
    },
    async person(hub, id) {
      const nowMs = clock.now();
      await database.db.insertInto('people').values({ id, name: id, created_at_ms: nowMs }).execute();
      const member = {
        territory_id: hub.territory.id,
        person_id: id,
        name: id,
        state: 'active',
        joined_at_ms: nowMs,
      } as const;
      await database.db.insertInto('members').values(member).execute();
    },
    async pin(hub, name) {
      await hub.models.pin({ territory: hub.territory.id, name, pinned: true, actor: 'test' });
      await hub.announceModels();
    },
    async ask(hub, model, asking = {}) {
      const order = {
        territory: hub.territory.id,
        key: 'key_a',
        model: { cid: cidOf(model), name: model },
        work: { prompt: { kind: 'text', text: 'once' }, sampling: { seed: 1 }, choice: 0, stop: [] } satisfies Omit<
          AnswerWork,
          'tokens'
        >,
        permit: permitOf(asking),
        text: textOf(asking),
      };
      const asked: ReturnType<typeof heard> = heard(
        hub.answers
          .submit(order, {
            started: () => {},
            token: () => {},
            finished: () => {},
            failed: (error) => asked.fail(error),
          })
          .then(() => undefined),
      );
      await pass(60);
      return asked;
    },
    async offer(hub, model, { judges = [], ...asking } = {}) {
      const classifiers = judges.map((name) => ({ rule: name, model: cidOf(name), labels: [1], threshold: 0.5 }));
      const use: UseOrder = { phrases: [], classifiers, preambles: [] };
      const request = {
        territory: hub.territory.id,
        caller: 'key_a',
        model: { cid: cidOf(model), name: model },
        permit: permitOf(asking),
        text: textOf(asking),
        bytes: LIMITS.sealedPromptBytesMin,
        tokens: 100,
        without: [],
        ...(judges.length === 0 ? {} : { use }),
      };
      const asked = heard(hub.sealed.offer(request, new AbortController().signal).then(({ device }) => device.name));
      await pass(60);
      return asked;
    },
  };
}
