/**
 * What reading the signals needs of a machine: files, commands, sockets. A port, so that all of it is tested from
 * recorded machines. Whatever is missing, unreadable or hangs is `undefined`, and nothing here throws.
 */
export interface System {
  readonly platform: string;
  /** The root of our own processes. */
  readonly pid: number;
  readonly userId: number;
  readonly hostName: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A file that the kernel makes up from memory, at once: /proc, most of /sys. */
  peek(path: string): string | undefined;
  bytes(path: string): Uint8Array | undefined;
  /** A file that may ask hardware; the process goes on meanwhile. */
  read(path: string): Promise<string | undefined>;
  /** Names in a folder; empty where there is none. */
  list(path: string): readonly string[];
  /** Where a symbolic link leads. */
  link(path: string): string | undefined;
  /** When it was last read from, of the wall clock. */
  readAtMs(path: string): number | undefined;
  /** Of all processors together since some start; absent where the system does not say. */
  processorTimes(): { readonly busyMs: number; readonly totalMs: number } | undefined;
  /** Standard output of a command that ended well. One that is not installed is not looked for again. */
  run(command: string, args: readonly string[], needs?: readonly string[]): Promise<string | undefined>;
  /** A program that reports line by line until it is stopped. */
  follow(command: string, args: readonly string[], onLine: (line: string) => void): Following | undefined;
  /** A stream socket of this machine; a path that begins with NUL is in Linux's abstract space. */
  connect(path: string): Promise<LocalSocket | undefined>;
  /** A device that has input events. What the events are is never looked at. */
  openEvents(path: string): EventDevice | undefined;
}

export interface Following {
  /** Resolves when the program has ended by itself. */
  readonly ended: Promise<void>;
  stop(): void;
}

export interface LocalSocket {
  write(bytes: Uint8Array): void;
  /** Set once, before anything can arrive. `onClose` is called once, not for our own `close`. */
  listen(handlers: { onBytes(bytes: Uint8Array): void; onClose(): void }): void;
  close(): void;
}

export interface EventDevice {
  /** Whether events have come since the last call; `gone` when it was unplugged. */
  drain(): 'none' | 'some' | 'gone';
  close(): void;
}
