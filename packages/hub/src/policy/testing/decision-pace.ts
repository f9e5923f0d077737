/**
 * How long a decision takes, whole: from whoever asks to an answer, with what is known of her, as a route asks for it.
 * One that was made before under the same version, and one that Cedar has to make.
 */
import { newId } from '@idlewild/protocol';
import { nodeRandom, systemClock } from '@idlewild/protocol/node';
import { openDatabase } from '../../db/open.ts';
import type { KeyPrincipal } from '../../identity/principal.ts';
import { silentLog } from '../../log.ts';
import { createPeopleVersions } from '../../people/versions.ts';
import { createPolicy } from '../policy.ts';

export interface DecisionPaceOptions {
  /** Of the territory's own, beside what is built in. */
  readonly policies: number;
  readonly decisions: number;
}

export interface DecisionPace {
  /** All that were asked, with what is built in and the roles. */
  readonly policies: number;
  /** Microseconds, in ascending order. */
  readonly known: readonly number[];
  readonly made: readonly number[];
}

const TERRITORY = 'ter_a';
/** Half of them would forbid, half permit, and all look at circumstances. */
const ownPolicy = (index: number): string =>
  index % 2 === 0
    ? `@id("forbid-${index}") forbid (principal, action == Action::"answer", resource)
       when { context has purpose && context.purpose == "bad-${index}" };`
    : `@id("permit-${index}") permit (principal in Group::"group-${index}", action == Action::"answer", resource)
       when { context has dataClass && context.dataClass == DataClass::"public" };`;

export async function measureDecisions({ policies: count, decisions }: DecisionPaceOptions): Promise<DecisionPace> {
  const database = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  const { db } = database;
  try {
    const asker = await fill(database, count);
    const versions = createPeopleVersions({ db, clock: systemClock }, TERRITORY);
    const now = (): number => systemClock.now();
    const policy = await createPolicy({ db, now, territory: TERRITORY, versions, log: silentLog });
    const on = { territory: TERRITORY, id: 'bafymodel' };
    const ask = (purpose: string): unknown => policy.check(asker, 'answer', on, { dataClass: 'internal', purpose });
    const { rules } = await policy.state();
    const known: number[] = [];
    const made: number[] = [];
    for (let i = 0; i < decisions; i++) {
      // What the version and the asker are is read once in half a second, whatever is asked meanwhile.
      if (i % 64 === 0) await ask('warm');
      known.push(took(() => ask('warm')));
      made.push(took(() => ask(`purpose-${i}`)));
    }
    policy.stop();
    const ascending = (one: number, other: number): number => one - other;
    return { policies: rules.policies.size, known: known.toSorted(ascending), made: made.toSorted(ascending) };
  } finally {
    await database.close();
  }
}

function took(act: () => unknown): number {
  const beganAtMs = systemClock.monotonic();
  act();
  return (systemClock.monotonic() - beganAtMs) * 1_000;
}

async function fill({ db }: Awaited<ReturnType<typeof openDatabase>>, count: number): Promise<KeyPrincipal> {
  const id = newId('key', nodeRandom);
  const base = { territory_id: TERRITORY, created_at_ms: 0 };
  await db
    .insertInto('territories')
    .values({ id: TERRITORY, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  const none = { expires_at_ms: null, revoked_at_ms: null, requests_per_minute: null, tokens_per_minute: null };
  await db
    .insertInto('keys')
    .values({ ...base, ...none, id, role: 'caller', name: '', hash: id })
    .execute();
  const text = Array.from({ length: count }, (_, index) => ownPolicy(index)).join('\n');
  const own = { territory_id: TERRITORY, name: 'own', text, version: 1, changed_at_ms: 0, changed_by: id };
  if (count > 0) await db.insertInto('policies').values(own).execute();
  return { kind: 'key', keyId: id, territory: TERRITORY, role: 'caller', name: '', dataClass: 'internal' };
}
