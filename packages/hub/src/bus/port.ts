/**
 * How replicas of one hub talk: messages by subject, to whoever listens at the moment.
 *
 * It is for fan-out only. A message may be lost, and never comes twice or out of order from one sender to one listener.
 * Whoever needs to know that a message arrived asks for an answer; whoever needs a fact asks the database. Payloads of
 * any size up to `BUS_BYTES_MAX` pass, sealed with a key that only replicas of this hub have.
 */

/** A block's part, a prompt or a batch of vectors, with what is around it. */
export const BUS_BYTES_MAX = 4_194_304;

export interface BusMessage {
  readonly subject: string;
  readonly bytes: Uint8Array;
  /** Answers a `request`; does nothing for what was published. */
  respond(bytes: Uint8Array): void;
}

export interface Subscription {
  stop(): void;
}

export interface Bus {
  /**
   * Subjects are words of letters, digits, `_` and `-`, joined by dots. Does nothing while the bus is down. The bytes
   * belong to the bus from then on, and to whoever hears them: nobody changes them.
   */
  publish(subject: string, bytes: Uint8Array): void;
  /** `pattern` is a subject, or one whose last word is `*`, which stands for any one word. */
  subscribe(pattern: string, onMessage: (message: BusMessage) => void): Subscription;
  /**
   * The first answer. Throws `bus_no_responder` (at once) where nobody listens, `bus_timeout`, or `bus_down`.
   */
  request(subject: string, bytes: Uint8Array, options: { readonly timeoutMs: number }): Promise<Uint8Array>;
  isUp(): boolean;
  /**
   * Told of each change; after `up` again, what was published meanwhile by anybody may be lost. Told `true` while it is
   * up: messages of this replica were lost because the bus did not take them as fast as they came.
   */
  onChange(listener: (isUp: boolean) => void): Subscription;
  close(): Promise<void>;
}
