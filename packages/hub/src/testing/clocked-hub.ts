/** A whole hub, alone and over an empty database, on a fake clock, with scripted devices. */
import { createMemoryBlobStore, joinTokenOf, type BlobStore } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { onTestFinished } from 'vitest';
import { openDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { silentLog } from '../log.ts';
import { joinScriptedDevice, type ScriptedDevice, type ScriptedDeviceOptions } from './scripted-device.ts';

export interface ClockedHub {
  readonly clock: FakeClock;
  readonly hub: Hub;
  readonly store: BlobStore;
  /** Of a caller. */
  readonly key: { readonly id: string; readonly key: string };
  /** How answers ended, each with its code. */
  readonly ended: string[];
  join(
    options: Pick<ScriptedDeviceOptions, 'name' | 'agreement' | 'features' | 'consent' | 'status'>,
  ): Promise<ScriptedDevice>;
}

/** It stops with the test. `settle` runs what is pending in the platform. */
export async function openClockedHub(settle: () => Promise<void>): Promise<ClockedHub> {
  const clock = createFakeClock(settle);
  const random = createSeededRandom(5);
  const database = await openDatabase({ file: ':memory:', clock });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const ended: string[] = [];
  const meter = { ended: (state: string, code: string) => void ended.push(`${state} ${code}`), firstToken: () => {} };
  const ports = { clock, random, crypto: nodeCrypto, log: silentLog };
  const hub = await createHub({ ...ports, database, store, secrets: createMemorySecrets(), meter });
  onTestFinished(async () => {
    await hub.stop();
    await database.close();
  });
  const { id: territory, publicKey } = hub.territory;
  return {
    clock,
    hub,
    store,
    key: await hub.keys.create({ territory, role: 'caller', actor: 'test' }),
    ended,
    async join(options) {
      const invite = await hub.invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
      const accept = hub.local.accept;
      const joinToken = joinTokenOf(invite.secret);
      const joining = joinScriptedDevice({ ...ports, ...options, accept, territory: publicKey, joinToken });
      await clock.advance(50);
      const device = await joining;
      await clock.advance(50);
      await device.joined;
      return device;
    },
  };
}
