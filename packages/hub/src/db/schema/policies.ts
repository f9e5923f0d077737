/** Tables of what a territory's stewards decided: policies of its own, and models that answer nobody. */

/** Those that hold. */
export interface Policies {
  territory_id: string;
  name: string;
  /** Of Cedar. */
  text: string;
  /** Counts its changes, from 1, and goes on where one of this name was removed. */
  version: number;
  changed_at_ms: number;
  changed_by: string;
}

/** Every state that a policy was in, the present one included. */
export interface PolicyHistory {
  territory_id: string;
  name: string;
  version: number;
  /** `null`: it was removed. */
  text: string | null;
  /** In the words of who changed it. */
  why: string;
  changed_at_ms: number;
  changed_by: string;
}

/** A model that takes no request until it is allowed again. */
export interface ModelStops {
  territory_id: string;
  cid: string;
  why: string;
  stopped_at_ms: number;
  stopped_by: string;
}
