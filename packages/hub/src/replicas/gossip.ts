/**
 * What this replica tells the others of its own devices: changes, collected for a moment and numbered. However many
 * there are, and however much each device says of itself, a message is no larger than the bus carries: the rest goes
 * with the next.
 */
import { encodeCbor, type Clock, type Timer } from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { LocalDevice } from '../session/connected-device.ts';
import type { GoneCode } from '../session/port.ts';
import type { LocalSessions } from '../session/sessions.ts';
import { write, type Changes, type Changing, type Facts, type Page } from './fleet-wire.ts';
import { FLEET_LIMITS } from './limits.ts';

export interface Gossip {
  joined(device: LocalDevice): void;
  /** It may have changed; what has not is not told. */
  changed(device: LocalDevice): void;
  gone(device: LocalDevice, code: GoneCode, why: string): void;
  /** Of the last message. */
  number(): number;
  /** Devices whose ids come after this one. */
  page(after: string): Page;
  stop(): void;
}

interface Deps {
  readonly replica: string;
  readonly bus: Bus;
  readonly isAlone: boolean;
  readonly clock: Clock;
  readonly local: () => Pick<LocalSessions, 'get' | 'list'>;
}

interface Told {
  v: number;
  /** What was told last, but for the round trip. */
  text: string;
  roundTripMs: number | undefined;
  roundTripAtMs: number;
  agreementKey: Uint8Array;
}

export function createGossip({ replica, bus, isAlone, clock, local }: Deps): Gossip {
  const told = new WeakMap<LocalDevice, Told>();
  const came = new Set<LocalDevice>();
  const dirty = new Set<LocalDevice>();
  let left: Changes['gone'] = [];
  let n = 0;
  let timer: Timer | undefined;

  const soon = (): void => {
    timer ??= clock.after(FLEET_LIMITS.gossipMs, tell);
  };

  /** `undefined` when nothing has changed since it was told. */
  function changeOf(device: LocalDevice): Changing | undefined {
    const { id, session, status, draining, wanted, agreementKey } = device;
    // Its attempts are its home's matter.
    const { attempts: _attempts, roundTripMs, ...rest } = status;
    const change = { status: rest, draining, active: device.leases.size, wanted: [...wanted] };
    const text = JSON.stringify(change);
    const before = told.get(device);
    const nowMs = clock.monotonic();
    const isNew = before === undefined || isOtherRoundTrip(before, roundTripMs, nowMs);
    const isOtherKey = before?.agreementKey !== agreementKey;
    if (before?.text === text && !isNew && !isOtherKey) return undefined;
    const v = (before?.v ?? 0) + 1;
    const line = isNew ? { roundTripMs, roundTripAtMs: nowMs } : before;
    told.set(device, { v, text, roundTripMs: line.roundTripMs, roundTripAtMs: line.roundTripAtMs, agreementKey });
    const key = isOtherKey ? { agreementKey } : {};
    const shown = line.roundTripMs === undefined ? rest : { ...rest, roundTripMs: line.roundTripMs };
    return { id, session, v, ...change, ...key, status: shown };
  }

  function factsOf(device: LocalDevice): Facts {
    const { id, session, status, draining, wanted, name, territory, publicKey, joinedAtMs, agreementKey } = device;
    const features = [...device.features];
    const { standing, lends } = carriedTrust(device);
    const { attempts: _attempts, ...rest } = status;
    const changing = { status: rest, draining, active: device.leases.size, wanted: [...wanted] };
    const v = told.get(device)?.v ?? 0;
    return {
      id,
      session,
      v,
      ...changing,
      name,
      territory,
      publicKey,
      joinedAtMs,
      features,
      standing,
      lends,
      agreementKey,
    };
  }

  /** Takes of those that came as many as there is room for, and one in any case. */
  function takeCame(room: number): { readonly joined: Facts[]; readonly bytes: number } {
    const joined: Facts[] = [];
    let bytes = 0;
    for (const device of came) {
      if (bytes >= room) break;
      came.delete(device);
      dirty.delete(device);
      changeOf(device);
      const facts = factsOf(device);
      joined.push(facts);
      bytes += bytesOf(facts);
    }
    return { joined, bytes };
  }

  function takeChanged(room: number): Changing[] {
    const changed: Changing[] = [];
    let bytes = 0;
    for (const device of dirty) {
      if (bytes >= room) break;
      dirty.delete(device);
      const change = changeOf(device);
      if (change === undefined) continue;
      changed.push(change);
      bytes += bytesOf(change);
    }
    return changed;
  }

  function tell(): void {
    timer = undefined;
    const { joined, bytes } = takeCame(FLEET_LIMITS.messageBytes);
    const changed = takeChanged(FLEET_LIMITS.messageBytes - bytes);
    const gone = left.slice(0, FLEET_LIMITS.snapshotDevicesMax);
    left = left.slice(FLEET_LIMITS.snapshotDevicesMax);
    if (came.size + dirty.size + left.length > 0) soon();
    if (joined.length + changed.length + gone.length === 0) return;
    n++;
    bus.publish('all.fleet', write({ from: replica, n, joined, changed, gone }));
  }

  return {
    joined(device) {
      if (isAlone) return;
      came.add(device);
      soon();
    },
    changed(device) {
      if (isAlone || came.has(device)) return;
      dirty.add(device);
      soon();
    },
    gone(device, code, why) {
      if (isAlone) return;
      dirty.delete(device);
      if (!came.delete(device)) left = [...left, { id: device.id, session: device.session, code, why }];
      soon();
    },
    number: () => n,
    page(after) {
      const all = [...local().list()].filter(({ id }) => id > after).toSorted((a, b) => (a.id < b.id ? -1 : 1));
      const devices: Facts[] = [];
      let bytes = 0;
      for (const device of all.slice(0, FLEET_LIMITS.snapshotDevicesMax)) {
        if (bytes >= FLEET_LIMITS.messageBytes) break;
        const facts = factsOf(device);
        devices.push(facts);
        bytes += bytesOf(facts);
      }
      const last = devices.at(-1);
      const next = last === undefined || devices.length === all.length ? {} : { next: last.id };
      return { n, devices, ...next };
    },
    stop() {
      timer?.cancel();
    },
  };
}

/** It changes with every beat, and with how busy this replica is: what decides between devices is worth a message. */
function isOtherRoundTrip(told: Told, roundTripMs: number | undefined, nowMs: number): boolean {
  if (roundTripMs === undefined || nowMs - told.roundTripAtMs < FLEET_LIMITS.roundTripToldMs) return false;
  if (told.roundTripMs === undefined) return true;
  const [less, more] = [Math.min(told.roundTripMs, roundTripMs), Math.max(told.roundTripMs, roundTripMs)];
  return more - less > FLEET_LIMITS.roundTripSlackMs && more > 2 * less;
}

/** As the bus carries it: lists of their own, and nothing that is not there. */
function carriedTrust({ standing, lends }: LocalDevice): Pick<Facts, 'standing' | 'lends'> {
  const { tier, person, pools, asOf } = standing;
  const { kinds, classes, causes, refused } = lends;
  return {
    standing: { tier, pools: [...pools], asOf, ...(person === undefined ? {} : { person }) },
    lends: { kinds: [...kinds], classes: [...classes], causes: [...causes], refused: [...refused] },
  };
}

const bytesOf = (told: Facts | Changing): number => encodeCbor(told).length;
