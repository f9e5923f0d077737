/** Tables of a territory's rules of use, of what they refused, and of what people said against that. */

/** Every version of the rules; the last one holds. */
export interface UseRulesRows {
  territory_id: string;
  version: number;
  /** `UseRules`. */
  rules_json: string;
  /** A Signed `use-rules` statement of a steward, in base64url; `null`: nobody signed them. */
  signed: string | null;
  created_by: string;
  created_at_ms: number;
}

/** How often requests were refused, by reason. Written some time after the refusal. */
export interface RefusalCounts {
  territory_id: string;
  /** Days since 1970, UTC. */
  day: number;
  /** The code of an error, or `use:` and a reason of the rules. */
  reason: string;
  count: number;
}

/** One refusal by a rule, for whoever wants to say something against it; never what was asked. */
export interface Refused {
  id: string;
  territory_id: string;
  /** Key or person that asked. */
  actor: string;
  /** Whose key that was. */
  person_id: string | null;
  reason: string;
  model: string;
  at_ms: number;
}

export const APPEAL_STATES = ['open', 'upheld', 'reversed', 'withdrawn'] as const;
export type AppealState = (typeof APPEAL_STATES)[number];

export interface Appeals {
  id: string;
  territory_id: string;
  refused_id: string;
  /** Who appeals: the actor of the refusal, or its person. */
  actor: string;
  /** What they say for themselves. */
  words: string;
  state: AppealState;
  created_at_ms: number;
  /** By when somebody should have looked. */
  due_at_ms: number;
  decided_by: string | null;
  decided_at_ms: number | null;
  /** What the one who decided says. */
  note: string | null;
}

/** Rules that do not hold for somebody, since an appeal was right. */
export interface UseExemptions {
  territory_id: string;
  /** A key or a person. */
  subject: string;
  reason: string;
  /** `null`: until it is taken back. */
  until_ms: number | null;
}
