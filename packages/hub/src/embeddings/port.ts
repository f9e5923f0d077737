/** What others see of vectors and labels: how they are asked for, what comes of it, and what it used. */
import type { EmbedEvent, EmbedWork, ErrorCode } from '@idlewild/protocol';
import type { Permit } from '../policy/permit.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { AskedText } from '../trust/text.ts';

export interface EmbedRequest {
  readonly territory: string;
  readonly key: string;
  /** What it is charged to, where anything bounds what it may spend. */
  readonly hold?: string | undefined;
  /** `dimensions`: numbers of one result, as the manifest says. */
  readonly model: { readonly cid: string; readonly name: string; readonly dimensions: number };
  readonly kind: EmbedWork['kind'];
  readonly inputs: readonly string[];
  /** What they are, and for whom: which devices may see them. */
  readonly text: AskedText;
  /** Its right to be answered, asked again while it is. */
  readonly permit: Permit;
}

export interface EmbedOutcome {
  /** In the order of the inputs, each float32, little-endian. */
  readonly vectors: readonly Uint8Array[];
  readonly promptTokens: number;
  /** Names of the devices that worked on it, in order of their first part. */
  readonly devices: readonly string[];
  readonly failovers: number;
}

/** What a request used, once it is over, however it ended. */
export interface EmbedAccount {
  readonly request: string;
  readonly territory: string;
  readonly key: string;
  readonly hold: string | undefined;
  readonly model: string;
  readonly text: Pick<AskedText, 'dataClass' | 'cause'>;
  readonly state: 'done' | 'failed' | 'cancelled';
  readonly reason: ErrorCode | undefined;
  readonly promptTokens: number;
  readonly deviceMs: number;
  readonly failovers: number;
}

export interface Embeddings {
  /**
   * Throws `no_device` or `too_busy` at once; later also what a device refuses (`context_length_exceeded`, with the
   * index of the text in its message), `attempts_exhausted`, `deadline_exceeded`, `cancelled`, `hub_stopping`.
   */
  submit(request: EmbedRequest, signal: AbortSignal): Promise<EmbedOutcome>;
  onFrame(device: ConnectedDevice, event: EmbedEvent): void;
  onGone(device: ConnectedDevice, code: ErrorCode, why: string): void;
  /** Devices or their states changed. */
  pump(): void;
  /** What devices may see changed: parts are taken from those that may see theirs no longer. */
  retrust(): void;
  counts(): { readonly open: number };
  stop(): void;
}
