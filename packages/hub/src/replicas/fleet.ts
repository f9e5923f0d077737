/**
 * The devices of all replicas behind the words that rooms know (`session/port.ts`): those whose channels are here, and
 * mirrors of the others, with orders and frames going over the bus between them.
 *
 *   room ── order ──► fleet ──► a channel here
 *                       └─ dev.D ──► its home ──► the channel there
 *   room ◄── frame ── fleet ◄── a channel here, or rep.R.ans.LEASE
 *
 * What the bus loses is made up for: an order that nobody took fails its attempt, a frame that is missing is asked for
 * again (`answers/machine.ts`), a change of a device that was missed shows in the next beat. A hub that is alone has no
 * bus, and everything is local.
 */
import {
  asIdlewildError,
  messageOf,
  parseToHub,
  type AnswerEvent,
  type Clock,
  type EmbedEvent,
  type ErrorCode,
} from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { Log } from '../log.ts';
import type { ConnectedDevice, LocalDevice } from '../session/connected-device.ts';
import type { SessionEvents, Sessions } from '../session/port.ts';
import type { LocalSessions } from '../session/sessions.ts';
import { changesSchema, pageAskedSchema, readAs, repliedSchema, write, type Beat, type Order } from './fleet-wire.ts';
import { createGossip } from './gossip.ts';
import { codeIn, createHome } from './home.ts';
import { FLEET_LIMITS } from './limits.ts';
import { createRemoteDevices } from './remote-devices.ts';
import { createRoster } from './roster.ts';

export interface Fleet extends Sessions {
  /** What the sessions of this replica are to tell. */
  readonly events: SessionEvents<LocalDevice>;
  /** Whether another replica answers on the bus; this one does. */
  isLive(replica: string): boolean;
  stop(): void;
}

export interface FleetDeps {
  readonly replica: string;
  readonly bus: Bus;
  /** There will never be another: nobody needs to be told anything. */
  readonly isAlone: boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** The channels here; made after the fleet, which hears of them. */
  readonly local: () => LocalSessions;
  /** The rooms. */
  readonly events: SessionEvents;
  /** What is asked for, for whoever places models. */
  readonly demand: { beat(): Pick<Beat, 'asked' | 'queued'>; onBeat(beat: Beat): void };
}

export function createFleet(deps: FleetDeps): Fleet {
  const { replica, bus, clock, log, local, events } = deps;
  /** Devices of leases that this replica gave to other replicas' devices. */
  const given = new Map<string, string>();
  const gossip = createGossip(deps);
  const home = createHome({ bus, clock, local, onChanged: (device) => gossip.changed(device) });
  const remote = createRemoteDevices({
    bus,
    log,
    events: {
      onJoin: (device) => events.onJoin(device),
      onStatus: (device) => events.onStatus(device),
      onGone(device, code, why) {
        for (const lease of device.leases) given.delete(lease);
        events.onGone(device, code, why);
      },
    },
    joinedHereAtMs: (device) => local().get(device)?.joinedAtMs,
    leave(id) {
      const device = local().get(id);
      if (device !== undefined) local().leave(device, 'the device is connected to another replica by now');
    },
  });
  const roster = deps.isAlone
    ? undefined
    : createRoster({
        replica,
        bus,
        clock,
        log,
        events: {
          beat: () => ({ n: gossip.number(), ...deps.demand.beat() }),
          onSeen: (id) => void remote.fetch(id),
          onBeat(beat) {
            remote.onNumber(beat.from, beat.n);
            deps.demand.onBeat(beat);
          },
          onGone(id, why) {
            remote.forgetAll(id, `its replica is gone: ${why}`);
            home.ownerGone(id);
          },
        },
      });

  const isHere = (device: ConnectedDevice): device is LocalDevice => device.home === replica;

  /** A frame of a device elsewhere, for a lease of this replica's. */
  function onFrame(lease: string, frame: Uint8Array): void {
    const id = given.get(lease);
    const device = id === undefined ? undefined : remote.get(id);
    if (device === undefined) return;
    const event = parseToHub(frame);
    if (event.t.startsWith('answer.')) {
      const answer = event as AnswerEvent;
      if (isEnd(answer)) given.delete(lease);
      events.onAnswer(device, answer, frame);
    } else if (event.t.startsWith('embed.')) {
      given.delete(lease);
      events.onEmbed(device, event as EmbedEvent, frame);
    }
  }

  /** To its home; what that refuses comes back as the device's own refusal would. */
  function send(device: ConnectedDevice, order: Order, onRefused?: (code: ErrorCode, message: string) => void): void {
    const subject = `dev.${device.id}`;
    if (onRefused === undefined) return bus.publish(subject, write(order));
    bus.request(subject, write(order), { timeoutMs: FLEET_LIMITS.orderMs }).then(
      (carried) => {
        const replied = readAs(repliedSchema, carried) ?? { code: 'internal' };
        const code = codeIn(replied);
        if (code !== undefined) onRefused(code, replied.message ?? 'its replica refused');
      },
      (thrown: unknown) => {
        const error = asIdlewildError(thrown, 'reaching the replica of the device');
        onRefused(error.code, error.message);
      },
    );
  }

  const refusedAnswer =
    (device: ConnectedDevice, lease: string, epoch: number) =>
    (code: ErrorCode, message: string): void => {
      given.delete(lease);
      const event: AnswerEvent = { t: 'answer.failed', lease, epoch, code, message };
      events.onAnswer(device, event, new Uint8Array(0));
    };

  const subscriptions = [
    bus.subscribe(`rep.${replica}.ans.*`, ({ subject, bytes }) => {
      try {
        onFrame(subject.slice(subject.lastIndexOf('.') + 1), bytes);
      } catch (error) {
        // Its home has parsed it once; whatever this is, the device goes on.
        log.warn({ why: messageOf(error) }, 'a frame of another replica is not understood');
      }
    }),
    bus.subscribe('all.fleet', ({ bytes }) => {
      const changes = readAs(changesSchema, bytes);
      if (changes !== undefined && changes.from !== replica) remote.onChanges(changes);
    }),
    bus.subscribe(`rep.${replica}.fleet`, (message) => {
      const asked = readAs(pageAskedSchema, message.bytes);
      if (asked !== undefined) message.respond(write(gossip.page(asked.after)));
    }),
  ];

  return {
    events: {
      onJoin(device) {
        remote.forget(device.id, 'superseded', 'it is connected to another replica by now');
        home.onJoin(device);
        gossip.joined(device);
        events.onJoin(device);
      },
      onStatus(device) {
        gossip.changed(device);
        events.onStatus(device);
      },
      onAnswer(device, event, frame) {
        if (!home.forward(device, event.lease, frame, isEnd(event))) events.onAnswer(device, event, frame);
        gossip.changed(device);
      },
      onBlob: (device, part) => events.onBlob(device, part),
      onEmbed(device, event, frame) {
        if (!home.forward(device, event.lease, frame, true)) events.onEmbed(device, event, frame);
        gossip.changed(device);
      },
      onGone(device, code, why) {
        gossip.gone(device, code, why);
        home.onGone(device);
        events.onGone(device, code, why);
      },
    },
    get: (id) => local().get(id) ?? remote.get(id),
    *list() {
      yield* local().list();
      yield* remote.list();
    },
    order(device, order) {
      const { lease, epoch } = order;
      if (isHere(device)) {
        local().order(device, order);
        return gossip.changed(device);
      }
      device.leases.add(lease);
      given.set(lease, device.id);
      return send(device, { k: 'order', from: replica, ...order }, refusedAnswer(device, lease, epoch));
    },
    embed(device, order) {
      const { lease, epoch } = order;
      if (isHere(device)) {
        local().embed(device, order);
        return gossip.changed(device);
      }
      device.leases.add(lease);
      given.set(lease, device.id);
      return send(device, { k: 'embed', from: replica, ...order }, (code, message) => {
        given.delete(lease);
        events.onEmbed(device, { t: 'embed.failed', lease, epoch, code, message }, new Uint8Array(0));
      });
    },
    resume(device, order) {
      const { lease, epoch, ownerEpoch, from } = order;
      const refused = refusedAnswer(device, lease, epoch);
      if (isHere(device)) {
        if (home.claim(device, lease, ownerEpoch)) return local().resume(device, order);
        return refused('lease_unknown', 'another replica has this attempt');
      }
      device.leases.add(lease);
      given.set(lease, device.id);
      return send(device, { k: 'resume', from: replica, ownerEpoch, lease, epoch, at: from }, refused);
    },
    kept(device, lease, epoch) {
      if (isHere(device)) return local().kept(device, lease, epoch);
      return send(device, { k: 'kept', from: replica, lease, epoch });
    },
    revokeLease(device, lease, epoch) {
      if (isHere(device)) {
        local().revokeLease(device, lease, epoch);
        return gossip.changed(device);
      }
      device.leases.delete(lease);
      given.delete(lease);
      return send(device, { k: 'cancel', from: replica, lease, epoch });
    },
    disown(device, lease, epoch) {
      if (isHere(device)) return home.disown(device, lease, epoch);
      device.leases.delete(lease);
      given.delete(lease);
      return send(device, { k: 'disown', from: replica, lease, epoch });
    },
    hold(device, models, duty) {
      if (!isHere(device)) return send(device, { k: 'hold', from: replica, duty, models: [...models] });
      if (home.mayHold(duty)) local().hold(device, models, duty);
      return gossip.changed(device);
    },
    // Bulk does not go over the bus: the relay knows devices here only.
    want(device, wish) {
      if (isHere(device)) local().want(device, wish);
    },
    drain(id, reason) {
      const device = remote.get(id);
      if (device === undefined) return local().drain(id, reason);
      send(device, { k: 'drain', from: replica, reason });
      return true;
    },
    drop(id, code, message) {
      const device = remote.get(id);
      if (device === undefined) return local().drop(id, code, message);
      send(device, { k: 'drop', from: replica, code, message });
      return true;
    },
    isLive: (id) => id === replica || roster?.isLive(id) === true,
    stop() {
      for (const subscription of subscriptions) subscription.stop();
      roster?.stop();
      gossip.stop();
      home.stop();
    },
  };
}

const isEnd = (event: AnswerEvent): boolean => event.t === 'answer.finished' || event.t === 'answer.failed';
