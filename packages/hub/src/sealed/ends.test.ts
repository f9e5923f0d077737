/** Claims about how sealed answers end over replicas: revoked, over their caps, or when a replica leaves. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LIMITS, codeOf, idOfKey, openStatement, sealedReceiptSchema, type ErrorCode } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { reportOf } from '../audit/report.ts';
import { permitAnswer } from '../gateway/asking/admit.ts';
import type { Hub } from '../hub.ts';
import { given } from '../identity/leaving.ts';
import { touchPeople } from '../people/versions.ts';
import type { Permit } from '../policy/permit.ts';
import { transact } from '../db/transact.ts';
import { readShowback } from '../projects/showback.ts';
import { createReplicatedWorld, leases, ordersOf, type ReplicatedWorld } from './testing/replicated-world.ts';

const actor = 'test';
const sealed = new Uint8Array(LIMITS.sealedEventBytesMin + 16);

/** The device tells tokens, all until `tokens`, from where it is. */
function createTeller({ device }: Pick<ReplicatedWorld, 'device'>): (tokens: number) => void {
  let next = 0;
  return (tokens) => {
    const { lease, epoch } = ordersOf(device).at(-1) ?? { lease: '', epoch: 1 };
    for (; next <= tokens; next++) {
      const start = next === 0 ? { promptTokens: 3 } : {};
      device.send({ t: 'sealed.part', lease, epoch, n: next, ...start, tokens: next, sealed });
    }
  };
}
interface Told {
  readonly commitment?: Uint8Array;
  readonly energy?: { readonly wattHours: number; readonly how: 'measured' | 'modelled' };
}
const finish = ({ device }: Pick<ReplicatedWorld, 'device'>, tokens: number, told: Told = {}): void => {
  const { lease, epoch } = ordersOf(device).at(-1) ?? { lease: '', epoch: 1 };
  const counts = { n: tokens + 1, promptTokens: 3, tokens };
  device.send({ t: 'sealed.done', lease, epoch, ...counts, sealed, ...told });
};

async function personWithRole(hub: Hub): Promise<{ readonly person: string; drop(): Promise<void> }> {
  const { db, territory } = hub;
  const person = `per_${'a'.repeat(26)}`;
  const here = { territory_id: territory.id };
  await db.insertInto('people').values({ id: person, name: 'Ann', created_at_ms: 0 }).execute();
  const member = { ...here, person_id: person, name: 'Ann', state: 'active' as const, joined_at_ms: 0 };
  await db.insertInto('members').values(member).execute();
  const made = { created_at_ms: 0, created_by: actor, expires_at_ms: null };
  const scope = { scope_kind: 'territory' as const, scope_id: '' };
  const subject = { subject_kind: 'person' as const, subject_id: person };
  await db
    .insertInto('bindings')
    .values({ id: 'bnd_ann', ...here, role: 'member', ...scope, ...subject, ...made })
    .execute();
  return {
    person,
    drop: () =>
      transact(db, async (tx) => {
        await tx.deleteFrom('bindings').where('territory_id', '=', territory.id).where('id', '=', 'bnd_ann').execute();
        await touchPeople(tx, territory.id);
      }),
  };
}

interface Taken {
  readonly code: ErrorCode;
  /** Of the key that asks. */
  readonly person?: string;
  readonly project?: string;
  take(key: { readonly id: string }): Promise<void>;
}
const cases: [string, (world: ReplicatedWorld) => Promise<Taken>][] = [
  [
    'its key is revoked',
    async ({ home }) => ({
      code: 'unauthenticated',
      take: ({ id }) => home.keys.revoke({ territory: home.territory.id, id, actor }),
    }),
  ],
  [
    'the role of its person ends',
    async ({ home }) => {
      const { person, drop } = await personWithRole(home);
      return { code: 'forbidden', person, take: drop };
    },
  ],
  [
    'its project is closed',
    async ({ home }) => {
      const territory = home.territory.id;
      const { key } = await home.keys.create({ territory, role: 'steward', actor });
      const maker = await home.keys.authenticate(key);
      const order = { name: 'maps', purpose: 'education', description: '', maker, actor };
      const { id: project } = await home.projects.create(order);
      return { code: 'forbidden', project, take: async () => void (await home.projects.close(project, actor)) };
    },
  ],
  [
    'its model is stopped',
    async ({ home, model }) => ({
      code: 'model_stopped',
      take: () => home.policyDesk.stopModel(model.cid, { actor, why: 'a fire', name: model.name }),
    }),
  ],
];
test.each(cases)('a sealed stream on another replica ends within a second when %s', async (_, prepare) => {
  const world = await createReplicatedWorld(() => nextTurn());
  const { clock, home, other, model } = world;
  const { code, take, person, project } = await prepare(world);
  const territory = home.territory.id;
  const role = person === undefined ? 'caller' : 'member';
  const key = await home.keys.create({ territory, role, actor, project, ...(person && { person }) });
  const asker = await other.keys.authenticate(key.key);
  const asked = { model: model.cid, dataClass: 'internal', purpose: undefined, isSealed: true } as const;
  const permit: Permit = await permitAnswer(other, asker, asked);
  const said = await world.submit(other, await world.offer(other), { permit });
  const tell = createTeller(world);
  tell(2);
  await clock.advance(100);
  expect(said).toEqual(['part 0', 'part 1', 'part 2']);
  // Nothing of it went over the bus: the other replica finds it in the database.
  await take(key);
  let tokens = 2;
  for (let waited = 0; waited < 900; waited += 100) {
    tell(++tokens);
    await clock.advance(100);
  }
  expect(said.at(-1)).toBe(`failed ${code}`);
  expect(world.device.heard.some(({ t }) => t === 'cancel')).toBe(true);
  expect(leases(home)).toBe(0);
});

test('a sealed stream on another replica ends within a second when its device is revoked', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const { clock, home, other, device } = world;
  const said = await world.submit(other, await world.offer(other));
  createTeller(world)(2);
  await clock.advance(100);
  const id = await idOfKey('dev', device.key.publicKey, nodeCrypto);
  await other.devices.revoke({ territory: home.territory.id, id, actor });
  for (let waited = 0; waited < 1_000; waited += 100) await clock.advance(100);
  expect(said.at(-1)).toMatch(/^lost /);
  expect(device.closed()).toBeDefined();
});

test('what may be spent ends a sealed answer in the middle, and what there is more is asked for in time', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const asked: number[] = [];
  const gives = [40, 0];
  const hold = {
    id: 'req_hold',
    tokens: 20,
    extend: async (tokens: number) => (asked.push(tokens), gives.shift() ?? 0),
  };
  const said = await world.submit(world.home, await world.offer(world.home), { hold });
  const tell = createTeller(world);
  for (let tokens = 0; tokens <= 70; tokens += 5) {
    tell(tokens);
    await world.clock.advance(20);
  }
  // 60 in all, of which the prompt has 3: the 58th is too much.
  expect(said.at(-1)).toBe('failed spend_cap');
  expect(said.filter((each) => each.startsWith('part'))).toHaveLength(58);
  expect(asked).toHaveLength(2);
  expect(world.device.heard.some(({ t }) => t === 'cancel')).toBe(true);
  await world.clock.advance(200);
  const [row] = await world.home.db.selectFrom('requests').select(['state', 'answer_tokens']).execute();
  expect(row).toEqual({ state: 'failed', answer_tokens: 58 });
});

test('a device that counts more tokens in a prompt than there are bytes is not believed', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const said = await world.submit(world.home, await world.offer(world.home));
  const { lease, epoch } = ordersOf(world.device).at(-1) ?? { lease: '', epoch: 1 };
  world.device.send({ t: 'sealed.part', lease, epoch, n: 0, promptTokens: 1_000_000, tokens: 0, sealed });
  await world.clock.advance(50);
  expect(said).toEqual(['lost frame_invalid']);
});

test('a hub that leaves waits for sealed answers, takes no more, and signs for those that end', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const { clock, home } = world;
  const said = await world.submit(home, await world.offer(home));
  const tell = createTeller(world);
  tell(1);
  const waiting = world.offer(home).catch((error: unknown) => codeOf(error));
  let left = false;
  void home.drain({ moveMs: 0, boundMs: 10_000 }).then(() => (left = true));
  for (let tokens = 2; tokens <= 7; tokens++) {
    tell(tokens);
    await clock.advance(1_000);
  }
  expect(await waiting).toBe('hub_stopping');
  expect(left).toBe(false);
  finish(world, 7, { commitment: new Uint8Array(32).fill(6) });
  await clock.advance(200);
  expect(left).toBe(true);
  expect(said).toHaveLength(9);
  expect(said.at(-1)).toBe('done 8');
  const { statement } = await openStatement(
    'sealed-receipt',
    said.receipt ?? new Uint8Array(0),
    sealedReceiptSchema,
    nodeCrypto,
  );
  expect(statement).toMatchObject({ tokens: 7, promptTokens: 3, model: world.model.cid, verification: 'unverified' });
  await expect(world.offer(home)).rejects.toMatchObject({ code: 'hub_stopping' });
});

test.each([
  [
    { wattHours: 0.25, how: 'measured' },
    { measured: 0.25, modelled: 0 },
    { measured: 1, modelled: 0, without: 0 },
  ],
  [
    { wattHours: 0.5, how: 'modelled' },
    { measured: 0, modelled: 0.5 },
    { measured: 0, modelled: 1, without: 0 },
  ],
  [undefined, { measured: 0, modelled: 0 }, { measured: 0, modelled: 0, without: 1 }],
] as const)(
  'an answer that nobody here could read is in the report, with energy %j',
  async (energy, wattHours, receipts) => {
    const world = await createReplicatedWorld(() => nextTurn());
    const { clock, device, home, other } = world;
    const said = await world.submit(other, await world.offer(other));
    createTeller(world)(2);
    finish(world, 2, { commitment: new Uint8Array(32).fill(6), ...(energy && { energy }) });
    await clock.advance(200);
    expect(said.at(-1)).toBe('done 3');
    const heads = { newest: async () => undefined };
    const { territory, db } = home;
    const range = { fromMs: clock.now() - 1_000, toMs: clock.now() + 1 };
    expect((await reportOf({ db, heads, territory }, range)).energy).toEqual({
      wattHours,
      receipts,
      untold: receipts.without,
    });
    // It was given by that device, too, and the caller has the very same statement.
    const id = await idOfKey('dev', device.key.publicKey, nodeCrypto);
    expect(await given(db, territory.id, id)).toEqual({ answers: 1, tokens: 2 });
    const day = new Date(clock.now()).toISOString().slice(0, 10);
    const used = { requests: 1, failed: 0, promptTokens: 3, answerTokens: 2, energyUntold: receipts.without };
    expect(await readShowback(db, { territory: territory.id, by: 'device', from: day, to: day })).toMatchObject([
      { id, ...used, energyWh: energy?.wattHours ?? 0 },
    ]);
    expect(await db.selectFrom('receipts').select('statement').execute()).toEqual([{ statement: said.receipt }]);
  },
);

test('what does not end in time is lost to its caller, who goes on elsewhere', async () => {
  const world = await createReplicatedWorld(() => nextTurn());
  const { clock, other } = world;
  const said = await world.submit(other, await world.offer(other));
  createTeller(world)(1);
  const leaving = other.drain({ moveMs: 0, boundMs: 500 });
  await clock.advance(1_000);
  await leaving;
  await other.stop();
  expect(said).toEqual(['part 0', 'part 1', 'lost hub_stopping']);
  // The device is free for what its caller seals anew, over the replica that is left.
  await clock.advance(200);
  expect(leases(world.home)).toBe(0);
  expect((await world.offer(world.home)).device.name).not.toBe('');
});
