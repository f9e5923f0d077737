/** What a room of the hub sees of its being one of several replicas. */
import type { Bus } from '../bus/port.ts';
import type { DatabaseTransaction } from '../db/schema.ts';

/** This process among its equals. */
export interface Replica {
  /** `rep_…`, new at each start. */
  readonly id: string;
  readonly bus: Bus;
  /** Whether another answers on the bus, as far as it is known here; this one always does. */
  isLive(replica: string): boolean;
}

/**
 * Something that one replica at a time does for all. Holding it is a belief: only what happens in `fenced` is safe from
 * a holder that was paused and does not know that another took over.
 */
export interface Duty {
  /** Whether this replica holds it, as far as it knows. */
  isMine(): boolean;
  /** Grows with every holder; what carries it to others lets them refuse an older one. 0 before it was ever held. */
  epoch(): number;
  /** Runs `act` in a transaction that holds the duty's row. Throws `duty_lost` when it is another's by now. */
  fenced<Result>(act: (transaction: DatabaseTransaction) => Promise<Result>): Promise<Result>;
  /** Told when it becomes this replica's, and when it is no longer. */
  onChange(listener: (isMine: boolean) => void): void;
}
