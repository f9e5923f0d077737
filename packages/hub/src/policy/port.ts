/** What the hub asks of the policy: whether somebody may do something, on something, under circumstances. */
import type { DataClass, DeviceTier, MaybePromise } from '@idlewild/protocol';
import type { Principal } from '../identity/principal.ts';
import type { Action } from './actions.ts';

/** What an action is on, as far as policies may look at it. Its kind is the action's. */
export interface Resource {
  /** Id of the territory that it belongs to, or is. */
  readonly territory: string;
  /**
   * Which one of its kind: the id of a device or key, the CID of a model. Absent: some one, which is answered with
   * whether there may be one on which it is allowed; who acts asks again with the very one.
   */
  readonly id?: string | undefined;
  /** On whose account, or whose thing it is. */
  readonly project?: string | undefined;
  /** Person whose own it is. */
  readonly person?: string | undefined;
  /** Of a device. */
  readonly pools?: readonly string[] | undefined;
  readonly tier?: DeviceTier | undefined;
}

/** What is said of the act itself. */
export interface Said {
  readonly dataClass?: DataClass | undefined;
  /** A cause's slug. */
  readonly purpose?: string | undefined;
  /** The hub cannot read what it is about. */
  readonly isSealed?: boolean | undefined;
}

/** How far a device is trusted with one request: `own` is the asker's. */
export type Tier = 'own' | DeviceTier;

/** Who may see the texts of a class, and what keeps the others from it. */
export interface Readers {
  readonly tiers: ReadonlySet<Tier>;
  /** Ids of the policies that forbid it; none of a tier that nothing permits it. */
  readonly forbids: ReadonlyMap<Tier, readonly string[]>;
}

/** Why something is allowed or not. */
export interface Explanation {
  readonly isAllowed: boolean;
  /** Ids of the policies that decided; none where nothing permitted it. */
  readonly decidedBy: readonly string[];
  /** What would be needed, for the person who asked. */
  readonly needed: string;
}

export interface Policy {
  /** Throws `forbidden`, which says what decided and what would be needed; at once where it is known. */
  check(asker: Principal, action: Action, on: Resource, said?: Said): MaybePromise<void>;
  /** For what shows more to some than to others. */
  allows(asker: Principal, action: Action, on: Resource, said?: Said): MaybePromise<boolean>;
  explain(asker: Principal, action: Action, on: Resource, said?: Said): Promise<Explanation>;
  /** Which devices may see texts of this class. */
  tiersFor(dataClass: DataClass): MaybePromise<Readers>;
}
