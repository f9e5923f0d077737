/** Work as its lender is told of it: what it is, for whose good as far as the hub said; nothing of what is in it. */
import type { DataClass } from '@idlewild/protocol';

interface Work {
  readonly kind: 'answer' | 'embed';
  /** CID of the model. */
  readonly model: string;
  readonly dataClass: DataClass;
  readonly cause?: string;
}

/** Something that is computed now. */
export interface RunningWork extends Work {
  /** What the hub calls the model. */
  readonly modelName?: string;
  /** Of the wall clock. */
  readonly sinceMs: number;
  /** About, so far, where something tells; what engines have not told yet is not in it. */
  readonly wattHours?: number;
}

/** A piece of work that is over. */
export interface WorkDone extends Work {
  /** Whether it came to its end; otherwise it was moved, cancelled or failed. */
  readonly whole: boolean;
  /** Tokens that were made here, or read where the work makes none. */
  readonly tokens: number;
  readonly ms: number;
  /** Of the work alone, where something tells. */
  readonly wattHours?: number;
}
