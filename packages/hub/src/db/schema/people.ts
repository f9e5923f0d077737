/**
 * Tables of people and of what they may do. A person is of the whole hub and may be a member of several territories;
 * everything else is of one.
 */

/** No territory: a person is found through `members`, which says whose business it is. */
export interface People {
  id: string;
  name: string;
  created_at_ms: number;
}

export const MEMBER_STATES = ['active', 'suspended'] as const;
export type MemberState = (typeof MEMBER_STATES)[number];

export interface Members {
  territory_id: string;
  person_id: string;
  /** What the territory calls this person; one of its own. */
  name: string;
  state: MemberState;
  joined_at_ms: number;
}

export interface Groups {
  id: string;
  territory_id: string;
  name: string;
  created_at_ms: number;
}

export interface GroupMembers {
  territory_id: string;
  group_id: string;
  person_id: string;
}

/** Roles that a territory made itself; the built-in ones are in `policy/built-in-roles.ts`. */
export interface CustomRoles {
  territory_id: string;
  name: string;
  /** A list of actions of the policy. */
  permissions_json: string;
  created_at_ms: number;
}

export const SUBJECT_KINDS = ['person', 'group', 'key'] as const;
export type SubjectKind = (typeof SUBJECT_KINDS)[number];

export const SCOPE_KINDS = ['territory', 'project', 'model', 'pool'] as const;
export type ScopeKind = (typeof SCOPE_KINDS)[number];

/** Somebody has a role, on something, until then. */
export interface Bindings {
  id: string;
  territory_id: string;
  subject_kind: SubjectKind;
  subject_id: string;
  /** Built in, or one of `roles`. */
  role: string;
  scope_kind: ScopeKind;
  /** Id of a project, CID of a model, name of a pool; empty for the territory. */
  scope_id: string;
  expires_at_ms: number | null;
  created_at_ms: number;
  /** Who gave it. */
  created_by: string;
}

/** Counts changes of whatever decisions depend on; see `people/versions.ts`. */
export interface Versions {
  territory_id: string;
  version: number;
}

/** Which devices a pool has. */
export interface DevicePools {
  territory_id: string;
  pool: string;
  device_id: string;
}
