/** The room put together: projects, what they are allocated, what bounds spending, and what requests hold of it. */
import type { Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { OpenDatabase } from '../db/open.ts';
import type { Log } from '../log.ts';
import type { PeopleVersions } from '../people/versions.ts';
import { createAllocations, type Allocations } from './allocations.ts';
import { createProjects, type Projects } from './projects.ts';
import { createSpendRules, type SpendRules } from './rules.ts';
import { createSpending, type Spending } from './spending.ts';

export interface ProjectsRoomDeps {
  readonly database: OpenDatabase;
  readonly random: Random;
  readonly audit: Audit;
  readonly versions: PeopleVersions;
  /** Id of this replica. */
  readonly owner: string;
  readonly log: Log;
}

export interface ProjectsRoom {
  readonly projects: Projects;
  readonly allocations: Allocations;
  readonly spendRules: SpendRules;
  readonly spending: Spending;
}

export function openProjects(deps: ProjectsRoomDeps, territory: string): ProjectsRoom {
  const { database, random, audit, versions, owner, log } = deps;
  const { db, clock } = database;
  const stores = { db, clock, random, audit };
  const rules = createSpendRules({ ...stores, versions }, territory);
  return {
    projects: createProjects(stores, territory),
    allocations: createAllocations(stores, territory),
    spendRules: rules,
    spending: createSpending({ database, rules, owner, log }, territory),
  };
}
