/** Claims about what requests may spend: caps, allocations, floors, and that no race gives anything away twice. */
import { describe, expect, test } from 'vitest';
import { testDatabases } from '../testing/databases.ts';
import type { Hold, SpendOrder } from './spending.ts';
import { createSpendWorld, DAY_MS, ELSEWHERE, type SpendWorld } from './testing/spend-world.ts';

const begin = async ({ spending }: Pick<SpendWorld, 'spending'>, order: SpendOrder): Promise<Hold> => {
  const hold = await spending.begin(order);
  if (hold === undefined) throw new Error('nothing bounds it');
  return hold;
};

describe.each(await testDatabases())('with $kind', ({ open, openShared }) => {
  const setUp = async () => createSpendWorld([await open()]);
  const cap = (world: SpendWorld, of: 'territory' | 'key' | 'person' | 'project', subject: string, caps: object) =>
    world.rules.setCaps({ kind: of, subject, caps, actor: 'key_steward' });
  /** A whole request: what it used is written, and its response is over. */
  async function spend(world: SpendWorld, order: SpendOrder, used: number, deviceMs = 0): Promise<void> {
    const hold = await begin(world, order);
    await world.charge(hold.id, used, deviceMs);
    hold.over();
    await world.settled(hold.id);
  }

  /** A row of one. */
  async function answer(
    { db }: SpendWorld,
    of: {
      readonly id: string;
      readonly key_id: string;
      readonly state?: 'open' | 'done' | 'failed';
      readonly territory_id?: string;
      readonly run_id?: string;
      readonly hold_id?: string;
    },
  ) {
    const at = { created_at_ms: 0, finished_at_ms: null, reason: null, owner: 'rep_0', run_id: null };
    const counts = { prompt_tokens: 0, answer_tokens: 0, failovers: 0, exact: 1 as const };
    const row = { territory_id: 'ter_here', model_cid: 'cid', state: 'open' as const, ...at, ...counts, ...of };
    await db.insertInto('requests').values(row).execute();
    return row;
  }

  test('where nothing bounds a request nothing is held, and the database is not asked', async () => {
    const world = await setUp();
    const key = await world.key({ person: await world.member('Ada') });
    expect(await world.spending.begin(world.order(key, 1_000))).toBeUndefined();
    // What is known is half a second old at most; within it the answer comes at once.
    expect(world.spending.begin(world.order(key, 1_000))).toBeUndefined();
    expect(await world.accounts()).toEqual([]);
  });

  test('a cap of the day counts tokens that are used and that are held, and what is left returns', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const first = await begin(world, world.order(key, 600));
    expect(first.tokens).toBe(600);
    // There are 400 left for the next, which is told so by getting less.
    const second = await begin(world, world.order(key, 600));
    expect(second.tokens).toBe(400);
    const held = world.spending.begin(world.order(key, 100));
    await expect(held).rejects.toMatchObject({ code: 'rate_limit_exceeded', retryable: true });
    await world.charge(first.id, 250);
    first.over();
    second.over();
    await world.settled(second.id);
    await expect.poll(world.accounts).toEqual([{ kind: 'key', tokens: 250, held: 0, requests: 1 }]);
    await spend(world, world.order(key, 750), 750);
    const spent = world.spending.begin(world.order(key, 100));
    await expect(spent).rejects.toMatchObject({
      code: 'spend_cap',
      message: expect.stringMatching(
        /the key’s day of 1,000 tokens has 0 left \(1,000 spent\); .*renews at 2027-01-16/,
      ),
      details: { limit: 'key', retryAfterSeconds: 57_600 },
    });
    await world.clock.advance(DAY_MS);
    expect((await begin(world, world.order(key, 900))).tokens).toBe(900);
  });

  test('a cap of requests counts those of which an answer came', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { requestsPerDay: 2 });
    const refused = await begin(world, world.order(key, 10));
    refused.over();
    await world.settled(refused.id);
    await spend(world, world.order(key, 10), 5);
    await spend(world, world.order(key, 10), 5);
    await expect(world.spending.begin(world.order(key, 10))).rejects.toMatchObject({
      code: 'spend_cap',
      message: expect.stringMatching(/the key’s day of 2 requests is spent/),
    });
  });

  test('a cap of everybody is of each person over all her keys, and her own goes before it', async () => {
    const world = await setUp();
    const [ada, bea] = [await world.member('Ada'), await world.member('Bea')];
    const [phone, laptop] = [await world.key({ person: ada }), await world.key({ person: ada })];
    await cap(world, 'person', '', { tokensPerDay: 1_000, requestsPerMinute: 5 });
    await spend(world, world.order(phone, 700), 700);
    expect((await begin(world, world.order(laptop, 700))).tokens).toBe(300);
    expect((await begin(world, world.order(await world.key({ person: bea }), 700))).tokens).toBe(700);
    // A key that is nobody's is not a person.
    expect(await world.spending.begin(world.order(await world.key(), 5_000))).toBeUndefined();
    await cap(world, 'person', ada, { tokensPerDay: 2_000 });
    expect((await world.rules.known()).capsOf('person', ada)).toEqual({ tokensPerDay: 2_000, requestsPerMinute: 5 });
    expect((await begin(world, world.order(phone, 5_000))).tokens).toBe(1_000);
  });

  test('a cap that is set at noon counts the morning', async () => {
    const world = await setUp();
    const key = await world.key();
    const day = Math.floor(world.clock.now() / DAY_MS);
    const none = { failed: 0, cancelled: 0, cached_tokens: 0, device_ms: 0 };
    const used = { model_cid: 'cid', day, requests: 3, prompt_tokens: 300, answer_tokens: 400, ...none };
    await world.db
      .insertInto('usage')
      .values({ territory_id: 'ter_here', key_id: key.keyId, ...used })
      .execute();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    expect((await begin(world, world.order(key, 1_000))).tokens).toBe(300);
  });

  test('a project spends what it was allocated, the one that ends first before the others, and no more', async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    const key = await world.key({ project });
    await expect(world.spending.begin(world.order(key, 100))).rejects.toMatchObject({
      code: 'allocation_spent',
      message: expect.stringMatching(
        /the project maps has no allocation now; ask for more with "idlewild projects ask maps"/,
      ),
    });
    const long = await world.allocate(project, 1_000);
    const short = await world.allocate(project, 200, { days: 2 });
    await spend(world, world.order(key, 200), 150, 90);
    expect(await world.allocations.get(short.id)).toMatchObject({ spentTokens: 150, spentDeviceMs: 90, heldTokens: 0 });
    await spend(world, world.order(key, 1_000), 950);
    expect(await world.allocations.get(long.id)).toMatchObject({ spentTokens: 950, heldTokens: 0 });
    const spent = world.spending.begin(world.order(key, 1_000));
    await expect(spent).rejects.toMatchObject({ code: 'allocation_spent' });
    await world.allocations.grant({ id: long.id, tokens: 3_000, note: 'more', actor: 'key_steward' });
    expect((await begin(world, world.order(key, 1_000))).tokens).toBe(1_000);
  });

  test("an allocation of which devices' time is spent pays for nothing more", async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    const key = await world.key({ project });
    await world.allocate(project, 1_000, { deviceMs: 5_000 });
    await spend(world, world.order(key, 100), 10, 5_000);
    await expect(world.spending.begin(world.order(key, 100))).rejects.toMatchObject({
      code: 'allocation_spent',
      message: expect.stringMatching(/has no device time left/),
    });
  });

  test('an allocation pays within its time, and none of a closed project does', async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    const key = await world.key({ project });
    const { id } = await world.allocate(project, 1_000, { days: 2 });
    await begin(world, world.order(key, 10));
    await world.clock.advance(2 * DAY_MS);
    await expect(world.spending.begin(world.order(key, 10))).rejects.toMatchObject({ code: 'allocation_spent' });
    expect(await world.allocations.get(id)).toMatchObject({ state: 'ended' });
    await world.allocate(project, 1_000);
    await begin(world, world.order(key, 10));
    await world.projects.close(project, 'key_steward');
    await expect(world.spending.begin(world.order(key, 10))).rejects.toMatchObject({ code: 'allocation_spent' });
  });

  test('where work needs an allocation a member has her floor over all her keys; a service key has none', async () => {
    const world = await setUp();
    await world.rules.change('key_steward', { allocations: 'required', floorTokens: 500, floorRequests: 3 });
    const ada = await world.member('Ada');
    const [phone, laptop] = [await world.key({ person: ada }), await world.key({ person: ada })];
    await spend(world, world.order(phone, 300), 300);
    expect((await begin(world, world.order(laptop, 300))).tokens).toBe(200);
    await expect(world.spending.begin(world.order(await world.key(), 10))).rejects.toMatchObject({
      code: 'allocation_spent',
      message: expect.stringMatching(/this key belongs to none/),
    });
    const bob = await world.key({ person: await world.member('Bob') });
    expect((await begin(world, world.order(bob, 500))).tokens).toBe(500);
    await world.db.updateTable('members').set({ state: 'suspended' }).where('person_id', '=', ada).execute();
    await world.clock.advance(DAY_MS);
    await expect(world.spending.begin(world.order(phone, 10))).rejects.toMatchObject({ code: 'allocation_spent' });
  });

  test('when a project has spent everything, who asks for it still has her floor', async () => {
    const world = await setUp();
    await world.rules.change('key_steward', { floorTokens: 500, floorRequests: 3 });
    const { id: project } = await world.project('maps');
    const key = await world.key({ project, person: await world.member('Ada') });
    await world.allocate(project, 1_000);
    await spend(world, world.order(key, 1_000), 1_000);
    await spend(world, world.order(key, 500), 400);
    await expect(world.spending.begin(world.order(key, 2_000))).rejects.toMatchObject({
      code: 'allocation_spent',
      message: expect.stringMatching(/the allocation alc_.* has 0 left .*the daily floor of 500 tokens has .* left/),
    });
  });

  test("the territory's cap sets all floors aside first, and is never passed", async () => {
    const world = await setUp();
    await world.rules.change('key_steward', { floorTokens: 200, floorRequests: 50 });
    await cap(world, 'territory', '', { tokensPerDay: 1_000 });
    const ada = await world.key({ person: await world.member('Ada') });
    const bob = await world.key({ person: await world.member('Bob') });
    const service = await world.key();
    // Two floors of 200 are set aside.
    await spend(world, world.order(service, 600), 600);
    await expect(world.spending.begin(world.order(service, 10))).rejects.toMatchObject({ code: 'spend_cap' });
    await spend(world, world.order(ada, 200), 200);
    await expect(world.spending.begin(world.order(ada, 200))).rejects.toMatchObject({ code: 'spend_cap' });
    await spend(world, world.order(bob, 200), 200);
    const whole = (await world.accounts()).find(({ kind }) => kind === 'territory');
    expect(whole).toMatchObject({ tokens: 1_000, held: 0 });
  });

  test('where the cap has no room for all floors everybody has the same part of it', async () => {
    const world = await setUp();
    await world.rules.change('key_steward', { floorTokens: 500, floorRequests: 50 });
    await cap(world, 'territory', '', { tokensPerDay: 900 });
    const keys = [];
    for (const name of ['Ada', 'Bob', 'Eve']) keys.push(await world.key({ person: await world.member(name) }));
    for (const key of keys) expect((await begin(world, world.order(key, 500))).tokens).toBe(300);
  });

  test("a person's and a key's own caps hold for the floor, too", async () => {
    const world = await setUp();
    const person = await world.member('Ada');
    const key = await world.key({ person });
    await cap(world, 'person', person, { tokensPerDay: 100 });
    expect((await begin(world, world.order(key, 500))).tokens).toBe(100);
    await expect(world.spending.begin(world.order(key, 500))).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  });

  test('two hundred at once on three replicas are given exactly what there is, and the rest is told so', async () => {
    const world = await createSpendWorld(await openShared(3));
    const keys = await Promise.all(Array.from({ length: 10 }, () => world.key()));
    await cap(world, 'territory', '', { tokensPerDay: 6_000, requestsPerDay: 1_000 });
    const all = await Promise.allSettled(
      Array.from({ length: 200 }, async (_, index) => {
        const replica = world.replicas[index % 3] as SpendWorld['replicas'][number];
        const hold = await begin(replica, world.order(keys[index % 10] as { keyId: string }, 100));
        return { id: hold.id, tokens: hold.tokens + (await hold.extend(1)) };
      }),
    );
    const given = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    expect(given.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(6_000);
    for (const one of all)
      if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'rate_limit_exceeded' });
    expect(await world.accounts()).toMatchObject([
      { kind: 'floors', held: 0 },
      { kind: 'territory', tokens: 0, held: 6_000, requests: given.length },
    ]);
    const holds = await world.holds();
    expect(holds.reduce((sum, hold) => sum + hold.left_tokens, 0)).toBe(6_000);
  });

  test('several who want more of one hold at once are each given their own', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 160 });
    const hold = await begin(world, world.order(key, 100));
    expect(await Promise.all([hold.extend(20), hold.extend(20), hold.extend(30), hold.extend(5)])).toEqual([
      20, 20, 20, 0,
    ]);
    expect(await world.holds()).toMatchObject([{ tokens: 160, left_tokens: 160 }]);
    expect(await world.accounts()).toMatchObject([{ kind: 'key', held: 160, requests: 1 }]);
  });

  test('of many that come at once on three replicas, no token is given away twice', async () => {
    const world = await createSpendWorld(await openShared(3));
    const { id: project } = await world.project('maps');
    const key = await world.key({ project });
    await world.allocate(project, 1_000);
    await cap(world, 'territory', '', { tokensPerDay: 900 });
    const asked = Array.from({ length: 60 }, async (_, index) => {
      const replica = world.replicas[index % 3] as SpendWorld['replicas'][number];
      const hold = await begin(replica, world.order(key, 50));
      await world.charge(hold.id, hold.tokens);
      hold.over();
      await world.settled(hold.id);
      return hold.tokens;
    });
    const all = await Promise.allSettled(asked);
    const given = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    expect(given.reduce((sum, tokens) => sum + tokens, 0)).toBe(900);
    const codes = new Set(
      all.flatMap((one) => (one.status === 'rejected' ? [(one.reason as { code: string }).code] : [])),
    );
    for (const code of codes) expect(['spend_cap', 'allocation_spent', 'rate_limit_exceeded']).toContain(code);
    expect((await world.accounts()).find((row) => row.kind === 'territory')).toMatchObject({ tokens: 900, held: 0 });
  });

  test('a hold is let go when its response is over and its answers are written, whichever is later', async () => {
    const world = await setUp();
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const hold = await begin(world, world.order(key, 400));
    world.spending.opened(hold.id);
    hold.over();
    await world.db.selectFrom('territories').select('id').execute();
    expect(await world.holds()).toHaveLength(1);
    await world.charge(hold.id, 40);
    world.spending.ended(hold.id);
    await world.settled(hold.id);
    expect(await world.accounts()).toEqual([{ kind: 'key', tokens: 40, held: 0, requests: 1 }]);
  });

  test('what a process left behind is let go when its answers are over, at the latest when it expires', async () => {
    const world = await createSpendWorld(await openShared(2));
    const [gone, here] = world.replicas as [SpendWorld['replicas'][number], SpendWorld['replicas'][number]];
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const open = await begin(gone, world.order(key, 300));
    await begin(gone, world.order(key, 300));
    await begin(here, world.order(key, 300));
    const request = await answer(world, { id: 'req_of_hold', key_id: key.keyId, hold_id: open.id });
    // Its answer is open still: whoever ends it charges it.
    expect(await here.spending.expire('all')).toBe(1);
    await world.db.updateTable('requests').set({ state: 'failed' }).where('id', '=', request.id).execute();
    expect(await here.spending.expire('all')).toBe(1);
    expect(await here.spending.expire('all')).toBe(0);
    expect(await world.accounts()).toEqual([{ kind: 'key', tokens: 0, held: 300, requests: 1 }]);
    await world.clock.advance(1_800_001);
    expect(await here.spending.expire('all')).toBe(1);
    expect(await world.accounts()).toEqual([{ kind: 'key', tokens: 0, held: 0, requests: 0 }]);
  });

  test('who goes on with a request elsewhere has what was held for it', async () => {
    const world = await createSpendWorld(await openShared(2));
    const [before, after] = world.replicas as [SpendWorld['replicas'][number], SpendWorld['replicas'][number]];
    const key = await world.key();
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000 });
    const order = world.order(key, 900);
    const left = await begin(before, order);
    left.leave();
    const taken = await after.spending.resume({ ...order, run: 'run_1' });
    expect(taken?.tokens).toBe(900);
    expect(await world.holds()).toMatchObject([{ id: order.id, owner: 'rep_1' }]);
    await world.charge(order.id, 100);
    taken?.over();
    await world.settled(order.id);
    expect(await world.accounts()).toEqual([{ kind: 'key', tokens: 100, held: 0, requests: 1 }]);
  });

  test('who comes back to what was begun is asked for nothing, also where her cap is used up by then', async () => {
    const world = await createSpendWorld(await openShared(2));
    const [before, after] = world.replicas as [SpendWorld['replicas'][number], SpendWorld['replicas'][number]];
    const key = await world.key();
    const unbound = world.order(key, 100);
    expect(await before.spending.begin(unbound)).toBeUndefined();
    await answer(world, { id: 'req_open', key_id: key.keyId, run_id: 'run_open' });
    await cap(world, 'key', key.keyId, { tokensPerDay: 300 });
    await world.clock.advance(1_000);
    const held = world.order(key, 300);
    await answer(world, { id: 'req_done', key_id: key.keyId, run_id: 'run_done', state: 'done' });
    const hold = await begin(before, held);
    await world.charge(hold.id, 300);
    hold.over();
    await world.settled(hold.id);
    const accounts = await world.accounts();
    expect(accounts).toEqual([{ kind: 'key', tokens: 300, held: 0, requests: 1 }]);
    expect(await after.spending.resume({ ...held, run: 'run_done' })).toBeUndefined();
    expect(await after.spending.resume({ ...unbound, run: 'run_open' })).toBeUndefined();
    expect([await world.holds(), await world.accounts()]).toEqual([[], accounts]);
    // What has to be made is another matter: of this one there is nothing, or it is of somewhere else.
    await answer(world, { id: 'req_failed', key_id: key.keyId, run_id: 'run_failed', state: 'failed' });
    const elsewhere = { territory_id: ELSEWHERE, run_id: 'run_elsewhere' };
    await answer(world, { id: 'req_elsewhere', key_id: key.keyId, state: 'done', ...elsewhere });
    for (const run of ['run_failed', 'run_elsewhere', 'run_unknown'])
      await expect(after.spending.resume({ ...held, run })).rejects.toMatchObject({ code: 'spend_cap' });
  });

  test('a person is told what she has left', async () => {
    const world = await setUp();
    const person = await world.member('Ada');
    const key = await world.key({ person });
    await cap(world, 'key', key.keyId, { tokensPerDay: 1_000, requestsPerDay: 10 });
    await spend(world, world.order(key, 100), 60);
    const { levels, renewsAtMs } = await world.spending.standing(key);
    expect(levels).toContainEqual({
      kind: 'key',
      subject: key.keyId,
      tokens: { most: 1_000, spent: 60, held: 0 },
      requests: { most: 10, spent: 1 },
    });
    expect(levels).toContainEqual(
      expect.objectContaining({ kind: 'floor', tokens: { most: 10_000, spent: 0, held: 0 } }),
    );
    expect(renewsAtMs % DAY_MS).toBe(0);
  });

  test('nothing of another territory is seen, spent or let go', async () => {
    const world = await setUp();
    const { id: project } = await world.project('maps');
    const person = await world.member('Ada');
    const key = await world.key({ project, person });
    const granted = await world.allocate(project, 1_000);
    const hold = await begin(world, world.order(key, 100));
    const { projects, allocations, rules, spending } = world.elsewhere;
    await expect(spending.begin(world.order(key, 100))).rejects.toMatchObject({ code: 'allocation_spent' });
    await world.charge(hold.id, 50, 0, ELSEWHERE);
    expect(await spending.expire('all')).toBe(0);
    expect(await world.holds()).toMatchObject([{ left_tokens: 100 }]);
    expect(await allocations.list()).toEqual([]);
    expect(await allocations.history(granted.id)).toEqual([]);
    for (const act of [
      () => allocations.get(granted.id),
      () => allocations.grant({ id: granted.id, tokens: 5, note: '', actor: 'x' }),
      () => allocations.end({ id: granted.id, note: '', actor: 'x' }),
      () => allocations.deny({ id: granted.id, note: '', actor: 'x' }),
      () => projects.get(project),
      () => projects.close(project, 'x'),
      () => rules.setCaps({ kind: 'person', subject: person, caps: { tokensPerDay: 1 }, actor: 'x' }),
      () => rules.setCaps({ kind: 'key', subject: key.keyId, caps: { tokensPerDay: 1 }, actor: 'x' }),
      () => rules.setCaps({ kind: 'project', subject: project, caps: { tokensPerDay: 1 }, actor: 'x' }),
    ])
      await expect(act()).rejects.toMatchObject({ code: 'not_found' });
    expect(await projects.list()).toEqual([]);
    expect([...(await projects.of({ ...world.steward, territory: ELSEWHERE }))]).toEqual([]);
    expect(await rules.caps()).toEqual([]);
    expect(await world.allocations.get(granted.id)).toMatchObject({ state: 'granted', spentTokens: 0 });
  });
});
