/**
 * Devices as rooms of the hub see them, wherever their channels are. `sessions.ts` has those of this replica,
 * `replicas/fleet.ts` puts those of all replicas behind the same words.
 */
import type { AnswerEvent, Channel, EmbedEvent, SealedEvent, ToDevice, ToHub, WantedModel } from '@idlewild/protocol';
import type { AnswerOrder, ConnectedDevice, EmbedOrder, ResumeOrder, SealedOrder } from './connected-device.ts';

/** What a device gives, or does not, when it is asked for a part of a block. */
export type BlobPart = Extract<ToHub, { t: 'blob.have' }>;
export type BlobWish = Omit<Extract<ToDevice, { t: 'blob.want' }>, 't'>;
export type GoneCode = 'disconnected' | 'superseded' | 'device_revoked';

/** As it comes in at a door, which wants to know who is a stranger. */
export interface DialledChannel extends Channel {
  /** Called once its device has proved who it is. */
  readonly proved?: () => void;
}

/** Who hears what of devices. */
export interface SessionEvents<Device extends ConnectedDevice = ConnectedDevice> {
  onJoin(device: Device): void;
  /** Status or leases changed. */
  onStatus(device: Device): void;
  /** `frame`: the same event as it came. */
  onAnswer(device: Device, event: AnswerEvent, frame: Uint8Array): void;
  onBlob(device: Device, part: BlobPart): void;
  onEmbed(device: Device, event: EmbedEvent, frame: Uint8Array): void;
  onSealed(device: Device, event: SealedEvent, frame: Uint8Array): void;
  onGone(device: Device, code: GoneCode, why: string): void;
}

export interface Sessions<Device extends ConnectedDevice = ConnectedDevice> {
  get(device: string): Device | undefined;
  list(): IterableIterator<Device>;
  order(device: Device, order: AnswerOrder): void;
  embed(device: Device, order: EmbedOrder): void;
  sealed(device: Device, order: SealedOrder): void;
  /** Asks for an attempt's events again, from the device that goes on with it. */
  resume(device: Device, order: ResumeOrder): void;
  /** The attempt's end is written down: the device may forget it. */
  kept(device: Device, lease: string, epoch: number): void;
  revokeLease(device: Device, lease: string, epoch: number): void;
  /** This replica has nothing more to do with an attempt that goes on: another comes for it, or nobody does. */
  disown(device: Device, lease: string, epoch: number): void;
  /** `duty`: the epoch of the duty that says so; an older one than the device's home has seen changes nothing. */
  hold(device: Device, models: readonly WantedModel[], duty: number): void;
  /** Asks for a part of a block; what comes goes to `onBlob`. */
  want(device: Device, wish: BlobWish): void;
  drain(device: string, reason: string): boolean;
  drop(device: string, code: 'superseded' | 'device_revoked', message: string): boolean;
}
