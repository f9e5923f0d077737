/** Two territories on one database, the first with people, keys and projects, and rooms that spend for each replica. */
import { newId } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { createAudit } from '../../audit/audit.ts';
import type { OpenDatabase } from '../../db/open.ts';
import type { Principal } from '../../identity/principal.ts';
import { silentLog } from '../../log.ts';
import { createPeopleVersions } from '../../people/versions.ts';
import { databaseAt } from '../../replicas/testing/database-at.ts';
import { createAllocations } from '../allocations.ts';
import { chargeHolds } from '../holds.ts';
import { createProjects } from '../projects.ts';
import { createSpendRules } from '../rules.ts';
import { createSpending, type SpendOrder } from '../spending.ts';
import { addTerritories } from '../../testing/territories.ts';

export const HERE = 'ter_here';
export const ELSEWHERE = 'ter_elsewhere';
export const DAY_MS = 86_400_000;

export type SpendWorld = Awaited<ReturnType<typeof createSpendWorld>>;

/** `databases`: one for each replica, all of the same database. */
export async function createSpendWorld(databases: readonly OpenDatabase[]) {
  const clock = createFakeClock(async () => {});
  const handles = databases.map((database) => databaseAt(database, clock));
  const [first] = handles as [OpenDatabase];
  const { db } = first;
  await addTerritories(db, HERE, ELSEWHERE);
  const audit = createAudit({ db, clock, crypto: nodeCrypto });
  const roomsOf = (territory: string, { db: own, nowMs, ...rest }: OpenDatabase, owner: string) => {
    const deps = { db: own, clock, random: nodeRandom, audit };
    const versions = createPeopleVersions({ db: own, clock }, territory);
    const rules = createSpendRules({ ...deps, versions }, territory);
    return {
      projects: createProjects(deps, territory),
      allocations: createAllocations(deps, territory),
      rules,
      spending: createSpending({ database: { ...rest, db: own, nowMs }, rules, owner, log: silentLog }, territory),
    };
  };
  const replicas = handles.map((handle, index) => roomsOf(HERE, handle, `rep_${index}`));
  const [here] = replicas as [(typeof replicas)[number]];

  async function member(name: string, territory = HERE): Promise<string> {
    const id = newId('per', nodeRandom);
    await db.insertInto('people').values({ id, name, created_at_ms: clock.now() }).execute();
    const row = { territory_id: territory, person_id: id, name, state: 'active' as const, joined_at_ms: clock.now() };
    await db.insertInto('members').values(row).execute();
    return id;
  }
  async function key(of: { readonly person?: string; readonly project?: string } = {}, territory = HERE) {
    const id = newId('key', nodeRandom);
    await db
      .insertInto('keys')
      .values({
        id,
        territory_id: territory,
        role: 'caller',
        name: '',
        hash: id,
        created_at_ms: clock.now(),
        expires_at_ms: null,
        revoked_at_ms: null,
        requests_per_minute: null,
        tokens_per_minute: null,
        person_id: of.person ?? null,
        project_id: of.project ?? null,
      })
      .execute();
    return { keyId: id, ...of };
  }
  const steward: Principal = {
    kind: 'key',
    keyId: 'key_steward',
    territory: HERE,
    role: 'steward',
    name: '',
    dataClass: 'internal',
  };
  let count = 0;

  return {
    ...here,
    replicas,
    clock,
    db,
    audit,
    steward,
    member,
    key,
    elsewhere: roomsOf(ELSEWHERE, first, 'rep_0'),
    project: (name: string, maker: Principal = steward) =>
      here.projects.create({ name, purpose: 'education', description: '', maker, actor: 'key_steward' }),
    /** Granted at once, for thirty days from now. */
    async allocate(project: string, tokens: number, more: { deviceMs?: number; days?: number } = {}) {
      const fromMs = clock.now();
      const toMs = fromMs + (more.days ?? 30) * DAY_MS;
      const asked = { project, tokens, deviceMs: more.deviceMs, bytes: 0, fromMs, toMs, why: 'to learn', actor: 'a' };
      const { id } = await here.allocations.ask(asked);
      return here.allocations.grant({ id, note: '', actor: 'key_steward' });
    },
    /** A request for `tokens`, a tenth of which is its prompt. */
    order(spender: Omit<SpendOrder, 'id' | 'wanted'>, tokens: number): SpendOrder {
      const promptTokens = Math.floor(tokens / 10);
      const wanted = { promptTokens, answerTokens: tokens - promptTokens, answers: 1 };
      return { ...spender, id: `req_${++count}`, wanted };
    },
    /** An answer of a hold has ended. */
    charge: (hold: string, tokens: number, deviceMs = 0, territory = HERE) =>
      db
        .transaction()
        .execute((tx) => chargeHolds(tx, territory, [{ hold, tokens, deviceMs, day: 0, accounts: [], isFirst: true }])),
    accounts: () =>
      db
        .selectFrom('spend_days')
        .select(['kind', 'tokens', 'held', 'requests'])
        .where('territory_id', '=', HERE)
        .orderBy('kind')
        .orderBy('subject_id')
        .execute(),
    holds: () => db.selectFrom('spend_holds').selectAll().where('territory_id', '=', HERE).execute(),
    /** Until what is let go in the background is written. */
    async settled(id: string): Promise<void> {
      for (;;) {
        const row = await db
          .selectFrom('spend_holds')
          .select('id')
          .where('territory_id', '=', HERE)
          .where('id', '=', id)
          .executeTakeFirst();
        if (row === undefined) return;
      }
    },
  };
}
