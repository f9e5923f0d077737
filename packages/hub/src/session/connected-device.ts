/** A device with an open channel, as the rest of the hub sees it. */
import type {
  AnswerWork,
  Channel,
  Consent,
  DeviceProfile,
  DeviceState,
  DeviceStatus,
  EmbedWork,
} from '@idlewild/protocol';

export interface ConnectedDevice {
  readonly id: string;
  readonly name: string;
  readonly territory: string;
  readonly publicKey: Uint8Array;
  readonly session: string;
  /** Bearer of this session for fetching blobs. */
  readonly ticket: string;
  readonly channel: Channel;
  readonly profile: DeviceProfile;
  readonly consent: Consent;
  /** Its current X25519 key as a signed statement, for sealing prompts to it. */
  agreementKey: Uint8Array;
  status: DeviceStatus;
  /** Set by the hub (a steward's drain); the device's own draining comes with its status. */
  draining: boolean;
  /** Leases that the hub has given it and that are not over. */
  readonly leases: Set<string>;
  lastFrameAtMs: number;
  /** It let an answer stall: until then it is given one only when nobody else could have it. */
  mistrustedUntilMs: number;
  /** It refused what its last status offered, so nothing more is offered to it before its next status. */
  contradicted: boolean;
  touchedAtMs: number;
}

/** What the device is, as people see it. */
export function stateOf(device: ConnectedDevice): DeviceState {
  if (device.draining || device.status.state === 'draining') return 'draining';
  if (device.status.state === 'paused') return 'paused';
  return device.leases.size >= device.status.slots && device.status.slots > 0 ? 'busy' : 'ready';
}

export interface AnswerOrder {
  readonly lease: string;
  readonly epoch: number;
  readonly model: string;
  readonly work: AnswerWork;
  readonly deadlineMs: number;
}

export interface EmbedOrder {
  readonly lease: string;
  readonly epoch: number;
  readonly model: string;
  readonly work: EmbedWork;
  readonly deadlineMs: number;
}
