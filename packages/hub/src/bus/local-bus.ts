/**
 * The bus inside one process: for a hub that is alone, and for several replicas in one test or simulated world.
 *
 * Messages are delivered in a microtask, in the order of their publishing, and the bytes are handed on as they are:
 * neither side changes them afterwards. Faults are looked up for each message, so that a world can change them as it
 * goes; without them nothing is ever lost. It knows of no network and of no keys.
 */
import type { Clock, IdlewildError, Random } from '@idlewild/protocol';
import type { Log } from '../log.ts';
import { downError, noResponderError, timeoutError } from './errors.ts';
import type { Bus, BusMessage } from './port.ts';
import { checkPattern, checkSubject, createSubjectTable } from './subjects.ts';

/** What happens to messages on their way; each part may be changed at any time. Members are numbered from 0. */
export interface BusFaults {
  /** Share of messages that vanish, 0 to 1. */
  dropRate?: number;
  /** A message takes a random time up to this; those of one member to another stay in order. */
  delayMsMax?: number;
  /** Whether what one member sends another vanishes, though both believe that they are connected. */
  isCut?(from: number, to: number): boolean;
}

export interface LocalBusMember extends Bus {
  readonly member: number;
  /** Takes the bus from this member, or gives it back; it is told. */
  setUp(isUp: boolean): void;
}

export interface LocalBusHub {
  connect(): LocalBusMember;
  /** Takes the bus from all members, or gives it back. */
  setUp(isUp: boolean): void;
}

interface Deps {
  readonly clock: Clock;
  readonly log: Log;
}

interface Listener {
  readonly member: Member;
  onMessage(message: BusMessage): void;
  isStopped: boolean;
}

interface Pending {
  readonly subject: string;
  settle(outcome: Uint8Array | IdlewildError): void;
}

interface Member {
  readonly number: number;
  isUp: boolean;
  isClosed: boolean;
  readonly listeners: Map<Listener, string>;
  readonly pending: Set<Pending>;
  readonly onChange: Set<(isUp: boolean) => void>;
}

/** For a hub that is alone. */
export const createLocalBus = (deps: Deps): Bus => createLocalBusHub(deps).connect();

interface Faulty extends Deps {
  /** For faults that happen by chance. */
  readonly random?: Random;
  readonly faults?: BusFaults;
}

export function createLocalBusHub(deps: Faulty): LocalBusHub {
  const world: World = { deps, carry: createCarrier(deps), listeners: createSubjectTable() };
  const members: Member[] = [];
  return {
    connect() {
      const member: Member = {
        number: members.length,
        isUp: true,
        isClosed: false,
        listeners: new Map(),
        pending: new Set(),
        onChange: new Set(),
      };
      members.push(member);
      return createMember(world, member);
    },
    setUp(isUp) {
      for (const member of members) setUp(world, member, isUp);
    },
  };
}

interface World {
  readonly deps: Deps;
  readonly listeners: ReturnType<typeof createSubjectTable<Listener>>;
  /** Has `act` happen when a message of one member reaches another, or never. */
  carry(from: number, to: number, act: () => void): void;
}

function createMember(world: World, member: Member): LocalBusMember {
  const { listeners } = world;
  const stop = (listener: Listener): void => {
    const pattern = member.listeners.get(listener);
    if (pattern === undefined) return;
    listener.isStopped = true;
    member.listeners.delete(listener);
    listeners.remove(pattern, listener);
  };
  return {
    member: member.number,
    publish(subject, bytes) {
      checkSubject(subject);
      if (!member.isUp) return;
      const message: BusMessage = { subject, bytes, respond: () => undefined };
      send(world, member, subject, () => message);
    },
    subscribe(pattern, onMessage) {
      checkPattern(pattern);
      const listener: Listener = { member, onMessage, isStopped: member.isClosed };
      if (!member.isClosed) {
        member.listeners.set(listener, pattern);
        listeners.add(pattern, listener);
      }
      return { stop: () => stop(listener) };
    },
    request: (subject, bytes, { timeoutMs }) => ask(world, member, subject, bytes, timeoutMs),
    isUp: () => member.isUp,
    onChange(listener) {
      const own = (isUp: boolean): void => listener(isUp);
      member.onChange.add(own);
      return { stop: () => void member.onChange.delete(own) };
    },
    setUp: (isUp) => setUp(world, member, isUp),
    close() {
      member.onChange.clear();
      setUp(world, member, false);
      member.isClosed = true;
      for (const listener of [...member.listeners.keys()]) stop(listener);
      return Promise.resolve();
    },
  };
}

/** How many listened. */
function send(world: World, from: Member, subject: string, messageTo: (member: number) => BusMessage): number {
  let heard = 0;
  for (const listener of world.listeners.of(subject)) {
    const { member } = listener;
    if (!member.isUp) continue;
    heard++;
    world.carry(from.number, member.number, () => {
      if (listener.isStopped || !member.isUp) return;
      try {
        listener.onMessage(messageTo(member.number));
      } catch (error) {
        world.deps.log.error({ err: error, subject }, 'a message on the bus could not be handled');
      }
    });
  }
  return heard;
}

async function ask(world: World, member: Member, subject: string, bytes: Uint8Array, ms: number): Promise<Uint8Array> {
  checkSubject(subject);
  if (!member.isUp) throw downError(subject);
  return new Promise((resolve, reject) => {
    const timer = world.deps.clock.after(ms, () => pending.settle(timeoutError(subject, ms)));
    const pending: Pending = {
      subject,
      settle(outcome) {
        if (!member.pending.delete(pending)) return;
        timer.cancel();
        if (outcome instanceof Uint8Array) resolve(outcome);
        else reject(outcome);
      },
    };
    member.pending.add(pending);
    const heard = send(world, member, subject, (other) => ({
      subject,
      bytes,
      respond: (answer) => world.carry(other, member.number, () => pending.settle(answer)),
    }));
    if (heard === 0) pending.settle(noResponderError(subject));
  });
}

function setUp({ deps }: World, member: Member, isUp: boolean): void {
  if (member.isUp === isUp || member.isClosed) return;
  member.isUp = isUp;
  if (!isUp) for (const pending of [...member.pending]) pending.settle(downError(pending.subject));
  for (const listener of [...member.onChange]) {
    try {
      listener(isUp);
    } catch (error) {
      deps.log.error({ err: error, isUp }, 'a change of the bus could not be handled');
    }
  }
}

function createCarrier({ clock, random, faults }: Faulty): World['carry'] {
  const soon = createMicrotasks();
  if (faults === undefined) return (_from, _to, act) => soon(act);
  const chance = (): number => random?.unit() ?? 0;
  /** What is under way from one member to another: whichever timer fires first, the first message arrives. */
  const links = new Map<string, { readonly acts: (() => void)[]; dueMs: number }>();
  return (from, to, act) => {
    if (faults.isCut?.(from, to) === true) return;
    const { dropRate = 0, delayMsMax = 0 } = faults;
    if (dropRate > 0 && chance() < dropRate) return;
    const name = `${from} ${to}`;
    const link = links.get(name) ?? { acts: [], dueMs: 0 };
    links.set(name, link);
    if (delayMsMax === 0 && link.acts.length === 0) return soon(act);
    const nowMs = clock.monotonic();
    link.dueMs = Math.max(link.dueMs, nowMs + chance() * delayMsMax);
    link.acts.push(act);
    clock.after(link.dueMs - nowMs, () => link.acts.shift()?.());
  };
}

/** Runs what it is given after what runs now, in order: one microtask for all that comes meanwhile. */
function createMicrotasks(): (act: () => void) => void {
  let waiting: (() => void)[] = [];
  const run = (): void => {
    const acts = waiting;
    waiting = [];
    for (const act of acts) act();
  };
  return (act) => {
    if (waiting.push(act) === 1) queueMicrotask(run);
  };
}
