/**
 * The hub as a process: the real core over a real database. A crash takes its memory and timers at any moment, also
 * between two steps of one transaction; what the next process finds is the database, the blob store and the secrets. A
 * pause takes nothing but time.
 */
import { createHub, type Bus, type Hub, type HubDeps, type Log } from '@idlewild/hub';
import type { OpenDatabase, Register, Secrets } from '@idlewild/hub';
import { newId, type BlobStore, type Channel, type Clock, type Crypto } from '@idlewild/protocol';
import type { Chance } from '../chance.ts';
import { createGate, type Gate } from './gate.ts';
import { openRooms, type Rooms } from './rooms.ts';
import type { Record } from '../record.ts';

export interface HubProcess extends Pick<Gate, 'isLive' | 'isPaused' | 'take' | 'give' | 'opened' | 'onShut'> {
  readonly hub: Hub;
  /** The second community that it serves, seen as a process of its own; nothing before it is there. */
  neighbour(): HubProcess | undefined;
  /** For the first community alone, or for all. */
  readonly house: Rooms['house'] | undefined;
  accept(channel: Channel): void;
  /** Its replica's id. */
  readonly id: string;
  /** Which of the places for replicas it has. */
  readonly slot: number;
  /** Whether it takes nothing new. */
  isLeaving(): boolean;
  /** When it was paused; what happened before is known to it. */
  pausedAtMs(): number;
  /** Called for everything that makes the hub do something. */
  wake(): void;
  /** Dies after so many more timers and frames, and then so many turns of promises. */
  dieAfter(wakes: number, turns: number): void;
  /** Likewise; then it stands still until `goOn`. */
  pauseAfter(wakes: number, turns: number, how: 'stopped' | 'asleep'): void;
  goOn(): void;
  crash(): void;
  stop(): Promise<void>;
  /** Lets its devices and answers go elsewhere, and stops; this takes time. */
  leave(): Promise<void>;
}

export interface Machine {
  readonly clock: Clock;
  readonly store: BlobStore;
  readonly secrets: Secrets;
  readonly crypto: Crypto;
  readonly record: Record;
  /** Whether there may be a second community. */
  readonly hasNeighbours: boolean;
  /** What a process stands on. */
  ground(id: string, gate: Gate, wake: () => void): Promise<Ground>;
}

export interface Ground {
  readonly database: OpenDatabase;
  /** Absent: it is alone. */
  readonly shared?: Shared | undefined;
}
export interface Shared {
  readonly bus: Bus;
  register(database: OpenDatabase, hub: () => Hub | undefined): Register;
}

const LEAVE = { moveMs: 1_000, boundMs: 8_000 } as const;

export async function startHubProcess(
  { clock, store, secrets, crypto, record, hasNeighbours, ground }: Machine,
  { chance, slot }: { readonly chance: Chance; readonly slot: number },
  onDead: (process: HubProcess) => void,
): Promise<HubProcess> {
  let doom: { wakes: number; readonly turns: number; readonly act: () => void } | undefined;
  let pausedAtMs = Number.NEGATIVE_INFINITY;
  let isLeaving = false;
  const started: { hub?: Hub } = {};
  const wake = (): void => {
    if (doom === undefined) return;
    doom.wakes--;
    if (doom.wakes > 0) return;
    const { turns, act } = doom;
    doom = undefined;
    void afterTurns(turns, act);
  };
  const gate = createGate(clock, wake);
  const id = newId('rep', chance);
  const log: Log = {
    debug: () => {},
    info: () => {},
    warn: (facts, message) => record.remark(`log ${id.slice(0, 10)} ${message} ${JSON.stringify(facts)}`),
    error: ({ why }, message) => {
      if (gate.isLive()) record.note({ e: 'hubError', replica: id, message, why: JSON.stringify(why) ?? '' });
    },
  };
  const { database, shared } = await ground(id, gate, wake);
  const register = shared?.register(database, () => started.hub);
  await register?.admit();
  const meter = { ended: () => {}, firstToken: () => {} };
  const deps: HubDeps = {
    database,
    store,
    clock: gate.clock,
    random: chance,
    crypto,
    secrets,
    meter,
    log,
    // A frame is passed on while it is known what caused it.
    passGapMs: 0,
    ...(shared === undefined ? {} : { replica: { id, bus: shared.bus, isAlone: false } }),
  };
  const hub = await createHub(deps);
  started.hub = hub;
  const rooms = hasNeighbours ? await openRooms(hub, deps) : undefined;
  record.note({ e: 'hub', what: 'started', replica: id });

  function end(): void {
    if (!gate.isLive()) return;
    gate.abandon();
    void shared?.bus.close();
    onDead(process);
  }
  function crash(): void {
    if (!gate.isLive()) return;
    record.note({ e: 'hub', what: 'crashed', replica: id });
    database.abandon();
    end();
  }
  function pause(how: 'stopped' | 'asleep'): void {
    if (!gate.isLive() || gate.isPaused()) return;
    record.note({ e: 'hub', what: how === 'stopped' ? 'paused' : 'asleep', replica: id });
    pausedAtMs = clock.monotonic();
    gate.pause(how);
  }

  let view: HubProcess | undefined;
  const process: HubProcess = {
    ...gate,
    hub,
    house: rooms?.house,
    accept: (channel) => (rooms === undefined ? hub.local.accept(channel) : rooms.accept(channel)),
    neighbour() {
      const next = rooms?.house.list()[1]?.hub;
      if (next !== undefined && view?.hub !== next) view = { ...process, hub: next, neighbour: () => view };
      return next === undefined ? undefined : view;
    },
    id,
    slot,
    wake,
    crash,
    isLeaving: () => isLeaving,
    pausedAtMs: () => pausedAtMs,
    dieAfter(wakes, turns) {
      doom = { wakes, turns, act: crash };
    },
    pauseAfter(wakes, turns, how) {
      doom = { wakes, turns, act: () => pause(how) };
    },
    goOn() {
      // One that was not reached by its doom never stands still.
      doom = undefined;
      if (!gate.isPaused()) return;
      record.note({ e: 'hub', what: 'woken', replica: id });
      gate.wake();
    },
    async stop() {
      try {
        await (rooms?.house ?? hub).stop();
        await register?.stop();
        if (gate.isLive()) record.note({ e: 'hub', what: 'stopped', replica: id });
        await database.close();
      } catch (error) {
        // It may be killed while it stops.
        if (gate.isLive()) throw error;
      }
      end();
    },
    async leave() {
      isLeaving = true;
      try {
        await register?.draining();
        const hubs = rooms?.house.list().map((home) => home.hub) ?? [hub];
        await Promise.all(hubs.map((each) => each.drain(LEAVE)));
      } catch (error) {
        if (gate.isLive()) throw error;
      }
      await process.stop();
    },
  };
  return process;
}

/**
 * Waits for what is done by a process, but no longer than that runs: virtual time stands still while somebody waits,
 * and a process that is paused goes on in virtual time.
 */
export async function untilShut(process: HubProcess | undefined, doing: Promise<void>): Promise<void> {
  if (process === undefined) return doing;
  await Promise.race([doing, new Promise<void>((resolve) => process.onShut(resolve))]);
}

/** One turn is one link of a chain of promises: finer than any await of the hub. */
export async function afterTurns(turns: number, act: () => void): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await Promise.resolve();
  act();
}
