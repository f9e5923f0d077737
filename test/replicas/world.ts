/**
 * A hub as it runs at scale: PostgreSQL, nats-server, replicas as processes of their own, devices in front of one
 * balancer and callers in front of another, all on loopback in one temporary folder. Faults are injected by ending or
 * pausing processes and in the balancers; nothing here needs more rights than its user has.
 *
 * Two balancers, so that a device's connection can be cut without a caller's.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, type Client } from '@idlewild/client';
import { startNats, startPostgres, type NatsServer, type Postgres } from '@idlewild/hub/testing';
import { encodeManifest, layoutFile, messageOf, utf8 } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { startChild, until, type Child } from '../processes/child.ts';
import { startBalancer, type Balancer } from './balancer.ts';
import type { Door } from './caller.ts';
import type { DevicesLine, DevicesTask } from './devices-process.ts';
import { createReplica, type Replica, type ReplicaOptions } from './replica.ts';

export const MODEL = 'arithmetic';
const CONTEXT_TOKENS = 4_096;
const READY_MS_MAX = 60_000;

export interface ReplicaWorld {
  readonly folder: string;
  readonly postgres: Postgres;
  readonly nats: NatsServer;
  /** URL of the hub's database. */
  readonly database: string;
  readonly replicas: readonly Replica[];
  /** What callers ask. */
  readonly front: Balancer;
  /** What devices dial. */
  readonly side: Balancer;
  readonly stewardKey: string;
  /** As the steward, through the balancer. */
  readonly steward: Client;
  /** A caller of its own, so that what it asked can be told from what others did. */
  newCaller(): Promise<Door & { readonly keyId: string }>;
  /** Adds `count` devices, in one more process. */
  addDevices(count: number, options: DevicesOptions): Promise<Child<DevicesLine>>;
  /** Until every replica runs, is ready and sees all devices. */
  whole(deadlineMs?: number): Promise<void>;
  end(): Promise<void>;
}

export interface DevicesOptions {
  readonly slots: number;
  /** Of one device. */
  readonly tokensPerSecond: number;
  readonly stamps?: boolean;
  readonly sealed?: boolean;
  /** Replicas that they dial by turns, without the balancer. */
  readonly direct?: readonly Replica[];
}

export interface WorldOptions {
  readonly replicas: number;
  readonly words?: ReplicaOptions['words'];
  readonly env?: NodeJS.ProcessEnv;
}

/** `undefined` where PostgreSQL or NATS is missing; how to get it has been said then. */
export async function createReplicaWorld(options: WorldOptions): Promise<ReplicaWorld | undefined> {
  const ends: (() => Promise<unknown> | undefined)[] = [];
  const end = async (): Promise<void> => {
    for (const step of ends.splice(0).toReversed()) await step();
  };
  const [postgres, nats] = await Promise.all([startPostgres(), startNats()]);
  ends.push(
    () => postgres?.stop(),
    () => nats?.stop(),
  );
  if (postgres === undefined || nats === undefined) {
    await end();
    return undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-replicas-'));
  ends.push(async () => rmSync(folder, { recursive: true, force: true }));
  try {
    const [front, side] = await Promise.all([startBalancer({ probes: true }), startBalancer({ probes: true })]);
    ends.push(
      () => front.close(),
      () => side.close(),
    );
    const database = await postgres.createDatabase();
    const replicas = await Promise.all(
      Array.from({ length: options.replicas }, (_, index) => {
        const name = `r${index + 1}`;
        const onStart = (port: number): void => {
          front.set(name, port);
          side.set(name, port);
        };
        const { words, env } = options;
        const more = { ...(words === undefined ? {} : { words }), ...(env === undefined ? {} : { env }) };
        return createReplica({ name, data: join(folder, name), database, bus: nats.url, onStart, ...more });
      }),
    );
    ends.push(() => Promise.all(replicas.map((replica) => replica.end())));
    const first = replicas[0] as Replica;
    // The first makes the community, the others find it.
    await first.start();
    await Promise.all(replicas.slice(1).map((replica) => replica.start()));
    const stewardKey = readFileSync(join(first.data, 'steward.key'), 'utf8').trim();
    const steward = createClient({ hub: front.url, key: stewardKey });
    await until(() => front.ready().length === replicas.length, 'all replicas being ready', READY_MS_MAX);
    await publishTinyModel(steward);
    const parts = { folder, postgres, nats, database, replicas, front, side, stewardKey, steward, ends };
    return { ...parts, ...populate(parts), end };
  } catch (error) {
    await end();
    throw error;
  }
}

type Parts = Pick<ReplicaWorld, 'folder' | 'replicas' | 'front' | 'side' | 'stewardKey' | 'steward'> & {
  readonly ends: (() => Promise<unknown> | undefined)[];
};

function populate({
  folder,
  replicas,
  front,
  side,
  stewardKey,
  steward,
  ends,
}: Parts): Pick<ReplicaWorld, 'newCaller' | 'addDevices' | 'whole'> {
  let devices = 0;
  /** What is missing, or nothing. */
  const missing = async (): Promise<string> => {
    for (const balancer of [front, side]) {
      const ready = balancer.ready();
      if (ready.length < replicas.length) return `ready are only ${ready.join(', ') || 'none'}`;
    }
    for (const replica of replicas) {
      const seen = await createClient({ hub: replica.url(), key: stewardKey }).devices.list();
      const able = seen.filter(({ state, models }) => state !== 'offline' && models.length > 0).length;
      if (able !== devices) return `${replica.name} sees ${able} of ${devices} devices`;
    }
    return '';
  };
  return {
    async newCaller() {
      const { id, key } = await steward.keys.create({ role: 'caller', name: 'reliability' });
      return { url: front.url, key, keyId: id };
    },
    async addDevices(count, { direct = [], ...options }) {
      const { token } = await steward.invites.create({ uses: count, expiresInSeconds: 600 });
      const named = Array.from({ length: count }, (_, index) => {
        const dialled = direct[index % Math.max(1, direct.length)]?.url();
        return { name: `device-${devices + index}`, invite: token, ...(dialled === undefined ? {} : { url: dialled }) };
      });
      const task: DevicesTask = {
        folder: join(folder, `devices-${devices}`),
        url: side.url,
        devices: named,
        ...options,
      };
      devices += count;
      const child = startChild<DevicesLine>(join(import.meta.dirname, 'devices-process.ts'), [JSON.stringify(task)]);
      ends.push(() => child.kill());
      const warm = (name: string): Promise<DevicesLine> =>
        child.line((line) => line.name === name && line.warm > 0, `${name} loading the model`, {
          deadlineMs: READY_MS_MAX,
        });
      await Promise.all(named.map(({ name }) => warm(name)));
      return child;
    },
    async whole(deadlineMs = READY_MS_MAX) {
      let last = '';
      const look = async (): Promise<boolean> => {
        last = await missing().catch(messageOf);
        return last === '';
      };
      await until(look, 'everything being whole', deadlineMs).catch((error: unknown) => {
        throw new Error(`${messageOf(error)}: ${last}`);
      });
    },
  };
}

/** A model of a few bytes: the devices of these tests never look inside. */
export async function publishTinyModel(client: Client): Promise<void> {
  const graph = utf8('arithmetic');
  const { layout, nodes } = await layoutFile([graph], nodeCrypto);
  const manifest = await encodeManifest(
    {
      v: 1,
      kind: 'decoder',
      graph: 'model.onnx',
      files: [{ path: 'model.onnx', file: layout.root, bytes: graph.length }],
      tensors: [],
      contextTokens: CONTEXT_TOKENS,
      vocabularyTokens: 50_000,
      layers: 1,
      card: {},
    },
    nodeCrypto,
  );
  const read = async (offset: number, length: number): Promise<Uint8Array> => graph.subarray(offset, offset + length);
  await client.models.upload({ name: MODEL, manifest, files: [{ path: 'model.onnx', layout, nodes, read }] });
}
