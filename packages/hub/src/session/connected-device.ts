/** A device with an open channel, as the rest of the hub sees it. */
import type { AnswerWork, Channel, Consent, DeviceState, DeviceStatus, EmbedWork, WorkKind } from '@idlewild/protocol';

export interface ConnectedDevice {
  readonly id: string;
  readonly name: string;
  readonly territory: string;
  readonly publicKey: Uint8Array;
  readonly session: string;
  /** When it was let in, by the database's time: of two sessions of a device the later one counts. */
  readonly joinedAtMs: number;
  /** Id of the replica that holds its channel. */
  readonly home: string;
  /** That is another one than this: what it is told goes over the bus. */
  readonly isElsewhere: boolean;
  /** What its agent and engine can do beyond plain answers. */
  readonly features: readonly string[];
  /** Kinds of work that its lender allows: `kindsOf`. */
  readonly kinds: readonly WorkKind[];
  status: DeviceStatus;
  /** Set by the hub (a steward's drain); the device's own draining comes with its status. */
  draining: boolean;
  /** Leases that are not over: at its home all, elsewhere those that this replica has given it. */
  readonly leases: Set<string>;
  /** How many more it has from other replicas; 0 at its home. */
  leasesElsewhere: number;
  /** CIDs of the models that it was told to hold. */
  wanted: readonly string[];
  /** It let an answer stall: until then it is given one only when nobody else could have it. */
  mistrustedUntilMs: number;
  /** It refused what its last status offered, so nothing more is offered to it before its next status. */
  contradicted: boolean;
}

/** One whose channel is here. */
export interface LocalDevice extends ConnectedDevice {
  readonly channel: Channel;
  /** Its current X25519 key as a signed statement, for sealing prompts to it. */
  agreementKey: Uint8Array;
  lastFrameAtMs: number;
  touchedAtMs: number;
  /** When its ticket was issued last. */
  ticketAtMs: number;
}

/**
 * What of its lender's kinds there is for a hub to ask. Orders say neither a class, which makes their texts internal,
 * nor a cause: a device that is not for such texts, or for some causes alone, would refuse every answer.
 */
export const kindsOf = ({ kinds, classes, causes }: Consent): readonly WorkKind[] =>
  classes.includes('internal') && causes.length === 0 ? kinds : kinds.filter((kind) => kind !== 'answers');

/** Work that it has, whoever gave it. */
export const activeOf = ({ leases, leasesElsewhere }: ConnectedDevice): number => leases.size + leasesElsewhere;

/** What the device is, as people see it. */
export function stateOf(device: ConnectedDevice): DeviceState {
  if (device.draining || device.status.state === 'draining') return 'draining';
  if (device.status.state === 'paused') return 'paused';
  return activeOf(device) >= device.status.slots && device.status.slots > 0 ? 'busy' : 'ready';
}

/** An attempt that a device goes on with for another owner than the one that ordered it. */
export interface ResumeOrder {
  readonly lease: string;
  readonly epoch: number;
  /** Of its answer: an older owner than the one that has it is refused. */
  readonly ownerEpoch: number;
  /** Index of the first token that is wanted again. */
  readonly from: number;
}

export interface AnswerOrder {
  /** Whether somebody may come for it when this replica is gone. */
  readonly isResumable: boolean;
  /** Of its answer. */
  readonly ownerEpoch: number;
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
