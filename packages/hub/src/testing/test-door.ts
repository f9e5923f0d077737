/** A whole hub behind its HTTP door on loopback, in memory, with scripted devices that join on request. */
import { createMemoryBlobStore, digestTokens, joinTokenOf, type AnswerWork, type Manifest } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { openDatabase } from '../db/open.ts';
import { createHubServer } from '../gateway/hub-server.ts';
import { createMetrics } from '../gateway/metrics.ts';
import { createHub, type Hub, type HubDeps } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { silentLog } from '../log.ts';
import {
  answerAs,
  joinScriptedDevice,
  warmModel,
  type Script,
  type ScriptedDevice,
  type ScriptedDeviceOptions,
} from './scripted-device.ts';
import { publishTestModel } from './test-model.ts';

export interface TestDoor {
  readonly hub: Hub;
  readonly url: string;
  /** A caller's key. */
  readonly key: string;
  /** The one model's name and CID. */
  readonly model: { readonly name: string; readonly cid: string };
  /** A device that holds the model and answers every order with what `script` makes of its work. */
  join(
    script?: (work: AnswerWork) => Script,
    options?: Pick<ScriptedDeviceOptions, 'features' | 'name' | 'status'>,
  ): Promise<ScriptedDevice>;
  /** Publishes another model; returns its CID. */
  publish(name: string, manifest?: Partial<Manifest>): Promise<string>;
  /** Cuts every device off. */
  empty(): Promise<void>;
  close(): Promise<void>;
}

/** What a test has an interest in; the rest is in memory, without limits and silent. */
export interface TestDoorOptions extends Partial<Pick<HubDeps, 'database' | 'store' | 'secrets' | 'limits' | 'log'>> {
  /** In which the model differs from a decoder. */
  readonly manifest?: Partial<Manifest>;
  /** For keys that are there already. */
  readonly key?: string;
}

export async function openTestDoor(modelName: string, options: TestDoorOptions = {}): Promise<TestDoor> {
  const database = options.database ?? (await openDatabase({ file: ':memory:', clock: systemClock }));
  const store = options.store ?? createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 30 });
  const metrics = createMetrics(() => ({ devicesByState: () => ({}), answers: () => hub.answers.counts() }));
  const { secrets = createMemorySecrets(), limits, log = silentLog } = options;
  const ports = { clock: systemClock, random: nodeRandom, log };
  const hub = await createHub({ ...ports, database, store, crypto: nodeCrypto, secrets, limits, meter: metrics.meter });
  let url = '';
  const app = await createHubServer({ ...ports, hub, store, metrics, tls: undefined, address: () => ({ url }) });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
  const territory = hub.territory.id;
  const key = options.key ?? (await hub.keys.create({ territory, role: 'caller', actor: 'test' })).key;
  const cid = await publishTestModel(hub, store, modelName, options.manifest);
  const devices = new Set<ScriptedDevice>();
  return {
    hub,
    url,
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
