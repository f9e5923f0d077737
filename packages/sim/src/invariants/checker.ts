/** What every checker is: it sees all events and some snapshots, and blames what must not be. It changes nothing. */
import type { CallerKey } from '../callers/callers.ts';
import type { Timed } from '../events.ts';
import type { Snapshot } from '../snapshot.ts';
import type { TrustTraits } from '../callers/texts.ts';

/** What is known of a world without asking the hub. */
export interface Facts {
  readonly contextTokens: number;
  readonly replicas: number;
  /** There is one replica. */
  readonly isAlone: boolean;
  /** Of all devices. */
  slots(): number;
  deviceOf(
    id: string,
  ): { readonly traits: TrustTraits & { readonly family: number; readonly diskBytes: number } } | undefined;
  saltOf(family: number): string;
  /** Whose a key is, and on whose account it asks. */
  keyOf(id: string): CallerKey | undefined;
  /** Numbers of the community's requests. */
  readonly requests: { readonly from: number; readonly to: number };
  /** CIDs of its models. */
  models(): ReadonlySet<string>;
  /** Ids of keys, devices and models of another community in the same hub. */
  strangers(): ReadonlySet<string>;
}

export type Blame = (what: string) => void;

export interface Checker {
  see?(event: Timed): void;
  inspect?(snapshot: Snapshot): void;
}

export type CreateChecker = (blame: Blame, facts: Facts) => Checker;
