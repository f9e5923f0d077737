/** Claims about sums of what was used, with both databases: each has its own rules of what may be grouped. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { Database } from '../db/schema.ts';
import { testDatabases } from '../testing/databases.ts';
import { SHOWBACK_BY, readShowback } from './showback.ts';
import { addTerritories } from '../testing/territories.ts';

const T = 'ter_a';
const days = { territory: T, from: '1970-01-02', to: '1970-01-03' };
const DAY_MS = 86_400_000;

async function fill(db: Database): Promise<void> {
  const at = { created_at_ms: 1, territory_id: T };
  await addTerritories(db, T);
  await db.insertInto('people').values({ id: 'per_ada', name: 'Ada', created_at_ms: 1 }).execute();
  const rest = { expires_at_ms: null, revoked_at_ms: null, requests_per_minute: null, tokens_per_minute: null };
  const keys = [
    { ...at, ...rest, id: 'key_1', role: 'caller', name: 'the desk', hash: '1', person_id: 'per_ada' },
    { ...at, ...rest, id: 'key_2', role: 'caller', name: 'the shelf', hash: '2', person_id: null },
  ];
  await db.insertInto('keys').values(keys).execute();
  const sums = { failed: 1, cancelled: 0, cached_tokens: 0, device_ms: 5, energy_uwh: 1_500, energy_untold: 1 };
  const usage = { ...sums, territory_id: T, model_cid: 'bafy', requests: 2, prompt_tokens: 3, answer_tokens: 4 };
  await db
    .insertInto('usage')
    .values([
      { ...usage, key_id: 'key_1', day: 1 },
      { ...usage, key_id: 'key_1', day: 2 },
      { ...usage, key_id: 'key_2', day: 2, requests: 1 },
      { ...usage, key_id: 'per_ada', day: 1 },
      { ...usage, key_id: 'key_1', day: 3 },
    ])
    .execute();
}

describe.each(await testDatabases())('with $kind', ({ open }) => {
  test('sums are by project, person, key, model and device, the most tokens first', async () => {
    const { db } = await open(createFakeClock(async () => {}));
    await fill(db);
    const told: Record<string, unknown> = {};
    for (const by of SHOWBACK_BY) {
      const rows = await readShowback(db, { ...days, by });
      told[by] = rows.map(({ id, name, requests, answerTokens, energyWh, energyUntold }) => [
        id,
        name,
        requests,
        answerTokens,
        energyWh,
        energyUntold,
      ]);
    }
    expect(told).toEqual({
      project: [['', '', 7, 16, 0.006, 4]],
      person: [
        ['per_ada', '', 6, 12, 0.0045, 3],
        ['', '', 1, 4, 0.0015, 1],
      ],
      key: [
        ['key_1', 'the desk', 4, 8, 0.003, 2],
        ['key_2', 'the shelf', 1, 4, 0.0015, 1],
        ['per_ada', '', 2, 4, 0.0015, 1],
      ],
      model: [['bafy', '', 7, 16, 0.006, 4]],
      device: [],
    });
  });

  test('who may see her own alone sees no more, and a day is one of UTC', async () => {
    const { db } = await open(createFakeClock(async () => {}));
    await fill(db);
    const only = { projects: [], person: 'per_ada' };
    const rows = await readShowback(db, { ...days, by: 'key', only });
    expect(rows.map(({ id }) => id)).toEqual(['key_1', 'per_ada']);
    const today = new Date(3 * DAY_MS).toISOString().slice(0, 10);
    expect(await readShowback(db, { territory: T, by: 'key', from: today, to: today })).toHaveLength(1);
  });
});
