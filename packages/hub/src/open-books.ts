/**
 * What this replica writes down of answers, what they are charged to, and what it may do for all replicas. People come
 * before it (`open-people.ts`), devices after.
 */
import { createJournal } from './answers/journal/journal.ts';
import { createCallers } from './callers/callers.ts';
import type { HubDeps, ReplicaDeps } from './hub-deps.ts';
import type { People } from './open-people.ts';
import { openProjects } from './projects/open.ts';
import { createDuties } from './replicas/duties.ts';
import type { Replica } from './replicas/port.ts';

export function openBooks(
  deps: HubDeps,
  { journalKey: key, territory: { id: territory }, audit, versions }: People,
  { id, isAlone }: ReplicaDeps,
  replica: Replica,
) {
  const { database, crypto, random, log, limits: defaults = {} } = deps;
  const sealing = { database, territory, crypto, random, clock: database.clock, key, log };
  const callers = createCallers({ ...sealing, replica, defaults });
  const accounts = openProjects({ database, random, audit, versions, owner: id, log }, territory);
  return {
    callers,
    ...accounts,
    journal: callers.charging(createJournal({ ...sealing, owner: id }), accounts.spending),
    duties: createDuties({ ...deps, replica, exclusive: isAlone }),
  };
}
export type Books = ReturnType<typeof openBooks>;
