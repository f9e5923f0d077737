/**
 * The devices' channels: who may connect, who is connected, and what they send.
 *
 *   waiting for hello ──hello──► proving ──prove──► open ──close, silence, revocation──► gone
 *
 * One identity has one channel: a second one drops the older, which is told why. Until `open` a peer is nobody: small
 * frames, a deadline, and no more than `handshakesMax` of them. Garbage closes the channel. What frames mean for
 * answers is not known here; they are handed on.
 */
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  checkAgreementKey,
  encodeFrame,
  messageOf,
  newId,
  parseToHub,
  type AnswerEvent,
  type Channel,
  type CheckedDevice,
  type Clock,
  type Crypto,
  type EmbedEvent,
  type Random,
  type Timer,
  type ToDevice,
  type ToHub,
  type WantedModel,
} from '@idlewild/protocol';
import { base64url } from 'multiformats/bases/base64';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { AnswerOrder, ConnectedDevice, EmbedOrder } from './connected-device.ts';
import { createHandshake, type Enrolment, type HubIdentity } from './handshake.ts';

/** What a device gives, or does not, when it is asked for a part of a block. */
export type BlobPart = Extract<ToHub, { t: 'blob.have' }>;
export type BlobWish = Omit<Extract<ToDevice, { t: 'blob.want' }>, 't'>;

export interface SessionEvents {
  onJoin(device: ConnectedDevice): void;
  /** Status or leases changed. */
  onStatus(device: ConnectedDevice): void;
  onAnswer(device: ConnectedDevice, event: AnswerEvent): void;
  onBlob(device: ConnectedDevice, part: BlobPart): void;
  onEmbed(device: ConnectedDevice, event: EmbedEvent): void;
  onGone(device: ConnectedDevice, code: 'disconnected' | 'superseded' | 'device_revoked', why: string): void;
}

export interface Sessions {
  /** Takes a fresh channel and runs its handshake. */
  accept(channel: Channel): void;
  get(device: string): ConnectedDevice | undefined;
  byTicket(ticket: string): ConnectedDevice | undefined;
  list(): IterableIterator<ConnectedDevice>;
  order(device: ConnectedDevice, order: AnswerOrder): void;
  embed(device: ConnectedDevice, order: EmbedOrder): void;
  revokeLease(device: ConnectedDevice, lease: string, epoch: number): void;
  hold(device: ConnectedDevice, models: readonly WantedModel[]): void;
  /** Asks for a part of a block; what comes goes to `onBlob`. */
  want(device: ConnectedDevice, wish: BlobWish): void;
  drain(device: string, reason: string): boolean;
  drop(device: string, code: 'superseded' | 'device_revoked', message: string): boolean;
  /** Closes every channel; devices will reconnect elsewhere. */
  stop(reason: string): void;
}

export interface SessionsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly identity: HubIdentity;
  readonly enrolment: Enrolment;
  readonly events: SessionEvents;
  readonly log: Log;
}

export type { Enrolment, HubIdentity };

type Reader = (frame: Uint8Array) => Promise<void> | void;

export function createSessions(deps: SessionsDeps): Sessions {
  const { clock, random, crypto, identity, enrolment, events, log } = deps;
  const open = new Map<string, ConnectedDevice>();
  const tickets = new Map<string, ConnectedDevice>();
  /** Cancelled with the channel: a timer that is left would keep a process that has stopped. */
  const watches = new Map<ConnectedDevice, Timer>();
  let handshakes = 0;
  let stopping = false;

  const post = (channel: Channel, message: ToDevice): void => channel.send(encodeFrame(message));
  const send = (device: ConnectedDevice, message: ToDevice): void => {
    if (device.channel.bufferedBytes() > HUB_LIMITS.deviceBufferedBytesMax) {
      gone(device, 'disconnected', 'it does not read what it is sent');
      device.channel.close('you do not read what you are sent');
      return;
    }
    post(device.channel, message);
  };

  function gone(device: ConnectedDevice, code: 'disconnected' | 'superseded' | 'device_revoked', why: string): void {
    if (open.get(device.id) !== device) return;
    open.delete(device.id);
    tickets.delete(device.ticket);
    watches.get(device)?.cancel();
    watches.delete(device);
    log.info({ device: device.id, code, why }, 'device gone');
    events.onGone(device, code, why);
  }

  function dropDevice(device: ConnectedDevice, code: 'superseded' | 'device_revoked', message: string): void {
    post(device.channel, { t: 'dropped', code, message });
    gone(device, code, message);
    device.channel.close(message);
  }

  const watch = (device: ConnectedDevice): void => {
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

  function admitOpen(
    channel: Channel,
    who: { id: string; name: string; territory: string },
    checked: CheckedDevice,
  ): ConnectedDevice {
    const older = open.get(who.id);
    if (older !== undefined) {
      dropDevice(older, 'superseded', 'the same identity connected again; two processes must not share one device key');
    }
    const nowMs = clock.monotonic();
    const device: ConnectedDevice = {
      ...who,
      publicKey: checked.consent.device,
      session: newId('ses', random),
      ticket: base64url.baseEncode(random.bytes(32)),
      channel,
      profile: checked.proof.profile,
      consent: checked.consent,
      agreementKey: checked.proof.agreementKey,
      status: checked.proof.status,
      draining: false,
      leases: new Set(),
      lastFrameAtMs: nowMs,
      touchedAtMs: nowMs,
      mistrustedUntilMs: 0,
      contradicted: false,
    };
    open.set(device.id, device);
    tickets.set(device.ticket, device);
    post(channel, {
      t: 'welcome',
      device: device.id,
      session: device.session,
      ticket: device.ticket,
      heartbeatMs: LIMITS.heartbeatMs,
    });
    log.info({ device: device.id, name: device.name }, 'device connected');
    watch(device);
    events.onJoin(device);
    return device;
  }

  function readOpen(device: ConnectedDevice, frame: Uint8Array): void {
    const message = parseToHub(frame);
    device.lastFrameAtMs = clock.monotonic();
    switch (message.t) {
      case 'heartbeat': {
        device.status = message.status;
        device.contradicted = false;
        send(device, { t: 'heartbeat.ack', n: message.n });
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
            device.agreementKey = message.key;
          },
          (error: unknown) => log.warn({ device: device.id, why: messageOf(error) }, 'agreement key refused'),
        );
        return;
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
        return events.onEmbed(device, message);
      default:
        return events.onAnswer(device, message);
    }
  }

  return {
    accept(channel) {
      const refuse = (error: IdlewildError): void => {
        post(channel, { t: 'refused', code: error.code, message: error.message });
        channel.close(error.message);
      };
      if (stopping || handshakes >= HUB_LIMITS.handshakesMax || open.size >= HUB_LIMITS.devicesMax) {
        channel.listen({ onFrame: () => {}, onClose: () => {} });
        return refuse(
          new IdlewildError(
            stopping ? 'hub_stopping' : 'too_busy',
            stopping ? 'the hub is stopping' : 'too many devices are joining; try again',
          ),
        );
      }
      handshakes++;
      let device: ConnectedDevice | undefined;
      let closed = false;
      const over = (): void => {
        if (!deadline.done) handshakes--;
        deadline.done = true;
        deadline.timer.cancel();
      };
      const deadline: { done: boolean; timer: Timer } = {
        done: false,
        timer: clock.after(LIMITS.handshakeMs, () => {
          over();
          refuse(
            new IdlewildError('handshake_refused', `the handshake took longer than ${LIMITS.handshakeMs / 1000} s`),
          );
        }),
      };
      const proofs = createHandshake({ channel, identity, random, crypto, clock, enrolment });
      let reading: Promise<void> | undefined;
      const readHandshake: Reader = async (frame) => {
        const admitted = await proofs.read(frame);
        if (admitted === undefined || closed) return;
        over();
        device = admitOpen(channel, admitted.who, admitted.checked);
        // A steward may have revoked it while it was let in, when it had no channel yet that could be dropped.
        if (await enrolment.isRevoked(device.id)) {
          dropDevice(device, 'device_revoked', 'a steward of the territory revoked this device');
        }
      };
      const fail = (thrown: unknown): void => {
        const error = asIdlewildError(thrown, 'reading a frame');
        log.warn({ device: device?.id, code: error.code, why: error.message }, 'channel refused');
        over();
        if (device !== undefined) gone(device, 'disconnected', error.message);
        refuse(error);
      };
      channel.listen({
        onFrame(frame) {
          if (device !== undefined) {
            try {
              readOpen(device, frame);
            } catch (error) {
              fail(error);
            }
            return;
          }
          if (deadline.done) return;
          if (reading !== undefined)
            return fail(new IdlewildError('handshake_refused', 'a frame came before the last one was answered'));
          reading = Promise.resolve(readHandshake(frame)).then(() => {
            reading = undefined;
          }, fail);
        },
        onClose(reason) {
          closed = true;
          over();
          if (device !== undefined) gone(device, 'disconnected', reason === '' ? 'its connection closed' : reason);
        },
      });
    },
    get: (id) => open.get(id),
    byTicket: (ticket) => tickets.get(ticket),
    list: () => open.values(),
    order(device, order) {
      device.leases.add(order.lease);
      send(device, { t: 'answer', ...order });
    },
    embed(device, order) {
      device.leases.add(order.lease);
      send(device, { t: 'embed', ...order });
    },
    revokeLease(device, lease, epoch) {
      device.leases.delete(lease);
      send(device, { t: 'cancel', lease, epoch });
    },
    want: (device, wish) => send(device, { t: 'blob.want', ...wish }),
    hold: (device, models) => send(device, { t: 'hold', models: [...models], sources: ['/'] }),
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
    stop(reason) {
      stopping = true;
      for (const device of open.values()) device.channel.close(reason);
    },
  };
}
