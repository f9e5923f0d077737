/**
 * What the end-to-end tests share: a temporary folder with a hub and devices in it, each a real process with a real
 * engine and the bundled model, on loopback and free ports.
 *
 * Nothing is waited for by time: every wait is for an event or a condition, with a deadline that fails the test.
 */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentState } from '@idlewild/agent';
import type { LenderChoice } from '@idlewild/agent/node';
import { createClient, type Client, type Fetch } from '@idlewild/client';
import { measureMachine } from '@idlewild/engine/node';
import { startChild, until, type Child } from './processes/child.ts';
import type { DeviceLine, DeviceProcessOptions } from './processes/device.ts';
import type { HubLine, HubProcessOptions } from './processes/hub.ts';

const PROCESSES = join(import.meta.dirname, 'processes');
const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
export const MODEL_FOLDER = join(import.meta.dirname, '../models/jacobean');
export const MODEL = 'jacobean';

export interface HubProcess extends Child<HubLine> {
  readonly url: string;
  readonly port: number;
  readonly data: string;
  /** The steward's key. */
  readonly key: string;
  /** Hexadecimal; over TLS only. */
  readonly pin: string | undefined;
  /** As the steward. */
  readonly client: Client;
  log(): string;
}

export interface DeviceProcess extends Child<DeviceLine> {
  readonly name: string;
  readonly data: string;
  /** The latest that it told. */
  state(): AgentState;
  /** Process ids of the engines that it loaded, oldest first. */
  enginePids(): number[];
  log(): string;
}

export interface DeviceOptions extends Partial<Omit<DeviceProcessOptions, 'consent'>> {
  readonly consent?: Partial<LenderChoice>;
  readonly env?: NodeJS.ProcessEnv;
  /** Resolves at once, and not only when the device can answer. */
  readonly atOnce?: boolean;
}

export interface World {
  readonly folder: string;
  /** A hub in a folder of its own, or again in that of an earlier one. Throws what it refuses to start with. */
  startHub(options?: Partial<HubProcessOptions> & { readonly fetch?: Fetch }): Promise<HubProcess>;
  /** Publishes the bundled model with the command line. */
  publish(hub: Pick<HubProcess, 'url' | 'key'>): Promise<void>;
  /** A device that joins with an invite the first time, and just comes back when its folder is there. */
  startDevice(hub: HubProcess, name: string, options?: DeviceOptions): Promise<DeviceProcess>;
  /** The command line against a hub. */
  idlewild(hub: Pick<HubProcess, 'url' | 'key'>, words: readonly string[]): Child<Readonly<Record<string, unknown>>>;
  /** Ends every process and removes the folder. */
  end(): Promise<void>;
}

export async function createWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-e2e-'));
  const children = new Set<Child<unknown>>();
  const known = new Set<string>();
  const machine = await measureMachine();
  let count = 0;
  const keep = <Line>(child: Child<Line>): Child<Line> => {
    children.add(child);
    void child.ended.then(() => children.delete(child));
    return child;
  };
  const idlewild: World['idlewild'] = ({ url, key }, words) =>
    keep(startChild<Readonly<Record<string, unknown>>>(CLI, [...words, '--json', '--hub', url, '--key', key]));

  return {
    folder,
    idlewild,
    async startHub({ fetch, ...given } = {}) {
      const number = ++count;
      const options: HubProcessOptions = {
        data: join(folder, `hub-${number}`),
        host: '127.0.0.1',
        port: 0,
        logFile: join(folder, `hub-${number}.log`),
        ...given,
      };
      const child = keep(startChild<HubLine>(join(PROCESSES, 'hub.ts'), [JSON.stringify(options)]));
      const ready = await child.line(() => true, 'starting a hub');
      if ('error' in ready) {
        await child.ended;
        throw Object.assign(new Error(ready.error.message), { code: ready.error.code });
      }
      const { url, pin, stewardKeyFile } = ready;
      const key = readFileSync(stewardKeyFile, 'utf8').trim();
      return {
        ...child,
        url,
        key,
        pin,
        data: options.data,
        port: Number(new URL(url).port),
        client: createClient({ hub: url, key, ...(fetch === undefined ? {} : { fetch }) }),
        log: () => readFileSync(options.logFile, 'utf8'),
      };
    },
    async publish(hub) {
      const adding = idlewild(hub, ['models', 'add', MODEL_FOLDER]);
      const { code } = await adding.ended;
      if (code !== 0) throw new Error(`publishing the bundled model failed: ${adding.said()}`);
    },
    async startDevice(hub, name, { consent, env, atOnce = false, ...given } = {}) {
      const data = given.data ?? join(folder, `device-${name}`);
      const isNew = !known.has(data);
      const invite = isNew ? (await hub.client.invites.create({ uses: 1, expiresInSeconds: 600 })).token : undefined;
      known.add(data);
      const logFile = join(folder, `device-${name}-${++count}.log`);
      const options: DeviceProcessOptions = {
        data,
        name,
        logFile,
        machine,
        ...(invite === undefined ? {} : { invite }),
        ...given,
        ...(isNew || consent !== undefined ? { consent: { kinds: ['answers'], presence: 'ignore', ...consent } } : {}),
      };
      const child = keep(startChild<DeviceLine>(join(PROCESSES, 'device.ts'), [JSON.stringify(options)], env));
      const device: DeviceProcess = {
        ...child,
        name,
        data,
        state: () => lastState(child),
        enginePids: () => enginePidsIn(readFileSync(logFile, 'utf8')),
        log: () => readFileSync(logFile, 'utf8'),
      };
      if (atOnce) return device;
      await device.line(isReady, `the device ${name} becoming ready`);
      // It tells its owner and its hub at the same time.
      const isThere = async (): Promise<boolean> =>
        (await hub.client.devices.list()).some((each) => each.name === name && each.models.length > 0);
      await until(isThere, `the hub seeing the device ${name}`);
      return device;
    },
    async end() {
      await Promise.all([...children].map((child) => child.kill()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Connected, with a model that answers. */
export const isReady = (line: DeviceLine): boolean =>
  'state' in line && line.state.state === 'ready' && line.state.models.some((model) => model.state === 'warm');

function lastState(child: Child<DeviceLine>): AgentState {
  const last = child.lines.findLast((line) => 'state' in line);
  if (last === undefined) throw new Error(`the device has told no state; it said: ${child.said()}`);
  return last.state;
}

const enginePidsIn = (log: string): number[] =>
  [...log.matchAll(/is loaded in process (\d+)/g)].map(([, pid]) => Number(pid));

/** Every file below `folder`. */
export function filesBelow(folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
