/**
 * Replicas of one hub over real databases, each with a device that talks until it is stopped: what runs when a right is
 * taken through one of them, and how long it goes on. In real time.
 */
import { createMemoryBlobStore, joinTokenOf, type ErrorCode, type Timer } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { createLocalBusHub } from '../../bus/local-bus.ts';
import type { Bus } from '../../bus/port.ts';
import type { OpenDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import { silentLog } from '../../log.ts';
import { joinScriptedDevice, warmModel } from '../../testing/scripted-device.ts';
import { publishTestModel } from '../../testing/test-model.ts';

export interface StandingWorld {
  readonly hubs: readonly Hub[];
  /** CID of the one model. */
  readonly model: string;
  /** A stream at each replica for whoever has this key; resolves when each has said something. */
  stream(key: string): Promise<Stream[]>;
  stop(): Promise<void>;
}

export interface Stream {
  /** How it ended, and when: by the system's clock. */
  readonly ended: Promise<{ readonly code: ErrorCode; readonly message: string; readonly atMs: number }>;
}

export interface StandingWorldOptions {
  /** One for each replica, all of the same database. */
  readonly databases: readonly OpenDatabase[];
  /** One for each; absent: a bus within this process, over which everything arrives. */
  readonly buses?: readonly Bus[];
}

const MODEL = 'jacobean';
const WORD_MS = 5;

export async function openStandingWorld({ databases, buses }: StandingWorldOptions): Promise<StandingWorld> {
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto, log: silentLog };
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
  const secrets = createMemorySecrets();
  const local = createLocalBusHub(ports);
  const meter = { ended: () => {}, firstToken: () => {} };
  const hubs: Hub[] = [];
  for (const [index, database] of databases.entries()) {
    const replica = { id: `rep_${index}`, bus: buses?.[index] ?? local.connect(), isAlone: false };
    hubs.push(await createHub({ ...ports, database, store, secrets, meter, replica }));
  }
  const [first] = hubs;
  if (first === undefined) throw new Error('a world needs a replica');
  const model = await publishTestModel(first, store, MODEL);
  const devices = await Promise.all(hubs.map((hub) => talker(hub, first, model)));
  return {
    hubs,
    model,
    stream: (key) => Promise.all(hubs.map((hub) => streamOf(hub, key, model))),
    async stop() {
      for (const device of devices) device.stop();
      for (const hub of hubs) await hub.stop();
    },
  };
}

async function talker(hub: Hub, inviting: Hub, model: string): Promise<{ stop(): void }> {
  const order = { territory: hub.territory.id, uses: 1, expiresInMs: 60_000, createdBy: 'test' };
  const invite = await inviting.invites.create(order);
  const device = await joinScriptedDevice({
    accept: (channel) => hub.local.accept(channel),
    territory: hub.territory.publicKey,
    clock: systemClock,
    random: nodeRandom,
    crypto: nodeCrypto,
    joinToken: joinTokenOf(invite.secret),
    status: { models: [warmModel(model)], slots: 8 },
  });
  await device.joined;
  const talking = new Map<string, Timer>();
  const hush = (lease: string): void => {
    talking.get(lease)?.cancel();
    talking.delete(lease);
  };
  device.onMessage = (message) => {
    if (message.t === 'cancel') hush(message.lease);
    if (message.t !== 'answer') return;
    const { lease, epoch } = message;
    let i = message.work.tokens.length;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 1 });
    const say = (): void => {
      device.send({ t: 'answer.token', lease, epoch, i, id: i++, s: 'la ' });
      talking.set(lease, systemClock.after(WORD_MS, say));
    };
    say();
  };
  return {
    stop() {
      for (const lease of [...talking.keys()]) hush(lease);
      device.link.cut('over');
    },
  };
}

async function streamOf(hub: Hub, key: string, model: string): Promise<Stream> {
  const territory = hub.territory.id;
  const asker = await hub.keys.authenticate(key);
  const permit = await hub.policy.permit(asker, 'answer', { territory, id: model });
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<Awaited<Stream['ended']>>();
  await hub.answers.submit(
    {
      territory,
      key: asker.keyId,
      model: { cid: model, name: MODEL },
      work: { prompt: { kind: 'text', text: 'once' }, sampling: { seed: 1 }, choice: 0, stop: [] },
      text: { dataClass: 'internal', cause: undefined, person: undefined },
      permit,
    },
    {
      started: () => {},
      token: () => begun.resolve(),
      finished: () => ended.reject(new Error('a device that talks for ever was done')),
      failed({ code, message }) {
        begun.resolve();
        ended.resolve({ code, message, atMs: systemClock.monotonic() });
      },
    },
  );
  await begun.promise;
  return { ended: ended.promise };
}
