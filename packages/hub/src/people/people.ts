/** The people of a territory, their groups and roles, and what is their own: this room put together. */
import type { Clock, Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import type { Keys } from '../identity/keys.ts';
import type { Principal } from '../identity/principal.ts';
import { createBindings, type Bindings } from './bindings.ts';
import { createGroups, type Groups } from './groups.ts';
import { createKeyDesk, type KeyDesk } from './key-desk.ts';
import { createMembers, type Members } from './members.ts';
import { createOwnDevices, type OwnDevices } from './own-devices.ts';
import { createRoles, type Roles } from './roles.ts';
import { selfOf, type Self } from './self.ts';

export interface People {
  readonly members: Members;
  readonly groups: Groups;
  readonly roles: Roles;
  readonly bindings: Bindings;
  readonly keyDesk: KeyDesk;
  readonly ownDevices: OwnDevices;
  selfOf(asker: Principal): Promise<Self>;
}

export interface PeopleDeps {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: Random;
  readonly audit: Audit;
  readonly keys: Keys;
}

export const createPeople = (deps: PeopleDeps): People => ({
  members: createMembers(deps),
  groups: createGroups(deps),
  roles: createRoles(deps),
  bindings: createBindings(deps),
  keyDesk: createKeyDesk(deps),
  ownDevices: createOwnDevices(deps),
  selfOf: (asker) => selfOf(deps, asker),
});
