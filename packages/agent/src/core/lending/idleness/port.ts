/**
 * What a machine says of itself, and what is made of it: the ports between the lender's rules (`idleness.ts`), the
 * platform (`node/signals/`), and whoever shows it (`idlewild lending status`).
 */

/** What a machine says at a moment. A field is absent where nothing tells: then it pauses nothing, and is said. */
export interface Signals {
  /** Since somebody last touched keyboard, mouse or screen. */
  readonly inputIdleMs?: number;
  readonly locked?: boolean;
  readonly fullScreen?: boolean;
  readonly audio?: boolean;
  readonly camera?: boolean;
  /** Processors that other programs keep busy, of all: 0 to 1. What we do ourselves is left out. */
  readonly otherCpu?: number;
  readonly otherGpu?: number;
  readonly onBattery?: boolean;
  /** Of the battery, 0 to 1. */
  readonly charge?: number;
  /** Of the hottest sensor of processors and graphics, °C. */
  readonly celsius?: number;
  /** Share of the last ten seconds in which something waited for memory (PSI `some`), 0 to 1. */
  readonly memoryPressure?: number;
  /** Share of memory that is available, 0 to 1. */
  readonly memoryFree?: number;
  readonly meteredNetwork?: boolean;
  /** Of the programs that the lender listed, those that run. */
  readonly programs?: readonly string[];
}
export type SignalName = keyof Signals;

export interface SignalSource {
  /** Which signals this machine has, and how each is read, for people; absent ones say why. */
  readonly sources: Readonly<Partial<Record<SignalName, string>>>;
  /** No screen, no input: its load alone tells whether it is idle. */
  readonly headless: boolean;
  /**
   * Asked every 50 ms while something is computed, and every second otherwise. Load is the share since the reading
   * before, or over 40 ms where that was sooner: an engine is to stop within 250 ms of another program's start, so what
   * is averaged over longer comes too late. The noise of short times is the reader's to see through.
   */
  read(): Promise<Signals>;
  /** Called as soon as somebody touches the machine, where the platform tells; never for anything else. */
  onInput?(listen: () => void): { stop(): void };
  close(): void;
}

/** What is known of a machine, for people. */
export interface SignalsView {
  /** Neither screen nor input: idle by its load alone. */
  readonly headless: boolean;
  /** How each is read, or why it is not. */
  readonly read: SignalSource['sources'];
  /** What each says at this moment, and where it pauses; absent for one that tells nothing. */
  readonly now: Readonly<Partial<Record<SignalName, string>>>;
  /** Those that have rules, and that nothing here tells. */
  readonly unknown: readonly SignalName[];
  /** Nothing can be read at the moment, and why. */
  readonly trouble?: string;
}

/** Why nothing runs now. */
export interface PauseReason {
  /** One word, stable, for scripts: `input`, `battery`, `load`, `programs`, `hours`, `lender`, … */
  readonly name: string;
  /** For people: what was seen, and where the line is. */
  readonly text: string;
  /** Of the wall clock. */
  readonly sinceMs: number;
  /** When it ends if nothing more happens, from now on; absent where nobody knows. */
  readonly endsInMs?: number | undefined;
}

/** Work gets less than is lent: before a fan gets loud, and before anything is paused. */
export interface Cooled {
  /** Of what is lent, below 1. */
  readonly share: number;
  readonly text: string;
}

/** One of the lender's limits, and whether more than a promise keeps it on this machine. */
export interface LimitHeld {
  readonly what: 'processors' | 'priority' | 'disk access' | 'memory' | 'graphics' | 'downloads' | 'uploads' | 'disk';
  /** The system, whatever we do; programs of ours; or nobody, where this system has no such thing. */
  readonly by: 'the system' | 'Idlewild' | 'nobody';
  /** One line for people. */
  readonly text: string;
}
