/** What a hub is made of: its database, its ports, and whether it is one of several. */
import type { BlobStore, Clock, Crypto, Random } from '@idlewild/protocol';
import type { AnswerMeter } from './answers/port.ts';
import type { Bus } from './bus/port.ts';
import type { Buckets } from './callers/buckets.ts';
import type { DefaultLimits } from './callers/limits.ts';
import type { OpenDatabase } from './db/open.ts';
import type { Secrets } from './identity/secrets.ts';
import type { Log } from './log.ts';
import type { BlobOrigin } from './relay/blob-desk.ts';
import type { SessionsDeps } from './session/sessions.ts';

/** This process as one of several, or as the only one. */
export interface ReplicaDeps {
  readonly id: string;
  readonly bus: Bus;
  /** Nobody else has this database, and nobody will. */
  readonly isAlone: boolean;
}

export interface HubDeps {
  readonly database: OpenDatabase;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  /** Of the whole process, whichever territory this is. */
  readonly secrets: Secrets;
  /** Which of the database's territories; absent: its first, which is made where there is none. */
  readonly territory?: string | undefined;
  /** What the first is called where it is made; absent: home. */
  readonly name?: string | undefined;
  /** Where OpenID providers may be in a private network; see `SignInDeps`. */
  readonly privateProviders?: readonly string[] | undefined;
  /** What counts tries to sign in, where all communities of a process share it. */
  readonly tries?: Buckets | undefined;
  readonly meter: AnswerMeter;
  /** Absent: it is alone. */
  readonly replica?: ReplicaDeps | undefined;
  /** Frames for other replicas that come faster than this go together; absent: a few milliseconds. */
  readonly passGapMs?: number | undefined;
  /** Why no device may join this replica at the moment. */
  readonly refusal?: SessionsDeps['refusal'];
  /** Bytes of blobs that devices were given. */
  onBlobServed?(origin: BlobOrigin, bytes: number): void;
  /** For keys that have no limit of their own; absent: they have none. */
  readonly limits?: DefaultLimits | undefined;
  readonly log: Log;
}
