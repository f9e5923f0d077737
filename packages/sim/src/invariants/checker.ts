/** What every checker is: it sees all events and some snapshots, and blames what must not be. It changes nothing. */
import type { KeyPair } from '@idlewild/protocol';
import type { Timed } from '../events.ts';
import type { Snapshot } from '../snapshot.ts';

/** What is known of a world without asking the hub. */
export interface Facts {
  readonly contextTokens: number;
  deviceOf(id: string): { readonly identity: KeyPair; readonly traits: { readonly family: number; readonly lends: string } } | undefined;
  saltOf(family: number): string;
}

export type Blame = (what: string) => void;

export interface Checker {
  see?(event: Timed): void;
  inspect?(snapshot: Snapshot): void;
}

export type CreateChecker = (blame: Blame, facts: Facts) => Checker;
