/**
 * The four processes of the demonstration: a hub and three devices, started, watched, killed, started again and ended.
 * Each lender's consent is given explicitly: it ignores presence, since the one who starts the demonstration is here.
 */
import { join } from 'node:path';
import type { Client } from '@idlewild/client';
import { IdlewildError, isErrorCode } from '@idlewild/protocol';
import { openHub } from '../hub-access.ts';
import { startChild, type Child } from '../processes/child.ts';
import { startDeviceProcess } from '../processes/device-process.ts';
import { stewardKey } from '../data-folder.ts';

export const DEVICE_NAMES = ['ada', 'babbage', 'curie'] as const;

/** A device drains for ten seconds at most. */
const STOP_MS = 12_000;

export interface Stage {
  readonly url: string;
  /** As the steward. */
  readonly client: Client;
  /** Starts the process if it does not run, and lets it join. */
  startDevice(name: string): Promise<void>;
  /** The process of a device, by the id that the hub knows it by; `undefined` when it is not running. */
  pidOf(deviceId: string): number | undefined;
  /** kill -9 of the device's whole process group. */
  kill(deviceId: string): void;
  /** Rejects when a process ends that was not killed here. */
  readonly broken: Promise<never>;
  stop(): Promise<void>;
}

/** Starts the hub and the first device. Throws what the hub says when it does not start. */
export async function setStage(data: string, port: number): Promise<Stage> {
  const company = createCompany();
  const { children, broken, watch, stop } = company;
  const names = new Map<string, string>();

  const open = (name: string): Child => {
    const onState = (state: Readonly<Record<string, unknown>>): void => void names.set(String(state.deviceId), name);
    return watch(name, startDeviceProcess({ name, data: join(data, name), presence: 'ignore', onState }));
  };
  try {
    const words = ['up', '--port', String(port), '--data', join(data, 'hub')];
    const up = new Promise<string>((resolve) => {
      watch('hub', startChild(words, { onLine: (line) => resolve(String(line.url)) }));
    });
    // Loading takes as long as the hub's own start, and there is a second core.
    open(DEVICE_NAMES[0]);
    const url = await Promise.race([up, broken]);
    const { client } = openHub({ hub: url, key: stewardKey(join(data, 'hub')) });
    return {
      url,
      client,
      broken,
      stop,
      async startDevice(name) {
        const child = children.get(name) ?? open(name);
        const { token } = await client.invites.create({ uses: 1, expiresInSeconds: 600 });
        child.say(token);
      },
      pidOf: (deviceId) => children.get(names.get(deviceId) ?? '')?.pid,
      kill: (deviceId) => company.kill(names.get(deviceId) ?? ''),
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Processes by name, and the promise that none of them leaves unasked. */
function createCompany() {
  const children = new Map<string, Child>();
  let stopping = false;
  let fail: (error: IdlewildError) => void = () => undefined;
  const broken = new Promise<never>((_, reject) => {
    fail = reject;
  });
  // Whoever waits for it learns of it; before that nobody need.
  broken.catch(() => undefined);

  return {
    children,
    broken,
    watch(name: string, child: Child): Child {
      children.set(name, child);
      void child.ended.then(({ code, problem }) => {
        if (children.get(name) !== child) return;
        children.delete(name);
        if (stopping) return;
        const known = isErrorCode(problem?.code) ? problem.code : 'internal';
        fail(new IdlewildError(known, `${name} ended: ${problem?.message ?? `exit code ${code}`}`));
      });
      return child;
    },
    kill(name: string): void {
      const child = children.get(name);
      children.delete(name);
      child?.kill();
    },
    /** The devices first, so that none of them sees its hub vanish. */
    async stop(): Promise<void> {
      stopping = true;
      const hub = children.get('hub');
      await Promise.all([...children.values()].filter((child) => child !== hub).map((child) => child.stop(STOP_MS)));
      await hub?.stop(STOP_MS);
    },
  };
}
