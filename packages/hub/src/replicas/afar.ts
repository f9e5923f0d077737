/**
 * Orders of this replica to devices whose channels are elsewhere, and what comes of them.
 *
 * An order that its home refuses, or that nobody took, comes back as the device's own refusal would, so that rooms know
 * one way for an attempt to fail. One that may have arrived all the same is taken back.
 */
import {
  asIdlewildError,
  messageOf,
  parseToHub,
  type AnswerEvent,
  type EmbedEvent,
  type SealedEvent,
  type ErrorCode,
} from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { Log } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { SessionEvents, Sessions } from '../session/port.ts';
import { framesSchema, readAs, repliedSchema, write, type Order } from './fleet-wire.ts';
import { codeIn } from './home.ts';
import { FLEET_LIMITS } from './limits.ts';

type Words = 'order' | 'embed' | 'sealed' | 'resume' | 'kept' | 'revokeLease' | 'disown' | 'hold';

export interface Afar extends Pick<Sessions, Words> {
  /** To the device's home, which does as it is told. */
  tell(device: ConnectedDevice, order: Order): void;
  /** The device is gone, and its leases with it. */
  forget(device: ConnectedDevice): void;
  stop(): void;
}

export interface AfarDeps {
  readonly replica: string;
  readonly bus: Bus;
  readonly log: Log;
  readonly events: Pick<SessionEvents, 'onAnswer' | 'onEmbed' | 'onSealed'>;
  get(device: string): ConnectedDevice | undefined;
}

export function createAfar({ replica: from, bus, log, events, get }: AfarDeps): Afar {
  /** Ids of devices by the leases that they were given. */
  const given = new Map<string, string>();
  const nothing = new Uint8Array(0);

  let isStopped = false;

  const tell = (device: ConnectedDevice, order: Order): void => bus.publish(`dev.${device.id}`, write(order));

  /** Until its replica has heard it or is gone: an order that nobody wants any more would keep its slot for good. */
  function cancel(
    device: ConnectedDevice,
    lease: string,
    epoch: number,
    tries: number = FLEET_LIMITS.cancelTries,
  ): void {
    const order: Order = { k: 'cancel', from, lease, epoch };
    bus.request(`dev.${device.id}`, write(order), { timeoutMs: FLEET_LIMITS.orderMs }).catch((thrown: unknown) => {
      const { code } = asIdlewildError(thrown, 'reaching the replica of the device');
      if (code === 'bus_timeout' && tries > 1 && !isStopped) cancel(device, lease, epoch, tries - 1);
    });
  }

  function ask(
    device: ConnectedDevice,
    order: Extract<Order, { k: 'order' | 'embed' | 'sealed' | 'resume' }>,
    onRefused: (code: ErrorCode, message: string) => void,
  ): void {
    const { lease, epoch } = order;
    device.leases.add(lease);
    given.set(lease, device.id);
    const refused = (code: ErrorCode, message: string): void => {
      given.delete(lease);
      onRefused(code, message);
    };
    bus.request(`dev.${device.id}`, write(order), { timeoutMs: FLEET_LIMITS.orderMs }).then(
      (carried) => {
        const replied = readAs(repliedSchema, carried) ?? { code: 'internal' };
        const code = codeIn(replied);
        if (code !== undefined) refused(code, replied.message ?? 'its replica refused');
      },
      (thrown: unknown) => {
        const error = asIdlewildError(thrown, 'reaching the replica of the device');
        // Its first frames may have come before a word of its replica.
        if (error.code === 'bus_timeout') cancel(device, lease, epoch);
        refused(error.code, error.message);
      },
    );
  }

  const failAnswer =
    (device: ConnectedDevice, lease: string, epoch: number) =>
    (code: ErrorCode, message: string): void =>
      events.onAnswer(device, { t: 'answer.failed', lease, epoch, code, message }, nothing);

  function release(device: ConnectedDevice, lease: string): void {
    device.leases.delete(lease);
    given.delete(lease);
  }

  function onFrame(lease: string, frame: Uint8Array): void {
    const device = get(given.get(lease) ?? '');
    if (device === undefined) return;
    const event = parseToHub(frame);
    if (event.t === 'embed.done' || event.t === 'embed.failed') {
      given.delete(lease);
      events.onEmbed(device, event satisfies EmbedEvent, frame);
    } else if (event.t.startsWith('sealed.')) {
      if (event.t === 'sealed.done' || event.t === 'sealed.failed') given.delete(lease);
      events.onSealed(device, event as SealedEvent, frame);
    } else if (event.t.startsWith('answer.')) {
      if (event.t === 'answer.finished' || event.t === 'answer.failed') given.delete(lease);
      events.onAnswer(device, event as AnswerEvent, frame);
    }
  }

  const subscription = bus.subscribe(`rep.${from}.ans`, ({ bytes }) => {
    for (const [lease, frame] of readAs(framesSchema, bytes) ?? []) {
      try {
        onFrame(lease, frame);
      } catch (error) {
        // Its home has parsed it once; whatever this is, the device goes on.
        log.warn({ why: messageOf(error) }, 'a frame of another replica is not understood');
      }
    }
  });

  return {
    tell,
    order: (device, order) => ask(device, { k: 'order', from, ...order }, failAnswer(device, order.lease, order.epoch)),
    embed: (device, order) =>
      ask(device, { k: 'embed', from, ...order }, (code, message) => {
        const { lease, epoch } = order;
        events.onEmbed(device, { t: 'embed.failed', lease, epoch, code, message }, nothing);
      }),
    sealed: (device, order) =>
      ask(device, { k: 'sealed', from, ...order }, (code, message) => {
        const { lease, epoch } = order;
        events.onSealed(device, { t: 'sealed.failed', lease, epoch, code, message }, nothing);
      }),
    resume(device, { lease, epoch, ownerEpoch, from: at }) {
      ask(device, { k: 'resume', from, ownerEpoch, lease, epoch, at }, failAnswer(device, lease, epoch));
    },
    kept: (device, lease, epoch) => tell(device, { k: 'kept', from, lease, epoch }),
    revokeLease(device, lease, epoch) {
      release(device, lease);
      cancel(device, lease, epoch);
    },
    disown(device, lease, epoch) {
      release(device, lease);
      tell(device, { k: 'disown', from, lease, epoch });
    },
    hold: (device, models, duty) => tell(device, { k: 'hold', from, duty, models: [...models] }),
    forget(device) {
      for (const lease of device.leases) given.delete(lease);
    },
    stop() {
      isStopped = true;
      subscription.stop();
    },
  };
}
