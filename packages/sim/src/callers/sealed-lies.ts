/** How a test breaks what lies between a hub and callers who seal. */
import type { SealedClientEvent } from '@idlewild/client';

/** What a hub that lies makes of what it tells, and a client that is broken of what it takes. */
export interface SealedLies {
  offer?(offer: Record<string, unknown>): Record<string, unknown>;
  /** In the place of an event; several, or none. */
  event?(event: Record<string, unknown>, nth: number): readonly Record<string, unknown>[];
  taken?(event: SealedClientEvent): SealedClientEvent;
}
