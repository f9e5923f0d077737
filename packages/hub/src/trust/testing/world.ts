/** Replicas of one hub over one database, scripted devices of any tier and consent, and a clock that is stepped. */
import {
  createMemoryBlobStore,
  joinTokenOf,
  type DataClass,
  type DeviceTier,
  type ErrorCode,
  type Fields,
  type KeyPair,
  type ToDevice,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { onTestFinished } from 'vitest';
import { createLocalBusHub } from '../../bus/local-bus.ts';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import { OWN_LEAVE, type Permit } from '../../policy/permit.ts';
import { FLEET_LIMITS } from '../../replicas/limits.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../../testing/scripted-device.ts';
import { publishTestModel } from '../../testing/test-model.ts';
import type { ScriptedDeviceOptions } from '../../testing/scripted-device.ts';

export interface TrustWorld {
  readonly clock: FakeClock;
  readonly database: OpenDatabase;
  start(): Promise<Hub>;
  join(hub: Hub, name: string, options?: Joining): Promise<Joined>;
  /** Asks for an answer. */
  ask(hub: Hub, text?: Partial<Text>, permit?: Permit): Promise<Asked>;
  /** A member of the territory. */
  addPerson(hub: Hub, id: string, state?: 'active' | 'suspended'): Promise<void>;
  /** Time, a little at a time, so that what waits for the database comes to it. */
  pass(ms: number): Promise<void>;
}

export interface Joining {
  readonly tier?: DeviceTier;
  readonly person?: string;
  readonly consent?: Fields;
  readonly key?: KeyPair;
  readonly lie?: NonNullable<ScriptedDeviceOptions['lie']>;
  readonly slots?: number;
  readonly tokensPerSecond?: number;
}

export interface Joined extends ScriptedDevice {
  readonly id: string;
  orders(): Extract<ToDevice, { t: 'answer' }>[];
  cancelled(): string[];
  /** Begins the answer that it was ordered last and says so many tokens of it. */
  say(tokens: number): void;
}

export interface Text {
  readonly dataClass: DataClass;
  readonly cause: string | undefined;
  readonly person: string | undefined;
}

export interface Asked {
  failure(): { readonly code: ErrorCode; readonly message: string } | undefined;
  tokens(): number;
}

/** `yieldToNode`: lets what waits for the database go on. */
export async function createTrustWorld(yieldToNode: () => Promise<void>): Promise<TrustWorld> {
  const clock = createFakeClock(yieldToNode);
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const secrets = createMemorySecrets();
  const buses = createLocalBusHub({ clock, log: silentLog, random });
  const hubs: Hub[] = [];
  onTestFinished(async () => {
    for (const hub of hubs) await hub.stop();
    await database.close();
  });
  const ports = { database, clock, random, crypto: nodeCrypto, store, secrets, log: silentLog };
  let model = { cid: '', name: 'tiny' };

  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 10) await clock.advance(Math.min(10, ms - passed));
  }

  return {
    clock,
    database,
    pass,
    async start() {
      const replica = {
        id: `rep_${String.fromCharCode(97 + hubs.length).repeat(26)}`,
        bus: buses.connect(),
        isAlone: false,
      };
      const hub = await createHub({ ...ports, replica, meter: { ended: () => {}, firstToken: () => {} } });
      hubs.push(hub);
      if (model.cid === '') model = { cid: await publishTestModel(hub, store, 'tiny'), name: 'tiny' };
      await hub.announceModels();
      await pass(FLEET_LIMITS.beatMs * 2);
      return hub;
    },
    async join(hub, name, { tier, person, slots = 4, tokensPerSecond = 100, ...more } = {}) {
      const territory = hub.territory.id;
      const invite = await hub.invites.create({
        territory,
        uses: 1,
        expiresInMs: 60_000,
        createdBy: 'test',
        tier,
        person,
      });
      const device = await joinScriptedDevice({
        ...more,
        name,
        clock,
        random,
        crypto: nodeCrypto,
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        joinToken: joinTokenOf(invite.secret),
        status: { slots, models: [{ ...warmModel(model.cid), tokensPerSecond }] },
      });
      for (let i = 0; i < 12; i++) await clock.advance(1);
      const { device: id } = await device.joined;
      await clock.advance(FLEET_LIMITS.gossipMs * 2);
      const orders = (): Extract<ToDevice, { t: 'answer' }>[] =>
        device.heard.filter((message) => message.t === 'answer');
      return Object.assign(device, {
        id,
        orders,
        cancelled: () => device.heard.filter((message) => message.t === 'cancel').map(({ lease }) => lease),
        say(tokens: number) {
          const order = orders().at(-1);
          if (order === undefined) throw new Error(`${name} was ordered nothing`);
          const { lease, epoch, work } = order;
          device.send({ t: 'answer.started', lease, epoch, promptTokens: 3 });
          const from = work.tokens.length;
          for (let i = from; i < from + tokens; i++)
            device.send({ t: 'answer.token', lease, epoch, i, id: 100 + i, s: `t${i} ` });
        },
      });
    },
    async ask(hub, text = {}, permit = OWN_LEAVE) {
      let failed: { readonly code: ErrorCode; readonly message: string } | undefined;
      let tokens = 0;
      const submitting = hub.answers
        .submit(
          {
            territory: hub.territory.id,
            key: 'key_a',
            model,
            work: { prompt: { kind: 'text', text: 'once' }, sampling: { seed: 1 }, choice: 0, stop: [] },
            permit,
            text: { dataClass: 'internal', cause: undefined, person: undefined, ...text },
          },
          {
            started: () => {},
            token: () => void tokens++,
            finished: () => {},
            failed: (error) => void (failed = error),
          },
        )
        .catch((error: unknown) => void (failed = error as { code: ErrorCode; message: string }));
      await pass(50);
      await submitting;
      return { failure: () => failed, tokens: () => tokens };
    },
    async addPerson(hub, id, state = 'active') {
      const nowMs = clock.now();
      await database.db.insertInto('people').values({ id, name: id, created_at_ms: nowMs }).execute();
      await database.db
        .insertInto('members')
        .values({ territory_id: hub.territory.id, person_id: id, name: id, state, joined_at_ms: nowMs })
        .execute();
    },
  };
}
