/** A device with an open channel, as the rest of the hub sees it. */
import type {
  AnswerWork,
  Channel,
  DataClass,
  DeviceState,
  DeviceStatus,
  EmbedWork,
  ToDevice,
} from '@idlewild/protocol';
import type { LentTexts } from '../trust/barred.ts';
import type { Standing } from '../trust/standing.ts';

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
  /** What its lender signed of work and texts. */
  readonly lends: LentTexts;
  /** How far it is trusted here, which nothing that it says changes; kept fresh by `trust/trust.ts`. */
  standing: Standing;
  /**
   * Sorts of texts (`sortOf`) that it refused although its consent has them: it is asked for none of these before it
   * connects with another consent, or has paused and come back, for it may have been the hour.
   */
  readonly refusals: Set<string>;
  status: DeviceStatus;
  /** Set by the hub (a steward's drain); the device's own draining comes with its status. */
  draining: boolean;
  /** Leases that are not over: at its home all, elsewhere those that this replica has given it. */
  readonly leases: Set<string>;
  /** How many more it has from other replicas; 0 at its home. */
  leasesElsewhere: number;
  /** Its current X25519 key as a signed statement, for sealing prompts to it; empty where its home is older. */
  agreementKey: Uint8Array;
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
  lastFrameAtMs: number;
  touchedAtMs: number;
  /** When its ticket was issued last. */
  ticketAtMs: number;
}

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

/** What a device is told of the texts that it is shown. */
interface OrderedText {
  readonly dataClass: DataClass;
  readonly cause: string | undefined;
}

export interface AnswerOrder extends OrderedText {
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

/** Work that only its device can read; the fields are those of the frame. */
export type SealedOrder = Omit<Extract<ToDevice, { t: 'sealed' }>, 't'>;

export interface EmbedOrder extends OrderedText {
  readonly lease: string;
  readonly epoch: number;
  readonly model: string;
  readonly work: EmbedWork;
  readonly deadlineMs: number;
}
