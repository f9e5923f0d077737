/** Several replicas over one database and one bus, scripted devices, a stepped clock, and what is asked of them. */
import { createMemoryBlobStore, joinTokenOf, type AnswerWork, type KeyPair, type ToDevice } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished } from 'vitest';
import type { AnswerOutcome, RunRef } from '../../answers/port.ts';
import { createLocalBusHub, type BusFaults, type LocalBusMember } from '../../bus/local-bus.ts';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../../testing/scripted-device.ts';
import { publishTestModel } from '../../testing/test-model.ts';
import { FLEET_LIMITS } from '../limits.ts';
import { OWN_LEAVE } from '../../policy/permit.ts';
import { PLAIN_TEXT } from '../../testing/texts.ts';

export interface Replica {
  readonly hub: Hub;
  readonly bus: LocalBusMember;
  /** Ends it as a crash does, as far as others see it: it says nothing more. */
  die(): void;
}

export interface World {
  readonly clock: FakeClock;
  readonly database: OpenDatabase;
  readonly faults: BusFaults;
  readonly model: { readonly cid: string; readonly name: string };
  start(): Promise<Replica>;
  join(replica: Replica, options?: Joining): Promise<ScriptedDevice>;
}
interface Joining {
  readonly key?: KeyPair;
  readonly slots?: number;
  readonly attempts?: Kept;
  readonly numericClass?: string;
}
type Kept = { lease: string; epoch: number; tokens: number }[];

const work: Omit<AnswerWork, 'tokens'> = {
  prompt: { kind: 'text', text: 'once' },
  sampling: { seed: 1 },
  choice: 0,
  stop: [],
};

export async function createWorld(): Promise<World> {
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
  let model = { cid: '', name: 'tiny' };
  async function start(): Promise<Replica> {
    const bus = buses.connect();
    const replica = { id: `rep_${String.fromCharCode(97 + hubs.length).repeat(26)}`, bus, isAlone: false };
    const hub = await createHub({ ...ports, replica, meter: { ended: () => {}, firstToken: () => {} } });
    hubs.push(hub);
    if (model.cid === '') model = { cid: await publishTestModel(hub, store, 'tiny'), name: 'tiny' };
    await hub.announceModels();
    await clock.advance(FLEET_LIMITS.beatMs * 2);
    return { hub, bus, die: () => bus.setUp(false) };
  }
  return {
    clock,
    database,
    faults,
    get model() {
      return model;
    },
    start,
    async join({ hub }, { key, slots = 4, attempts, numericClass } = {}) {
      const territory = hub.territory.id;
      const invite = await hub.invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
      const device = await joinScriptedDevice({
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        clock,
        random,
        crypto: nodeCrypto,
        joinToken: joinTokenOf(invite.secret),
        status: {
          slots,
          models: [{ ...warmModel(model.cid), ...(numericClass === undefined ? {} : { numericClass }) }],
          ...(attempts === undefined ? {} : { attempts }),
        },
        ...(key === undefined ? {} : { key }),
      });
      for (let i = 0; i < 12; i++) await clock.advance(1);
      await device.joined;
      await clock.advance(FLEET_LIMITS.gossipMs * 2);
      return device;
    },
  };
}

export interface Asked {
  readonly texts: string[];
  readonly outcome: () => AnswerOutcome | undefined;
  readonly failure: () => string | undefined;
  cancel(): void;
}

const asking = { key: 'key_a', work, text: PLAIN_TEXT, permit: OWN_LEAVE };

export async function ask({ clock, model }: World, { hub }: Replica, run?: RunRef): Promise<Asked> {
  const texts: string[] = [];
  let outcome: AnswerOutcome | undefined;
  let failure: string | undefined;
  const request = { territory: hub.territory.id, model, ...asking, ...(run === undefined ? {} : { run }) };
  const submitting = hub.answers.submit(request, {
    started: () => {},
    token(i, _id, s) {
      expect(i).toBe(texts.length);
      texts.push(s);
    },
    finished: (how) => void (outcome = how),
    failed: ({ code }) => void (failure = code),
  });
  submitting.catch(() => {});
  await clock.advance(50);
  const handle = await submitting;
  await clock.advance(10);
  return { texts, outcome: () => outcome, failure: () => failure, cancel: () => handle.cancel('a test') };
}

export type Order = Extract<ToDevice, { t: 'answer' }>;
export const ordersOf = ({ heard }: ScriptedDevice): Order[] => heard.filter((message) => message.t === 'answer');
export const orderOf = (device: ScriptedDevice): Order => ordersOf(device).at(-1) as Order;

export const begin = (device: ScriptedDevice, { lease, epoch }: Order): void =>
  device.send({ t: 'answer.started', lease, epoch, promptTokens: 3 });
export function say(
  device: ScriptedDevice,
  { lease, epoch }: Pick<Order, 'lease' | 'epoch'>,
  from: number,
  to: number,
): void {
  for (let i = from; i < to; i++) device.send({ t: 'answer.token', lease, epoch, i, id: 100 + i, s: `t${i} ` });
}
export function end(device: ScriptedDevice, { lease, epoch }: Pick<Order, 'lease' | 'epoch'>, tokens: number): void {
  const how = { finish: 'stop' as const, s: '', promptTokens: 3, answerTokens: tokens, receipt: new Uint8Array(1) };
  device.send({ t: 'answer.finished', lease, epoch, ...how });
}
export const textOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `t${i} `);

/** A run that this replica owns, as `callers/runs.ts` would write it. */
export async function ownRun({ database }: World, { hub }: Replica, epoch: number): Promise<RunRef> {
  const row = { owner: hub.replica.id, epoch };
  await database.db
    .insertInto('runs')
    .values({
      territory_id: hub.territory.id,
      id: 'run_a',
      key_id: 'key_a',
      fingerprint: new Uint8Array(32),
      request_id: 'req_a',
      created_at_ms: 0,
      ...row,
    })
    .onConflict((on) => on.columns(['territory_id', 'id']).doUpdateSet(row))
    .execute();
  return { id: 'run_a', epoch, choice: 0, isResumed: epoch > 1, heard: 0 };
}
