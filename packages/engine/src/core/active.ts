/** An answer in the making as the loop holds it. */
import type { Kv } from './decoder.ts';
import type { Sequence } from './sequence.ts';

/** An answer that has a slot. */
export interface Active {
  readonly sequence: Sequence;
  readonly scope: string | undefined;
  /** Replaced when it begins with what another has. */
  kv: Kv;
  /** Another answer that reads the same beginning: this one goes on from there when it is that far. */
  follows: { readonly leader: Active; readonly length: number } | undefined;
  /** Number of the turn in which its rows were run last. */
  turn: number;
}
