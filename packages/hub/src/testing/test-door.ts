/** A whole hub behind its HTTP door on loopback, in memory, with scripted devices that join on request. */
import { createMemoryBlobStore, digestTokens, joinTokenOf, type AnswerWork, type Manifest } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createHubServer, type HubServerDeps } from '../gateway/hub-server.ts';
import { createMetrics, type Metrics } from '../gateway/metrics.ts';
import type { TableRoute } from '../gateway/server.ts';
import { createHub, type Hub } from '../hub.ts';
import type { HubDeps } from '../hub-deps.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { silentLog } from '../log.ts';
import { createLoneRegister } from '../replicas/register.ts';
import { HUB_VERSION } from '../version.ts';
import {
  answerAs,
  joinScriptedDevice,
  warmModel,
  type Script,
  type ScriptedDevice,
  type ScriptedDeviceOptions,
} from './scripted-device.ts';
import { walled } from './territory-wall.ts';
import { publishTestModel } from './test-model.ts';

export interface TestDoor {
  readonly hub: Hub;
  readonly url: string;
  /** All there are. */
  readonly routes: readonly TableRoute[];
  /** A caller's key. */
  readonly key: string;
  /** The one model's name and CID. */
  readonly model: { readonly name: string; readonly cid: string };
  /** A device that holds the model and answers every order with what `script` makes of its work. */
  join(
    script?: (work: AnswerWork) => Script,
    options?: Pick<ScriptedDeviceOptions, 'features' | 'name' | 'status' | 'consent'>,
  ): Promise<ScriptedDevice>;
  /** Publishes another model; returns its CID. */
  publish(name: string, manifest?: Partial<Manifest>): Promise<string>;
  /** Cuts every device off. */
  empty(): Promise<void>;
  close(): Promise<void>;
}

/** What a test has an interest in; the rest is in memory, without limits and silent. */
export interface TestDoorOptions extends Partial<
  Pick<HubDeps, 'database' | 'store' | 'secrets' | 'limits' | 'log' | 'replica'>
> {
  /** In which the model differs from a decoder. */
  readonly manifest?: Partial<Manifest>;
  /** For keys that are there already. */
  readonly key?: string;
  /** Why no more answers are begun. */
  readonly refusal?: HubServerDeps['refusal'];
  readonly territories?: HubServerDeps['territories'];
  readonly otherOrigins?: HubServerDeps['otherOrigins'];
}

export async function openTestDoor(modelName: string, options: TestDoorOptions = {}): Promise<TestDoor> {
  const database = options.database ?? (await walled(await openDatabase({ file: ':memory:', clock: systemClock })));
  const store = options.store ?? createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 30 });
  const metrics = testMetrics(() => hub);
  const { secrets = createMemorySecrets(), limits, log = silentLog, replica } = options;
  const ports = { clock: systemClock, random: nodeRandom, log };
  const own = { database, store, secrets, limits, replica };
  const hub = await createHub({ ...ports, ...own, crypto: nodeCrypto, meter: metrics.meter });
  let url = '';
  const alone = {
    ...aloneAt(hub, database, () => url),
    ...(options.refusal === undefined ? {} : { refusal: options.refusal }),
  };
  const { territories, otherOrigins } = options;
  const app = await createHubServer({ ...alone, ...ports, hub, metrics, territories, otherOrigins });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
  const territory = hub.territory.id;
  const key = options.key ?? (await hub.keys.create({ territory, role: 'caller', actor: 'test' })).key;
  const cid = await publishTestModel(hub, store, modelName, options.manifest);
  const devices = new Set<ScriptedDevice>();
  return {
    hub,
    url,
    routes: app.routeTable,
    key,
    model: { name: modelName, cid },
    async join(script, options = {}) {
      const invite = await hub.invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
      const device = await joinScriptedDevice({
        ...options,
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        clock: systemClock,
        random: nodeRandom,
        crypto: nodeCrypto,
        joinToken: joinTokenOf(invite.secret),
        status: { models: [warmModel(cid)], ...options.status },
      });
      await device.joined;
      if (script !== undefined) answerAs(device, script, nodeCrypto, (ids) => digestTokens(ids, nodeCrypto));
      devices.add(device);
      return device;
    },
    publish: (name, manifest) => publishTestModel(hub, store, name, manifest),
    async empty() {
      for (const device of devices) device.link.cut('test over');
      devices.clear();
      // The other end hears of it in a turn of its own.
      await new Promise<void>((resolve) => systemClock.after(0, resolve));
    },
    async close() {
      await hub.stop();
      await app.close();
      await database.close();
    },
  };
}

/** The metrics of a hub that is looked at for something else. */
export const testMetrics = (hub: () => Hub): Metrics =>
  createMetrics(() => ({ devicesByState: () => ({}), answers: () => hub().answers.counts(), replicas: () => 1 }));

/** What the server of a hub has to know of its process, for one that is alone, has time and stays. */
export function aloneAt(
  { replica, isReady }: Hub,
  database: OpenDatabase,
  url: () => string,
): Pick<HubServerDeps, 'register' | 'isReady' | 'isLeaving' | 'refusal' | 'tls' | 'address'> {
  const counts = () => ({ devices: 0, answers: 0 });
  const facts = { id: replica.id, version: HUB_VERSION, hasBus: false, address: url, counts };
  return {
    register: createLoneRegister({ database, replica: facts }),
    isReady,
    isLeaving: () => false,
    refusal: () => undefined,
    tls: undefined,
    address: () => ({ url: url() }),
  };
}
