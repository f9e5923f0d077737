/** Claims about what an account counts: all of a day, whenever its cap was set, and nothing twice. */
import { describe, expect, test } from 'vitest';
import { countUsage } from '../callers/usage.ts';
import { testDatabases } from '../testing/databases.ts';
import { chargeEnded } from './charging.ts';
import type { Hold, SpendOrder } from './spending.ts';
import { createSpendWorld, DAY_MS, HERE, type SpendWorld } from './testing/spend-world.ts';

const begin = async ({ spending }: Pick<SpendWorld, 'spending'>, order: SpendOrder): Promise<Hold> => {
  const hold = await spending.begin(order);
  if (hold === undefined) throw new Error('nothing bounds it');
  return hold;
};
let count = 0;

/** An answer of `tokens` ends, with what is held for it, as the journal writes it. */
async function end({ db, clock }: SpendWorld, key: string, tokens: number, hold: string | null): Promise<void> {
  const id = `req_end${++count}`;
  const row = {
    id,
    territory_id: HERE,
    key_id: key,
    model_cid: 'cid',
    state: 'done' as const,
    reason: null,
    created_at_ms: clock.now(),
    finished_at_ms: clock.now(),
    prompt_tokens: 0,
    answer_tokens: tokens,
    failovers: 0,
    exact: 1 as const,
    counts_prompt: 1 as const,
    hold_id: hold,
  };
  await db.transaction().execute(async (tx) => {
    await tx.insertInto('requests').values(row).execute();
    await countUsage(tx, HERE, [id]);
    await chargeEnded(tx, HERE, [id]);
  });
}
const spentOf = async (world: SpendWorld, kind: string) =>
  (await world.accounts()).filter((account) => account.kind === kind);

describe.each(await testDatabases())('with $kind', ({ open }) => {
  const setUp = async () => createSpendWorld([await open()]);
  const cap = (
    { rules }: SpendWorld,
    kind: 'territory' | 'key' | 'person' | 'project',
    subject: string,
    caps: object,
  ) => rules.setCaps({ kind, subject, caps, actor: 'key_steward' });

  test('a cap that is set while a request runs counts what that holds, and what it used', async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    await world.allocate(project, 10_000);
    const key = await world.key({ person: await world.member('Ada'), project });
    const running = await begin(world, world.order(key, 800));
    await cap(world, 'person', '', { tokensPerDay: 1_000 });
    expect(await spentOf(world, 'person')).toMatchObject([{ tokens: 0, held: 800, requests: 1 }]);
    expect((await begin(world, world.order(key, 800))).tokens).toBe(200);
    await end(world, key.keyId, 300, running.id);
    expect(await spentOf(world, 'person')).toMatchObject([{ tokens: 300, held: 700, requests: 2 }]);
  });

  test('what nothing was held for when it began is charged to a cap that was set since', async () => {
    const world = await setUp();
    const key = await world.key({ person: await world.member('Ada') });
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    await end(world, key.keyId, 900, null);
    expect((await begin(world, world.order(key, 800))).tokens).toBe(100);
  });

  test('a cap that is taken away and set again counts what was used in between', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    await end(world, key.keyId, 100, null);
    await cap(world, 'key', key.keyId, { tokensPerDay: 'none' });
    await end(world, key.keyId, 500, null);
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    expect(await spentOf(world, 'key')).toMatchObject([{ tokens: 600, requests: 2 }]);
    expect((await begin(world, world.order(key, 800))).tokens).toBe(400);
  });

  test('a cap of a person counts what she asked without a key', async () => {
    const world = await setUp();
    const person = await world.member('Ada');
    await end(world, person, 700, null);
    await cap(world, 'person', person, { tokensPerDay: 1_000 });
    expect((await begin(world, world.order(await world.key({ person }), 800))).tokens).toBe(300);
  });

  test("floors that have spent more than theirs are now do not make the territory's cap larger", async () => {
    const world = await setUp();
    const [ada, key] = [await world.member('Ada'), await world.key()];
    await world.member('Bea');
    await world.rules.change('key_steward', { allocations: 'required', floorTokens: 400, floorRequests: 10 });
    const hers = await world.key({ person: ada });
    await end(world, hers.keyId, 400, (await begin(world, world.order(hers, 400))).id);
    // Spent before there was a cap, and counted as what it was.
    await cap(world, 'territory', '', { tokensPerDay: 1_000 });
    expect(await spentOf(world, 'floors')).toMatchObject([{ tokens: 400 }]);
    await world.rules.change('key_steward', { allocations: 'optional', floorTokens: 0 });
    expect((await begin(world, world.order(key, 900))).tokens).toBe(600);
  });

  test('what ends after midnight is paid once, on the day on which it was held', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const hold = await begin(world, world.order(key, 500));
    await world.clock.advance(DAY_MS);
    await end(world, key.keyId, 450, hold.id);
    await end(world, key.keyId, 50, null);
    expect((await begin(world, world.order(key, 1_000))).tokens).toBe(950);
    expect(await spentOf(world, 'key')).toMatchObject([{ tokens: 450 }, { tokens: 50, held: 950, requests: 2 }]);
  });

  test('more for what was begun before midnight is of that day: its room, its account', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const hold = await begin(world, world.order(key, 800));
    await world.clock.advance(DAY_MS);
    expect(await hold.extend(500)).toBe(200);
    expect((await begin(world, world.order(key, 1_000))).tokens).toBe(1_000);
    expect(await hold.extend(1)).toBe(0);
    await end(world, key.keyId, 1_000, hold.id);
    expect(await spentOf(world, 'key')).toMatchObject([
      { tokens: 1_000, held: 0, requests: 1 },
      { tokens: 0, held: 1_000, requests: 1 },
    ]);
  });

  test('a day that is full does not stop what the day before pays for', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const hold = await begin(world, world.order(key, 100));
    await world.clock.advance(DAY_MS);
    await begin(world, world.order(key, 1_000));
    expect(await hold.extend(300)).toBe(300);
  });

  test('who asks for more on both sides of midnight at once gets no more than an allocation has', async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    await world.allocate(project, 1_000);
    const key = await world.key({ project });
    const before = await begin(world, world.order(key, 400));
    await world.clock.advance(DAY_MS);
    const after = await begin(world, world.order(key, 400));
    // The first goes alone, and both others together after it.
    expect(await Promise.all([after.extend(50), after.extend(100), before.extend(100)])).toEqual([50, 50, 100]);
    expect(await world.allocations.list(project)).toMatchObject([{ heldTokens: 1_000 }]);
  });

  test('a cap that is set after midnight counts what runs since before on its day, and not on its own', async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    await world.allocate(project, 10_000);
    const [ada, bea] = [await world.member('Ada'), await world.member('Bea')];
    const [hers, other] = [await world.key({ person: ada, project }), await world.key({ person: bea, project })];
    await end(world, hers.keyId, 100, null);
    const running = await begin(world, world.order(hers, 600));
    const short = await begin(world, world.order(other, 300));
    await world.clock.advance(DAY_MS);
    await cap(world, 'person', '', { tokensPerDay: 1_000 });
    await cap(world, 'territory', '', { tokensPerDay: 50_000 });
    expect(await running.extend(500)).toBe(300);
    await end(world, hers.keyId, 900, running.id);
    await end(world, other.keyId, 250, short.id);
    expect(await spentOf(world, 'territory')).toMatchObject([{ tokens: 1_250, requests: 3 }, { tokens: 0 }]);
    for (const key of [hers, other]) expect((await begin(world, world.order(key, 2_000))).tokens).toBe(1_000);
  });
});
