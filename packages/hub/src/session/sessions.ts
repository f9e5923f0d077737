/**
 * The devices' channels: who is connected, and what they send and are told.
 *
 *   joining (`joining.ts`) ──let in──► open ──close, silence, revocation, leaving──► gone
 *
 * One identity has one channel: a second one drops the older, which is told why. Garbage closes the channel. What
 * frames mean for answers is not known here; they are handed on.
 */
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  checkAgreementKey,
  encodeFrame,
  messageOf,
  parseToHub,
  type Channel,
  type Timer,
  type ToDevice,
} from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { LocalDevice } from './connected-device.ts';
import type { Enrolment, HubIdentity } from './handshake.ts';
import { createJoining, type Admission, type JoiningDeps, type JoinRefusal } from './joining.ts';
import { lentTextsOf } from '../trust/barred.ts';
import { createSlowReaders, type SlowReader } from '../slow-readers.ts';
import type { DialledChannel, GoneCode, SessionEvents, Sessions } from './port.ts';

export type { Enrolment, HubIdentity, JoinRefusal };

/** The channels of this replica. */
export interface LocalSessions extends Omit<Sessions<LocalDevice>, 'disown'> {
  /** Takes a fresh channel and runs its handshake. */
  accept(channel: DialledChannel): void;
  /** It may forget that the device is connected elsewhere by now; the device is told nothing final. */
  leave(device: LocalDevice, why: string): void;
  /** Tells devices to connect anew, evenly over the time: those without work first. Without `to`, where they are. */
  move(devices: readonly LocalDevice[], overMs: number, reason: string, to?: MovedTo): void;
  count(): number;
  /** Takes no more devices. */
  close(): void;
  /** Closes every channel; devices will reconnect elsewhere. */
  stop(reason: string): void;
}

/** Another address of the territory; see `move` in `protocol/wire/messages.ts`. */
export interface MovedTo {
  readonly url: string;
  readonly pin?: Uint8Array;
  readonly session?: boolean;
}

export interface SessionsDeps extends JoiningDeps {
  /** Id of this one. */
  readonly replica: string;
  /** What people call it, at the moment. */
  readonly territory: { readonly name: string };
  readonly events: SessionEvents<LocalDevice>;
}

export function createSessions(deps: SessionsDeps): LocalSessions {
  const { clock, crypto, enrolment, events, log } = deps;
  const open = new Map<string, LocalDevice>();
  /** Cancelled with the channel: a timer that is left would keep a process that has stopped. */
  const watches = new Map<LocalDevice, Timer>();
  const slow = createSlowReaders({
    bytesMax: HUB_LIMITS.deviceBufferedBytesMax,
    allBytesMax: HUB_LIMITS.devicesBufferedBytesMax,
    usualBytes: HUB_LIMITS.usuallyBufferedBytes,
  });
  const readers = new Map<LocalDevice, SlowReader>();
  /** Their leaving is on its way to the database, and the answer to it is the last that they hear. */
  const leaving = new WeakSet<LocalDevice>();
  const joining = createJoining(deps, {
    admit,
    read,
    gone: (device, why) => gone(device, 'disconnected', why),
    revoked: (device) => dropDevice(device, 'device_revoked', 'a steward of the territory revoked this device'),
    count: () => open.size,
  });

  const post = (channel: Channel, message: ToDevice): void => channel.send(encodeFrame(message));
  const send = (device: LocalDevice, message: ToDevice): void => {
    if (readers.get(device)?.isTooMuch() === true) {
      gone(device, 'disconnected', 'it does not read what it is sent');
      device.channel.close('you do not read what you are sent');
      return;
    }
    post(device.channel, message);
  };

  function gone(device: LocalDevice, code: GoneCode, why: string): void {
    if (open.get(device.id) !== device) return;
    open.delete(device.id);
    watches.get(device)?.cancel();
    watches.delete(device);
    readers.get(device)?.close();
    readers.delete(device);
    log.info({ device: device.id, code, why }, 'device gone');
    events.onGone(device, code, why);
  }

  function dropDevice(device: LocalDevice, code: 'superseded' | 'device_revoked', message: string): void {
    if (code === 'device_revoked' && leaving.has(device)) return;
    post(device.channel, { t: 'dropped', code, message });
    gone(device, code, message);
    device.channel.close(message);
  }

  /** Nothing new is given to it from here on; what runs on it goes to others with its channel. */
  function leave(device: LocalDevice): void {
    if (leaving.has(device)) return;
    leaving.add(device);
    device.draining = true;
    events.onStatus(device);
    enrolment.leave(device).then(
      (statement) => {
        post(device.channel, { t: 'left', statement });
        gone(device, 'device_revoked', 'it left the territory');
        device.channel.close('you have left');
      },
      (thrown: unknown) => {
        const { code, message } = asIdlewildError(thrown, 'leaving');
        leaving.delete(device);
        log.warn({ device: device.id, code, why: message }, 'a device could not leave');
        if (code === 'device_revoked') return dropDevice(device, code, message);
        gone(device, 'disconnected', message);
        device.channel.close(message);
      },
    );
  }

  const watch = (device: LocalDevice): void => {
    watches.set(
      device,
      clock.after(LIMITS.heartbeatMs, () => {
        const silentMs = clock.monotonic() - device.lastFrameAtMs;
        if (silentMs < LIMITS.heartbeatLostMs) return watch(device);
        gone(device, 'disconnected', `nothing was heard of it for ${Math.round(silentMs / 1000)} s`);
        device.channel.close('no heartbeat');
      }),
    );
  };

  function admit({ channel, who, checked, session, ticket }: Admission): LocalDevice {
    const { id, name, territory, standing } = who;
    const older = open.get(id);
    if (older !== undefined) {
      dropDevice(older, 'superseded', 'the same identity connected again; two processes must not share one device key');
    }
    const nowMs = clock.monotonic();
    const device: LocalDevice = {
      id,
      name,
      territory,
      standing,
      // Copies: what came in a frame would keep all of it.
      publicKey: checked.consent.device.slice(),
      session,
      joinedAtMs: clock.now(),
      home: deps.replica,
      channel,
      features: checked.proof.profile.features ?? [],
      lends: lentTextsOf(checked.consent),
      refusals: new Set(),
      agreementKey: checked.proof.agreementKey.slice(),
      status: checked.proof.status,
      draining: false,
      leases: new Set(),
      isElsewhere: false,
      leasesElsewhere: 0,
      wanted: [],
      lastFrameAtMs: nowMs,
      touchedAtMs: nowMs,
      ticketAtMs: nowMs,
      mistrustedUntilMs: 0,
      contradicted: false,
    };
    open.set(device.id, device);
    channel.proved?.();
    readers.set(
      device,
      slow.open(() => channel.bufferedBytes()),
    );
    post(channel, {
      t: 'welcome',
      device: device.id,
      session: device.session,
      ticket,
      heartbeatMs: LIMITS.heartbeatMs,
      resumes: true,
      community: deps.territory.name.slice(0, LIMITS.nameCharactersMax),
    });
    log.info({ device: device.id, name: device.name }, 'device connected');
    watch(device);
    events.onJoin(device);
    return device;
  }

  /** With a new ticket when the last one is half as old as it may become. */
  function acknowledge(device: LocalDevice, n: number): void {
    if (clock.monotonic() - device.ticketAtMs < HUB_LIMITS.ticketMs / 2) return send(device, { t: 'heartbeat.ack', n });
    device.ticketAtMs = clock.monotonic();
    const { id, session, territory } = device;
    const give = (ticket: string): void => send(device, { t: 'heartbeat.ack', n, ticket });
    void Promise.resolve(deps.tickets.issue({ device: id, session, territory })).then(give, (error: unknown) =>
      log.error({ device: id, why: messageOf(error) }, 'a ticket could not be issued'),
    );
  }

  function read(device: LocalDevice, frame: Uint8Array): void {
    const message = parseToHub(frame);
    device.lastFrameAtMs = clock.monotonic();
    switch (message.t) {
      case 'heartbeat': {
        device.status = message.status;
        device.contradicted = false;
        if (device.status.state === 'paused') device.refusals.clear();
        acknowledge(device, message.n);
        if (device.lastFrameAtMs - device.touchedAtMs >= HUB_LIMITS.touchMs) {
          device.touchedAtMs = device.lastFrameAtMs;
          enrolment.touch(device.id);
        }
        return events.onStatus(device);
      }
      case 'agreement':
        void Promise.resolve(
          checkAgreementKey({ key: message.key, device: device.publicKey, nowMs: clock.now() }, crypto),
        ).then(
          () => {
            device.agreementKey = message.key.slice();
            events.onStatus(device);
          },
          (error: unknown) => log.warn({ device: device.id, why: messageOf(error) }, 'agreement key refused'),
        );
        return;
      case 'leave':
        return leave(device);
      case 'blob.have':
        return events.onBlob(device, message);
      case '?':
        return send(device, { t: 'unsupported', kind: message.kind });
      case 'unsupported':
        return log.warn({ device: device.id, kind: message.kind }, 'device does not know a kind');
      case 'hello':
      case 'prove':
        throw new IdlewildError('frame_invalid', `a "${message.t}" after the handshake`);
      case 'embed.done':
      case 'embed.failed':
        return events.onEmbed(device, message, frame);
      case 'sealed.part':
      case 'sealed.progress':
      case 'sealed.done':
      case 'sealed.failed':
        return events.onSealed(device, message, frame);
      default:
        return events.onAnswer(device, message, frame);
    }
  }

  return {
    accept: joining.accept,
    get: (id) => open.get(id),
    list: () => open.values(),
    order(device, { isResumable, lease, epoch, model, dataClass, cause, work, deadlineMs }) {
      device.leases.add(lease);
      const kept = isResumable ? { keep: true } : {};
      const text = { dataClass, ...(cause === undefined ? {} : { cause }) };
      send(device, { t: 'answer', lease, epoch, model, ...text, work, deadlineMs, ...kept });
    },
    embed(device, { lease, epoch, model, dataClass, cause, work, deadlineMs }) {
      device.leases.add(lease);
      const text = { dataClass, ...(cause === undefined ? {} : { cause }) };
      send(device, { t: 'embed', lease, epoch, model, ...text, work, deadlineMs });
    },
    sealed(device, order) {
      device.leases.add(order.lease);
      send(device, { t: 'sealed', ...order });
    },
    resume: (device, { lease, epoch, from }) => send(device, { t: 'answer.resume', lease, epoch, from }),
    kept: (device, lease, epoch) => {
      if (device.features.includes('resume')) send(device, { t: 'answer.kept', lease, epoch });
    },
    revokeLease(device, lease, epoch) {
      device.leases.delete(lease);
      send(device, { t: 'cancel', lease, epoch });
    },
    want: (device, wish) => send(device, { t: 'blob.want', ...wish }),
    hold(device, models) {
      device.wanted = models.map(({ cid }) => cid);
      send(device, { t: 'hold', models: [...models], sources: ['/'] });
    },
    drain(id, reason) {
      const device = open.get(id);
      if (device === undefined) return false;
      device.draining = true;
      send(device, { t: 'drain', reason });
      events.onStatus(device);
      return true;
    },
    drop(id, code, message) {
      const device = open.get(id);
      if (device !== undefined) dropDevice(device, code, message);
      return device !== undefined;
    },
    leave(device, why) {
      gone(device, 'superseded', why);
      device.channel.close(why);
    },
    move(devices, overMs, reason, to) {
      const inOrder = devices.toSorted((a, b) => a.leases.size - b.leases.size);
      for (const [index, device] of inOrder.entries()) {
        send(device, { t: 'move', afterMs: Math.floor((overMs * index) / inOrder.length), reason, ...to });
      }
    },
    count: () => open.size,
    close: joining.close,
    stop(reason) {
      joining.close();
      for (const device of open.values()) device.channel.close(reason);
    },
  };
}
