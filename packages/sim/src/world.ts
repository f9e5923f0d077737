/**
 * A world from a seed: a real hub on a real database, devices of many kinds, and people who ask, on one virtual clock
 * over links in memory. It makes things and connects them; what befalls them is `faults.ts`, what must hold of them
 * stands in `invariants/`.
 */
import { join } from 'node:path';
import {
  IdlewildError,
  createMemoryBlobStore,
  decodeCbor,
  type AnswerEvent,
  type AnswerWork,
  type BlobSource,
  type BlobStore,
  type ErrorCode,
  type ToDevice,
} from '@idlewild/protocol';
import { createMemorySecrets, type AnswerSink, type Hub } from '@idlewild/hub';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, storeTinyModel, type FakeClock } from '@idlewild/protocol/testing';
import { createAgenda, type Agenda } from './agenda.ts';
import { MODEL, createCallers, type CallerKey, type Callers } from './callers.ts';
import { createChance, type Chance } from './chance.ts';
import { createDevice, type DeviceTraits, type SimDevice } from './device.ts';
import type { Forbidden, Timed, Via } from './events.ts';
import { startHubProcess, type HubProcess, type Machine } from './hub-process.ts';
import type { OtherLease } from './lies.ts';
import type { Door, Link, LinkWatch } from './link.ts';
import { createTemporaryFolder, yieldToPlatform } from './node/platform.ts';
import { createRecord, type Record } from './record.ts';
import { createRememberingCrypto } from './remembering-crypto.ts';
import { createSteward, type Steward } from './steward.ts';

export const CONTEXT_TOKENS = 4_096;
const CALLERS = 6;
const DEVICES_PER_INVITE = 50;

export interface WorldOptions {
  readonly seed: number;
  readonly devices: number;
  readonly traceLinesMax: number;
  readonly breakage?: Breakage | undefined;
  /** Models, of which no device has room for more than a few; 1, for which there is room everywhere. */
  readonly models: number;
  readonly onEvent: (event: Timed) => void;
  /** The hub has started again, and nobody has connected yet. */
  readonly onRestarted: (world: World) => Promise<void>;
}

/** How a test breaks a world, to see that it is noticed. */
export interface Breakage {
  wrapSink?(sink: AnswerSink): AnswerSink;
  /** Between what a device sent and what the hub makes of it. */
  rewrite?(frame: Uint8Array, device: string): Uint8Array;
  /** After each start of the hub. */
  onHub?(hub: Hub): Promise<void>;
  /** Once, when all have joined. */
  meanwhile?(world: World): void;
  /** Whether a revoked device is disconnected, and a pausing lender heeded. */
  readonly dropsRevoked?: boolean;
  readonly heedsLender?: boolean;
}

export interface World {
  readonly seed: number;
  readonly clock: FakeClock;
  readonly agenda: Agenda;
  readonly record: Record;
  readonly devices: readonly SimDevice[];
  readonly callers: Callers;
  readonly steward: Steward;
  readonly callerKeys: readonly CallerKey[];
  /** Keys and devices whose revocation the hub has acknowledged. */
  readonly revoked: ReadonlySet<string>;
  /** Devices that must not come back: superseded by a clone, or told that they are revoked. */
  readonly over: ReadonlySet<string>;
  /** The first model; in a crowded world there are more. */
  readonly model: string;
  readonly models: readonly WorldModel[];
  process(): HubProcess | undefined;
  /** Requests that were given to a device at least once and are not over. */
  begun(): number;
  deviceOf(id: string): SimDevice | undefined;
  /** A stream of chance of its own. */
  chance(stream: string): Chance;
  startHub(): Promise<void>;
  /** Calls `act` as soon as the device proves itself to the hub again, which has not finished with it by then. */
  atProof(device: string, act: () => void): void;
  /** Revoking again changes nothing. */
  revokeDevice(id: string): Promise<void>;
  revokeKey(id: string): Promise<void>;
  /** Starts a device that is not running; whatever ended it before is forgotten. */
  restart(device: SimDevice, how: { diskIsLost: boolean }): Promise<void>;
  /** Lets virtual time pass, doing what is on the agenda. */
  run(ms: number): Promise<void>;
  close(): Promise<void>;
}

export interface WorldModel {
  readonly cid: string;
  readonly name: string;
  readonly bytes: number;
}

/** What the parts of a world share while it is put together. */
interface Making {
  readonly options: WorldOptions;
  readonly clock: FakeClock;
  readonly record: Record;
  readonly machine: Machine;
  readonly leases: Map<number, OtherLease & { readonly device: string }>;
  readonly byId: Map<string, SimDevice>;
  /** What the hub has acknowledged, and what was asked of it. */
  readonly revoked: Set<string>;
  readonly revoking: Set<string>;
  readonly over: Set<string>;
  readonly atProof: Map<string, () => void>;
  process: HubProcess | undefined;
  via: Via | undefined;
  starts: number;
  onDead(): void;
}

export async function createWorld(options: WorldOptions): Promise<World> {
  const { seed, breakage = {} } = options;
  const clock = createFakeClock(yieldToPlatform);
  const record = createRecord(clock, options.traceLinesMax);
  const folder = createTemporaryFolder();
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 24 });
  const crypto = createRememberingCrypto(nodeCrypto);
  const machine = { clock, crypto, record, store, secrets: createMemorySecrets(), file: join(folder.path, 'hub.db') };
  const making: Making = {
    options,
    clock,
    record,
    machine,
    leases: new Map(),
    byId: new Map(),
    revoked: new Set(),
    revoking: new Set(),
    over: new Set(),
    atProof: new Map(),
    process: undefined,
    via: undefined,
    starts: 0,
    onDead: () => {},
  };
  record.listen(options.onEvent);
  followLeases(making);
  const process = (): HubProcess | undefined => making.process;
  const callers = createCallers({
    record,
    process,
    via: () => making.via,
    wrapSink: (sink) => breakage.wrapSink?.(sink) ?? sink,
  });
  const devices: SimDevice[] = [];
  making.onDead = () => {
    making.process = undefined;
    making.leases.clear();
    for (const device of devices) device.link.cut('the hub died');
    callers.cutOff();
  };
  await startHub(making);
  const steward = await createSteward({ record, process, dropsRevoked: breakage.dropsRevoked ?? true });
  const models = await publish(store, options.models, steward);
  const callerKeys: CallerKey[] = [];
  for (let caller = 0; caller < CALLERS; caller++) callerKeys.push(await steward.createKey(`caller ${caller}`));
  devices.push(...(await createDevices(making, steward)));
  for (const device of devices) making.byId.set(device.id, device);
  const agenda = createAgenda();
  const world: World = {
    seed,
    clock,
    record,
    agenda,
    devices,
    callers,
    steward,
    callerKeys,
    model: models[0]?.cid ?? '',
    models,
    process,
    revoked: making.revoked,
    over: making.over,
    begun: () => making.leases.size,
    deviceOf: (id) => making.byId.get(id),
    chance: (stream) => createChance(seed, stream),
    async startHub() {
      await startHub(making);
      await options.onRestarted(world);
    },
    atProof: (device, act) => void making.atProof.set(device, act),
    revokeDevice: (id) => revokeOnce(making, world, id, steward.revokeDevice),
    revokeKey: (id) => revokeOnce(making, world, id, steward.revokeKey),
    async restart(device, how) {
      making.over.delete(device.id);
      await device.start(how);
    },
    run: (ms) => run(clock, agenda, ms),
    async close() {
      for (const device of devices) device.die(true);
      await making.process?.stop();
      folder.remove();
    },
  };
  return world;
}

const RETRY_MS = 2_000;

/** When the hub dies meanwhile nobody knows whether it is done, and the steward asks again. */
async function revokeOnce(
  making: Making,
  world: World,
  id: string,
  revoke: (id: string) => Promise<void>,
): Promise<void> {
  const { revoked, revoking, process } = making;
  if (revoked.has(id) || revoking.has(id)) return;
  revoking.add(id);
  const again = (): void =>
    world.agenda.at(world.clock.monotonic() + RETRY_MS, async () => {
      revoking.delete(id);
      await revokeOnce(making, world, id, revoke);
    });
  if (process === undefined) return again();
  try {
    await revoke(id);
  } catch (error) {
    if (process.isLive()) throw error;
    return again();
  }
  if (process.isLive()) revoked.add(id);
  else again();
}

/** So small that what is put on the agenda for soon is not late by much. */
const STRIDE_MS = 50;

async function run(clock: FakeClock, agenda: Agenda, ms: number): Promise<void> {
  const untilMs = clock.monotonic() + ms;
  while (clock.monotonic() < untilMs) {
    const nextMs = Math.min(untilMs, agenda.nextAtMs(), clock.monotonic() + STRIDE_MS);
    await clock.advance(Math.max(0, nextMs - clock.monotonic()));
    while (agenda.nextAtMs() <= clock.monotonic()) {
      await agenda.take()?.();
      await clock.settle();
    }
  }
}

async function startHub(making: Making): Promise<void> {
  const {
    options: { seed, breakage },
    machine,
  } = making;
  const started = await startHubProcess(machine, createChance(seed, `hub ${making.starts++}`), () => making.onDead());
  making.process = started;
  await breakage?.onHub?.(started.hub);
}

const CROWDED_BYTES = 100_000;

/**
 * Models of a few bytes. The simulated engine reads none of them, but they go the way of all models. In a crowded
 * world they are larger, each another size, so that devices give them to each other and have room for a few.
 */
async function publish(store: BlobStore, count: number, steward: Steward): Promise<WorldModel[]> {
  const models: WorldModel[] = [];
  for (let index = 0; index < count; index++) {
    const text = `model ${index} of very few parameters`;
    const file = count === 1 ? text : text.padEnd(CROWDED_BYTES * (1 + (index % 4)), '.');
    const cid = await storeTinyModel(store, file, { crypto: nodeCrypto, contextTokens: CONTEXT_TOKENS });
    const name = index === 0 ? MODEL : `${MODEL}-${index}`;
    await steward.addModel(cid, name);
    models.push({ cid, name, bytes: file.length });
  }
  return models;
}

async function createDevices(making: Making, steward: Steward): Promise<SimDevice[]> {
  const {
    options: { seed, devices: count, breakage },
    clock,
  } = making;
  const territory = making.process?.hub.territory.publicKey as Uint8Array;
  const elsewhere = (await nodeCrypto.signingKey(createChance(seed, 'elsewhere').bytes(32))).publicKey;
  const devices: SimDevice[] = [];
  let inviteSecret = new Uint8Array();
  for (let index = 0; index < count; index++) {
    if (index % DEVICES_PER_INVITE === 0) inviteSecret = new Uint8Array(await steward.createInvite(DEVICES_PER_INVITE));
    devices.push(
      await createDevice({
        clock,
        territory,
        elsewhere,
        inviteSecret,
        crypto: making.machine.crypto,
        heedsLender: breakage?.heedsLender ?? true,
        chance: createChance(seed, `device ${index}`),
        traits: drawTraits(createChance(seed, `traits ${index}`), index, making.options.models > 1),
        door: () => doorOf(making),
        fetchBlob: (device, ticket, link) => fetchBlob(making, device, ticket, link),
        watch: (device) => watchOf(making, device),
        otherLease: (device) => [...making.leases.values()].find((lease) => lease.device !== device),
        onRan: (device, work, forbidden) =>
          making.record.note({ e: 'ran', device, request: requestOf(work), tokens: work.tokens.length, forbidden }),
        onEnded: (device, code) => onEnded(making, device, code),
      }),
    );
  }
  return devices;
}

function drawTraits(chance: Chance, index: number, crowded: boolean): DeviceTraits {
  const oddity = chance.unit();
  // Some are alone in their class, and fast, so that answers begin there and must go on elsewhere.
  const alone = chance.happens(0.1);
  return {
    name: `device ${index}`,
    family: alone ? 3 + index : chance.pick([0, 0, 0, 1, 1, 2]),
    tokensPerSecond: alone ? chance.between(50, 80) : chance.between(6, 60),
    boast: chance.happens(0.05) ? 4 : 1,
    slots: chance.whole(1, 3),
    latencyMs: chance.between(1, 60),
    jitterMs: chance.between(0, 30),
    loadMs: chance.between(50, 1_500),
    diskBytes: crowded ? CROWDED_BYTES * (3 + (index % 5)) : 2 ** 22,
    memoryBytes: crowded ? CROWDED_BYTES * (2 + (index % 5)) : 2 ** 30,
    lends: oddity < 0.03 ? 'nothing' : oddity < 0.06 ? 'elsewhere' : 'answers',
    stranger: oddity > 0.99,
  };
}

/** Requests carry their number in the prompt: that is how work is known again wherever it turns up. */
export function requestOf({ prompt }: Pick<AnswerWork, 'prompt'>): number {
  const text = prompt.kind === 'text' ? prompt.text : (prompt.messages.at(-1)?.content ?? '');
  return Number(/^#(\d+) /.exec(text)?.[1] ?? Number.NaN);
}

function doorOf({ process }: Making): Door | undefined {
  if (process === undefined) return undefined;
  return { isLive: process.isLive, accept: (channel) => process.hub.local.accept(channel) };
}

function onEnded(making: Making, device: string, code: ErrorCode): void {
  const { record, over, revoking } = making;
  if (making.byId.get(device)?.isRunning() !== true) over.add(device);
  const because = code === 'superseded' || (code === 'device_revoked' && revoking.has(device));
  record.note({ e: 'ended', device, code, because });
}

/** The blob route, as the gateway has it. */
function fetchBlob(making: Making, device: string, ticket: string, link: Link): BlobSource['fetch'] {
  return async (cid) => {
    const latencyMs = making.byId.get(device)?.traits.latencyMs ?? 0;
    await new Promise<void>((resolve) => {
      making.clock.after(latencyMs, resolve);
    });
    const { process } = making;
    if (process === undefined || link.isBlocked()) throw new IdlewildError('hub_unreachable', 'no answer');
    const bearer = await process.hub.ticketHolders.holderOf(ticket);
    if (bearer === undefined) throw new IdlewildError('unauthenticated', 'the ticket is of no open session');
    const { hub } = process;
    const principal = { kind: 'device', deviceId: bearer.device, territory: bearer.territory } as const;
    hub.policy.decide(principal, 'fetchBlob', { territory: hub.territory.id });
    making.record.note({ e: 'told', device: bearer.device, kind: 'blob' });
    const served = await hub.blobs.fetch(cid, bearer.device);
    served?.ended(true);
    return served?.bytes;
  };
}

/** Whether a frame says so near its beginning: decoding all of them to learn their kinds would take half the time. */
const startsWith = (frame: Uint8Array, text: string): boolean =>
  Buffer.from(frame.buffer, frame.byteOffset, Math.min(frame.length, 32)).includes(text);

function watchOf(making: Making, device: string): LinkWatch {
  const {
    record,
    options: { breakage },
  } = making;
  return {
    onToDevice(frame) {
      if (startsWith(frame, 'atmheartbeat.ack')) return record.note({ e: 'told', device, kind: 'heartbeat.ack' });
      const message = decodeCbor(frame, 'a frame of the hub') as ToDevice;
      record.note({ e: 'told', device, kind: message.t });
      if (message.t === 'hold') {
        record.note({ e: 'placed', device, models: message.models.map(({ cid, bytes }) => ({ cid, bytes })) });
      }
      if (message.t !== 'answer') return;
      const { lease, epoch, work } = message;
      const forbidden = forbiddenAtHub(making, device);
      record.note({ e: 'ordered', device, lease, epoch, request: requestOf(work), tokens: work.tokens, forbidden });
    },
    onToHub(frame, handle) {
      making.process?.wake();
      if (making.process === undefined) return;
      making.via = startsWith(frame, 'atiheartbeat') ? undefined : viaOf(frame, device);
      try {
        handle(breakage?.rewrite?.(frame, device) ?? frame);
      } finally {
        making.via = undefined;
      }
      if (!startsWith(frame, 'ateprove')) return;
      making.atProof.get(device)?.();
      making.atProof.delete(device);
    },
  };
}

function viaOf(frame: Uint8Array, device: string): Via | undefined {
  try {
    const message = decodeCbor(frame, 'a frame of a device') as AnswerEvent;
    return typeof message?.lease === 'string' ? { device, frame: message } : undefined;
  } catch {
    // Garbage is what some devices send; the hub is to find that out by itself.
    return undefined;
  }
}

/** What the hub has been told of the device, and so must heed. */
function forbiddenAtHub({ process, byId }: Making, device: string): Forbidden | undefined {
  const { lends } = byId.get(device)?.traits ?? { lends: 'answers' };
  if (lends !== 'answers') return lends === 'nothing' ? 'consent' : 'territory';
  const connected = process?.hub.sessions.get(device);
  if (connected === undefined) return undefined;
  if (connected.draining) return 'draining';
  const { state } = connected.status;
  return state === 'paused' || state === 'draining' ? state : undefined;
}

function followLeases({ record, leases }: Making): void {
  record.listen((event) => {
    switch (event.e) {
      case 'ordered': {
        const { request, device, lease, epoch, tokens } = event;
        return void leases.set(request, { device, lease, epoch, tokens: tokens.length });
      }
      case 'token': {
        const lease = leases.get(event.request);
        if (lease !== undefined) leases.set(event.request, { ...lease, tokens: event.i + 1 });
        return;
      }
      case 'finished':
      case 'failed':
      case 'hungUp':
        return void leases.delete(event.request);
      default:
    }
  });
}
