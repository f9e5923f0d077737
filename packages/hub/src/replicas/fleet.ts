/**
 * The devices of all replicas behind the words that rooms know (`session/port.ts`): those whose channels are here, and
 * mirrors of the others, with orders and frames going over the bus between them.
 *
 *   room ── order ──► fleet ──► a channel here
 *                       └─ dev.D ──► its home ──► the channel there
 *   room ◄── frame ── fleet ◄── a channel here, or rep.R.ans
 *
 * What the bus loses is made up for: an order that nobody took fails its attempt, a frame that is missing is asked for
 * again (`answers/machine.ts`), a change of a device that was missed shows in the next beat. A hub that is alone has no
 * bus, and everything is local.
 */
import type { AnswerEvent, Clock } from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { Log } from '../log.ts';
import type { ConnectedDevice, LocalDevice } from '../session/connected-device.ts';
import type { SessionEvents, Sessions } from '../session/port.ts';
import type { LocalSessions } from '../session/sessions.ts';
import { createAfar } from './afar.ts';
import { changesSchema, pageAskedSchema, readAs, write, type Beat } from './fleet-wire.ts';
import { createGossip } from './gossip.ts';
import { createHome } from './home.ts';
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
  /** Frames for other replicas that come faster than this go together. */
  readonly passGapMs?: number | undefined;
  readonly log: Log;
  /** The channels here; made after the fleet, which hears of them. */
  readonly local: () => LocalSessions;
  /** The rooms. */
  readonly events: SessionEvents;
  /** What is asked for, for whoever places models. */
  readonly demand: { beat(): Pick<Beat, 'asked' | 'queued' | 'narrow'>; onBeat(beat: Beat): void };
}

export function createFleet(deps: FleetDeps): Fleet {
  const { replica, bus, clock, log, local, events, passGapMs = FLEET_LIMITS.passGapMs } = deps;
  const gossip = createGossip(deps);
  const home = createHome({ bus, clock, local, passGapMs, onChanged: (device) => gossip.changed(device) });
  const remote = createRemoteDevices({
    bus,
    log,
    events: {
      onJoin: (device) => events.onJoin(device),
      onStatus: (device) => events.onStatus(device),
      onGone(device, code, why) {
        afar.forget(device);
        events.onGone(device, code, why);
      },
    },
    joinedHereAtMs: (device) => local().get(device)?.joinedAtMs,
    leave(id) {
      const device = local().get(id);
      if (device !== undefined) local().leave(device, 'the device is connected to another replica by now');
    },
  });
  const afar = createAfar({ replica, bus, log, events, get: (id) => remote.get(id) });
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

  const subscriptions = [
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
        const ends = isEnd(event);
        if (!home.forward(device, event.lease, frame, ends)) events.onAnswer(device, event, frame);
        if (ends) gossip.changed(device);
      },
      onBlob: (device, part) => events.onBlob(device, part),
      onEmbed(device, event, frame) {
        if (!home.forward(device, event.lease, frame, true)) events.onEmbed(device, event, frame);
        gossip.changed(device);
      },
      onSealed(device, event, frame) {
        const ends = event.t === 'sealed.done' || event.t === 'sealed.failed';
        if (!home.forward(device, event.lease, frame, ends)) events.onSealed(device, event, frame);
        if (ends) gossip.changed(device);
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
      if (!isHere(device)) return afar.order(device, order);
      local().order(device, order);
      return gossip.changed(device);
    },
    embed(device, order) {
      if (!isHere(device)) return afar.embed(device, order);
      local().embed(device, order);
      return gossip.changed(device);
    },
    sealed(device, order) {
      if (!isHere(device)) return afar.sealed(device, order);
      local().sealed(device, order);
      return gossip.changed(device);
    },
    resume(device, order) {
      if (!isHere(device)) return afar.resume(device, order);
      const { lease, epoch, ownerEpoch } = order;
      if (home.claim(device, lease, ownerEpoch)) return local().resume(device, order);
      const [code, message] = ['lease_unknown', 'another replica has this attempt'];
      return events.onAnswer(device, { t: 'answer.failed', lease, epoch, code, message }, new Uint8Array(0));
    },
    kept: (device, lease, epoch) =>
      isHere(device) ? local().kept(device, lease, epoch) : afar.kept(device, lease, epoch),
    revokeLease(device, lease, epoch) {
      if (!isHere(device)) return afar.revokeLease(device, lease, epoch);
      // Another replica went on with it, and this one has not noticed.
      if (home.isTaken(lease)) return undefined;
      local().revokeLease(device, lease, epoch);
      return gossip.changed(device);
    },
    disown: (device, lease, epoch) =>
      isHere(device) ? home.disown(device, lease, epoch) : afar.disown(device, lease, epoch),
    hold(device, models, duty) {
      if (!isHere(device)) return afar.hold(device, models, duty);
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
      afar.tell(device, { k: 'drain', from: replica, reason });
      return true;
    },
    drop(id, code, message) {
      const device = remote.get(id);
      if (device === undefined) return local().drop(id, code, message);
      afar.tell(device, { k: 'drop', from: replica, code, message });
      return true;
    },
    isLive: (id) => id === replica || roster?.isLive(id) === true,
    stop() {
      for (const subscription of subscriptions) subscription.stop();
      afar.stop();
      roster?.stop();
      gossip.stop();
      home.stop();
    },
  };
}

const isEnd = (event: AnswerEvent): boolean => event.t === 'answer.finished' || event.t === 'answer.failed';
