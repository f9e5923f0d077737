/**
 * The shared ports: what core code is handed instead of reaching for the platform.
 *
 * Each has at least two implementations, one of them in memory, and one conformance suite in `testing/`.
 * Results that a browser can only give asynchronously are `MaybePromise`: Node answers at once, which keeps
 * the simulator deterministic, and callers `await` either.
 */
import type { CID } from 'multiformats/cid';

export type MaybePromise<T> = T | Promise<T>;

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall time, milliseconds since 1970. Only for records that people read and for expiries. */
  now(): number;
  /** Milliseconds since an arbitrary start, never going back. For leases, deadlines and measurements. */
  monotonic(): number;
  /** Calls `act` once after `delayMs`. */
  after(delayMs: number, act: () => void): Timer;
}

export interface Random {
  /** `length` bytes fit for keys. */
  bytes(length: number): Uint8Array;
  /** A float in [0, 1), for jitter and choices that need no secrecy. */
  unit(): number;
}

/** Raw keys: Ed25519 or X25519, 32 bytes each (RFC 8032, RFC 7748). */
export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

export interface Crypto {
  sha256(bytes: Uint8Array): MaybePromise<Uint8Array>;
  /** Ed25519. The private key is the 32-byte seed. */
  signingKey(seed: Uint8Array): MaybePromise<KeyPair>;
  sign(privateKey: Uint8Array, bytes: Uint8Array): MaybePromise<Uint8Array>;
  verify(publicKey: Uint8Array, bytes: Uint8Array, signature: Uint8Array): MaybePromise<boolean>;
  /** X25519. */
  agreementKey(seed: Uint8Array): MaybePromise<KeyPair>;
  /**
   * X25519 (RFC 7748): the 32 bytes that both ends come to. Throws `signature_invalid` for a public key that would make
   * them zero whatever the private one is.
   */
  agree(privateKey: Uint8Array, publicKey: Uint8Array): MaybePromise<Uint8Array>;
  /** HKDF-SHA-256 (RFC 5869), extract and expand: `length` bytes of key, at most 8,160. */
  hkdf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): MaybePromise<Uint8Array>;
  /** AES-256-GCM with a 12-byte nonce; the result carries the 16-byte tag at its end. */
  seal(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array, bound: Uint8Array): MaybePromise<Uint8Array>;
  /** The inverse of `seal`; throws `signature_invalid` when the tag does not verify. */
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, bound: Uint8Array): MaybePromise<Uint8Array>;
}

/** How the bytes between two ends are protected; both ends must name the same one in the handshake. */
export type ChannelBinding =
  | { readonly kind: 'loopback' }
  /** SHA-256 of the server's SubjectPublicKeyInfo (RFC 7469), 32 bytes. */
  | { readonly kind: 'tls'; readonly spki: Uint8Array }
  /** Sealed inside whatever carries it; the hub's X25519 key of this one session, 32 bytes. */
  | { readonly kind: 'session'; readonly key: Uint8Array };

/** One AES-256-GCM key for each direction of a sealed channel, as one of its ends sees them. */
export interface SessionKeys {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

/** One open connection that carries whole frames, in order, to the other end. */
export interface Channel {
  readonly binding: ChannelBinding;
  /** Queues one frame. Silently does nothing once closed: a peer's death is learnt from `onClose` alone. */
  send(frame: Uint8Array): void;
  /** Bytes queued and not yet taken by the network; what back-pressure is judged by. */
  bufferedBytes(): number;
  close(reason: string): void;
  /**
   * From the next frame on, in both directions, nothing goes out or comes in that is not sealed. Once. A channel that
   * has no such function cannot be sealed; `sealable` gives it one.
   */
  seal?(keys: SessionKeys): void;
  /** Set once by the owner, before any frame can arrive. `onClose` is called exactly once. */
  listen(handlers: { onFrame(frame: Uint8Array): void; onClose(reason: string): void }): void;
}

export interface Transport {
  /** Opens a channel to `url`. Throws `hub_unreachable` or `pin_mismatch`. */
  dial(url: string, options: { spkiPin?: Uint8Array | undefined; signal: AbortSignal }): Promise<Channel>;
}

/** A UnixFS file as an ordered list of raw leaves. */
export interface FileLayout {
  readonly root: CID;
  readonly bytes: number;
  readonly leaves: readonly { readonly cid: CID; readonly bytes: number }[];
}

/** A file being put together leaf by leaf; what is already there survives a restart. */
export interface FileAssembly {
  /** Indices of the leaves that are not there yet, ascending. */
  missing(): readonly number[];
  /** The bytes of one leaf that is there, hashed again; `undefined` for one that is not. */
  read(leaf: number): Promise<Uint8Array | undefined>;
  /** Verifies and keeps one leaf. Throws `blob_mismatch`, `disk_full`, `quota_exceeded`. */
  write(leaf: number, bytes: Uint8Array): Promise<void>;
  /** Makes the complete file durable. Throws `blob_not_found` while leaves are missing. */
  finish(): Promise<void>;
}

/**
 * Content-addressed bytes: the only path for bytes in the project.
 * Whatever enters is verified against its CID (sha2-256); what is there already is never stored twice.
 */
export interface BlobStore {
  /** A block by CID: stored alone or as a leaf of a finished file. */
  get(cid: CID): Promise<Uint8Array | undefined>;
  has(cid: CID): Promise<boolean>;
  /** Keeps one block. Throws `blob_mismatch`, `blob_too_large`, `disk_full`, `quota_exceeded`. */
  put(cid: CID, bytes: Uint8Array): Promise<void>;
  /** Opens or resumes the assembly of a file; leaves that any finished file holds are taken from there. */
  assemble(layout: FileLayout): Promise<FileAssembly>;
  /** Bytes `[offset, offset + length)` of a finished file. */
  read(root: CID, offset: number, length: number): Promise<Uint8Array>;
  hasFile(root: CID): Promise<boolean>;
  /** Bytes of the quota that a file takes, finished or not; its dag-pb nodes and loose blocks come on top. */
  takenBy(root: CID): Promise<number>;
  /** Forgets a block or a finished or unfinished file. */
  remove(cid: CID): Promise<void>;
  usage(): Promise<{ readonly bytes: number; readonly quotaBytes: number }>;
}

/** Where blocks come from: a hub, another device, a folder. */
export interface BlobSource {
  readonly name: string;
  /** The bytes claimed for `cid`, unverified; `undefined` when this source does not hold it. */
  fetch(cid: CID, signal: AbortSignal): Promise<Uint8Array | undefined>;
}
