/**
 * Devices whose channels are on other replicas, as those tell of them.
 *
 * A mirror and no more: what is missing or late costs a refused order. Each sender numbers its messages; a gap, or a
 * replica that is new here, makes it ask for all of that replica's devices. Of two sessions of one device the later
 * counts, by the time of the database that let both in.
 */
import { messageOf } from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { Log } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { GoneCode } from '../session/port.ts';
import { pageSchema, readAs, write, type Changes, type Changing, type Facts } from './fleet-wire.ts';
import { FLEET_LIMITS } from './limits.ts';

export interface RemoteDevice extends ConnectedDevice {
  /** Number of the change that is known last. */
  v: number;
  status: ConnectedDevice['status'];
}

export interface RemoteEvents {
  onJoin(device: RemoteDevice): void;
  onStatus(device: RemoteDevice): void;
  onGone(device: RemoteDevice, code: GoneCode, why: string): void;
}

export interface RemoteDevices {
  get(device: string): RemoteDevice | undefined;
  list(): IterableIterator<RemoteDevice>;
  onChanges(changes: Changes): void;
  /** The number of the sender's last message. */
  onNumber(from: string, n: number): void;
  /** Asks for all devices of a replica. */
  fetch(replica: string): Promise<void>;
  forgetAll(replica: string, why: string): void;
  forget(device: string, code: GoneCode, why: string): void;
}

interface Deps {
  readonly bus: Bus;
  readonly log: Log;
  readonly events: RemoteEvents;
  /** When the device came here itself, if it is here. */
  joinedHereAtMs(device: string): number | undefined;
  /** It is elsewhere by now. */
  leave(device: string): void;
}

/** A device elsewhere is a hop further away: among equals the one here is chosen, and the bus is left to others. */
const afar = (status: ConnectedDevice['status']): ConnectedDevice['status'] => ({
  ...status,
  roundTripMs: (status.roundTripMs ?? 0) + FLEET_LIMITS.hopMs,
});

interface Sender {
  n: number;
  isFetching: boolean;
  /** What was told while all was fetched is asked for once more. */
  missed: boolean;
}

export function createRemoteDevices({ bus, log, events, joinedHereAtMs, leave }: Deps): RemoteDevices {
  const devices = new Map<string, RemoteDevice>();
  const senders = new Map<string, Sender>();

  function forget(id: string, code: GoneCode, why: string): void {
    const device = devices.get(id);
    if (device === undefined) return;
    devices.delete(id);
    events.onGone(device, code, why);
  }

  function joined(home: string, facts: Facts): void {
    const hereAtMs = joinedHereAtMs(facts.id);
    if (hereAtMs !== undefined) {
      if (facts.joinedAtMs <= hereAtMs) return;
      leave(facts.id);
    }
    const known = devices.get(facts.id);
    if (known?.session === facts.session) return void changed(facts);
    if (known !== undefined) {
      if (known.joinedAtMs > facts.joinedAtMs) return;
      forget(facts.id, 'superseded', 'it is connected to another replica by now');
    }
    const { id, session, v, status, draining, active, wanted, name, territory, publicKey } = facts;
    const { joinedAtMs, features, standing, lends, agreementKey = new Uint8Array(0) } = facts;
    const device: RemoteDevice = {
      id,
      session,
      v,
      status: afar(status),
      draining,
      wanted,
      name,
      territory,
      publicKey,
      joinedAtMs,
      features,
      lends,
      standing: { ...standing, person: standing.person },
      refusals: new Set(),
      agreementKey,
      home,
      isElsewhere: true,
      leases: new Set(),
      leasesElsewhere: active,
      mistrustedUntilMs: 0,
      contradicted: false,
    };
    devices.set(device.id, device);
    events.onJoin(device);
  }

  /** False for a device that should be known and is not. */
  function changed({ id, session, v, status, draining, active, wanted, agreementKey }: Changing): boolean {
    const device = devices.get(id);
    if (device === undefined) return joinedHereAtMs(id) !== undefined;
    if (device.session !== session || device.v > v) return true;
    device.v = v;
    device.status = afar(status);
    device.draining = draining;
    device.wanted = wanted;
    device.agreementKey = agreementKey ?? device.agreementKey;
    device.leasesElsewhere = Math.max(0, active - device.leases.size);
    device.contradicted = false;
    if (status.state === 'paused') device.refusals.clear();
    events.onStatus(device);
    return true;
  }

  async function fetchPages(replica: string): Promise<number> {
    const seen = new Set<string>();
    for (let after = '', n = 0; ;) {
      const options = { timeoutMs: FLEET_LIMITS.snapshotMs };
      const page = readAs(pageSchema, await bus.request(`rep.${replica}.fleet`, write({ after }), options));
      if (page === undefined) throw new Error('its answer is not understood');
      for (const facts of page.devices) {
        seen.add(facts.id);
        joined(replica, facts);
      }
      n = page.n;
      if (page.next === undefined) {
        for (const device of [...devices.values()])
          if (device.home === replica && !seen.has(device.id)) forget(device.id, 'disconnected', 'it left meanwhile');
        return n;
      }
      after = page.next;
    }
  }

  async function fetch(replica: string): Promise<void> {
    const sender = senders.get(replica) ?? { n: 0, isFetching: false, missed: false };
    senders.set(replica, sender);
    if (sender.isFetching) {
      sender.missed = true;
      return;
    }
    sender.isFetching = true;
    try {
      do {
        sender.missed = false;
        sender.n = Math.max(sender.n, await fetchPages(replica));
      } while (sender.missed);
    } catch (error) {
      // Its next beat shows that something is missing.
      log.warn({ replica, why: messageOf(error) }, 'the devices of another replica could not be read');
      sender.n = -1;
    } finally {
      sender.isFetching = false;
    }
  }

  return {
    get: (id) => devices.get(id),
    list: () => devices.values(),
    onChanges({ from, n, joined: came, changed: other, gone }) {
      const sender = senders.get(from);
      // Its first beat, at the latest, makes it known, and then all is fetched.
      if (sender === undefined) return;
      for (const facts of came) joined(from, facts);
      // One may have been forgotten for a session of its own here that was over at once.
      const isMissing = other.map(changed).includes(false);
      for (const { id, session, code, why } of gone) if (devices.get(id)?.session === session) forget(id, code, why);
      if (n === sender.n + 1) sender.n = n;
      else if (n > sender.n) void fetch(from);
      if (isMissing && !sender.isFetching) void fetch(from);
    },
    onNumber(from, n) {
      const sender = senders.get(from);
      if (sender !== undefined && n > sender.n && !sender.isFetching) void fetch(from);
    },
    fetch,
    forgetAll(replica, why) {
      senders.delete(replica);
      for (const device of [...devices.values()]) if (device.home === replica) forget(device.id, 'disconnected', why);
    },
    forget,
  };
}
