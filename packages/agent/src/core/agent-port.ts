/** What a device is made of, what it offers its owner, and what it tells of itself; `agent.ts` is how it works. */
import type {
  BlobSource,
  BlobStore,
  DeviceModel,
  DeviceProfile,
  DeviceState,
  IdlewildError,
  KeyPair,
} from '@idlewild/protocol';
import type { EngineHost } from '@idlewild/engine';
import type { EnergyMeter } from './lending/energy/meter.ts';
import type { LocalTime } from './lending/terms/hours.ts';
import type { PauseReason } from './lending/idleness/port.ts';
import type { RunningWork, WorkDone } from './lending/control/work.ts';
import type { ModelFolders } from './model-folders.ts';
import type { Place } from './places.ts';
import type { HubAddress, SessionPorts } from './session.ts';

/** What the lender lends of the machine. */
export interface LendingLimits {
  readonly threads: number;
  /** Answers at once. */
  readonly slotsMax: number;
  /** Resident bytes of all engines together. */
  readonly memoryBytesMax: number;
  /** Share of the time in which those threads may run; absent: all. */
  readonly dutyShare?: number | undefined;
}

export type Log = (
  level: 'debug' | 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/** With what the hub calls it, once it has said so: names are no part of a model and never sent back. */
export type NamedModel = DeviceModel & { readonly name?: string };

export interface AgentState {
  readonly deviceId: string;
  readonly name: string;
  /** What the hub calls the community, once it has said so. */
  readonly community?: string;
  readonly state: DeviceState;
  /** The texts of `pauses`. */
  readonly pauseReasons: readonly string[];
  readonly pauses: readonly PauseReason[];
  /** Of what the lender's limits allow, how much is used at most: below 1 while the device is to be kept cool. */
  readonly share: number;
  readonly models: readonly NamedModel[];
  /** Of the fastest warm model, one stream; 0 when none is warm. */
  readonly tokensPerSecond: number;
  readonly answering: number;
  readonly running: readonly RunningWork[];
  /** Why the device is offline, once it has tried. */
  readonly problem?: { readonly code: string; readonly message: string };
}

export interface AgentOptions extends SessionPorts {
  readonly store: BlobStore;
  readonly engineHost: EngineHost;
  readonly folders: ModelFolders;
  /** A source of blocks below `baseUrl`, which is relative to the hub's address, or absolute. */
  sources(baseUrl: string, ticket: string): BlobSource;
  /** Memory of the machine that nobody uses; absent where nothing tells. */
  freeMemoryBytes?(): number;
  /** Where the device is; absent where nothing tells: then a consent that names hours allows nothing. */
  readonly localTime?: (() => LocalTime) | undefined;
  /** Ed25519. */
  readonly identity: KeyPair;
  /** The signed consent statement. */
  readonly consent: Uint8Array;
  readonly profile: DeviceProfile;
  readonly hub: HubAddress;
  readonly name: string;
  readonly limits: LendingLimits;
  readonly log: Log;
  onState?(state: AgentState): void;
  /** Counts what work costs; absent: receipts do not say. */
  readonly energy?: Pick<EnergyMeter, 'begin' | 'drawnWattHours'> | undefined;
  /** A piece of work is over, however it ended. */
  onWork?(work: WorkDone): void;
  /** A hub welcomed the device: the join token has done its work. Called after every handshake. */
  onEnrolled?(): void;
  /** A hub of the territory welcomed the device at another place than `hub` says: the one to begin with next time. */
  onMoved?(place: Place): void;
}

export interface Agent {
  readonly deviceId: string;
  start(): void;
  /** Resolves when nothing runs any more. `drain` lets running answers finish first, for a bounded time. */
  stop(options?: { drain?: boolean }): Promise<void>;
  /**
   * The machine is its owner's again when this returns: the hub is told, running answers go back to it, and engines
   * are stopped, whose memory follows. Nothing new is taken until every name is resumed. The text is for the lender,
   * `told` for the hub; a name that is paused already takes the new ones.
   */
  pause(name: string, text?: string, told?: string): void;
  resume(name: string): void;
  /**
   * Engines stand still at once, or go on unless the device is paused. Nobody is told and nothing is given back:
   * answers wait where they are. For a second or so, until it is known whether there is something to pause for.
   */
  halt(is: boolean): void;
  /** Engines compute this share, over 0 and at most 1, of what the lender's limits allow: at once, until changed. */
  throttle(share: number): void;
  /**
   * Whether nobody uses the machine now, as its idleness says: until this is told somebody does. A graphics card that
   * is lent for idle times is no longer computed on when it returns.
   */
  idle(isIdle: boolean): void;
  state(): AgentState;
  /** Resolves when the agent has ended: with the reason when it was not `stop`. */
  readonly ended: Promise<IdlewildError | undefined>;
}
