/** Worlds of several replicas that are broken on purpose, one way each, and the invariant that must notice. */
import type { AnswerSink, Hub } from '@idlewild/hub';
import { decodeCbor, encodeCbor } from '@idlewild/protocol';
import { sql } from 'kysely';
import { expect, test } from 'vitest';
import type { Invariant } from './invariants/all.ts';
import { CALM, CALM_REPLICAS, type Rates, type ReplicaRates } from './rates.ts';
import { simulate } from './run.ts';
import type { Breakage, World } from './world.ts';

async function broken(breakage: Breakage, rates: Partial<Rates & ReplicaRates> = {}): Promise<Set<Invariant>> {
  const { violations } = await simulate({
    seed: 11,
    devices: 12,
    replicas: 3,
    virtualMinutes: 0.4,
    rates: { ...CALM, ...CALM_REPLICAS, requests: 120, keyedShare: 1, ...rates },
    breakage,
  });
  return new Set(violations.map(({ invariant }) => invariant));
}
/** The database, which all have in common, quietly does something else than it is asked to. */
const sabotage = (trigger: string): Breakage => ({
  onHub: async ({ db }: Hub) =>
    void (await sql.raw(`create temp trigger if not exists sabotage ${trigger} end`).execute(db)),
});
const later = ({ agenda, clock }: World, act: () => void | Promise<void>): void =>
  agenda.at(clock.monotonic() + 10_000, act);
const changing = (change: (sink: AnswerSink) => Partial<AnswerSink>): Breakage => ({
  wrapSink: (sink) => ({ ...sink, ...change(sink) }),
});

test('replicas of which none is broken, and to which nothing happens, are blamed for nothing', async () => {
  expect(await broken({}, { keyedShare: 0.7 })).toEqual(new Set());
});

test('1: an end that is told and never written is noticed', async () => {
  const ends = sabotage("before update on requests when new.state = 'done' begin select raise(ignore);");
  expect(await broken(ends)).toContain('1 accepted is never lost');
});

test('1: a caller that comes back and is never told of an end is noticed', async () => {
  expect(await broken(changing(() => ({ finished: () => {} })))).toContain('1 accepted is never lost');
});

test('2: an owner that is replaced under the same epoch, and an end of somebody else, are noticed', async () => {
  const unfenced = sabotage(`after update on requests when new.owner is not old.owner begin
    update requests set owner_epoch = old.owner_epoch where id = new.id;`);
  expect(await broken(unfenced, { hubCrashes: 20 })).toContain('2 stale owners change nothing');
  const meanwhile = (world: World): void =>
    later(world, async () => {
      const { hub } = world.cluster.running()[0] ?? {};
      if (hub !== undefined) await sql`update requests set state = 'done', owner_epoch = 9`.execute(hub.db);
    });
  expect(await broken({ meanwhile })).toContain('2 stale owners change nothing');
});

test("2: tokens in the journal of an answer that is another's are noticed", async () => {
  const unfenced = sabotage(`after insert on journal begin
    update requests set owner = 'rep_other' where id = new.request_id;`);
  expect(await broken(unfenced)).toContain('2 stale owners change nothing');
});

test('2: an accepted answer that is not what its caller has is noticed', async () => {
  // In a few: so many violations are listed and no more.
  const other = changing((sink) => ({
    token: (i, id, ...rest) => sink.token(i, i === 3 && id % 8 === 0 ? id + 1 : id, ...rest),
  }));
  expect(await broken(other)).toContain('2 one holder, accepted once');
});

test.each([
  ['is repeated', (i: number) => [i, i]],
  ['is lost', (i: number) => (i === 3 ? [] : [i])],
  ['moves', (i: number) => [i + 1]],
])('3: a token that %s is noticed', async (_, indices) => {
  const seen = await broken(
    changing((sink) => ({
      token: (i, ...rest) => {
        for (const index of indices(i)) sink.token(index, ...rest);
      },
    })),
  );
  expect(seen).toContain('3 no token changes');
});

test('3: an answer that claims to be exact, made by several classes over several replicas, is noticed', async () => {
  const exact = changing((sink) => ({ finished: (outcome) => sink.finished({ ...outcome, exact: true }) }));
  expect(await broken(exact, { requests: 300, deviceDeaths: 60 })).toContain('3 no token changes');
});

test('6: a device that is revoked through one replica and stays at another is noticed', async () => {
  const forgetful = sabotage('before update on devices begin select raise(ignore);');
  const rates = { deviceRevocations: 10 };
  expect(await broken({ ...forgetful, dropsRevoked: false }, rates)).toContain('6 revocation');
  // Whoever forgets to say so to the others: they look.
  expect(await broken({ dropsRevoked: false }, rates)).toEqual(new Set());
});

test('7: an act of one of several writers that is not in the log is noticed', async () => {
  const forgetful = sabotage("before insert on audit when new.action = 'revokeDevice' begin select raise(ignore);");
  expect(await broken(forgetful, { deviceRevocations: 10 })).toContain('7 audit');
});

test("duties: one that is taken, and an older holder's list that is passed on, are noticed", async () => {
  const taken = (world: World): void =>
    later(world, async () => {
      const { hub } = world.cluster.running()[0] ?? {};
      if (hub !== undefined) await sql`update duties set holder = 'rep_other', epoch = epoch + 1`.execute(hub.db);
    });
  expect(await broken({ meanwhile: taken })).toContain('one holder of a duty');
  // Every list says that it is of a later holder than any before.
  let epoch = 1_000;
  const rewriteBus = (subject: string, bytes: Uint8Array): Uint8Array => {
    // Behind the id of the territory.
    if (!subject.includes('.dev.')) return bytes;
    const order = decodeCbor(bytes, 'an order') as { readonly k: string };
    return order.k === 'hold' ? encodeCbor({ ...order, duty: epoch++ }) : bytes;
  };
  const meanwhile = (world: World): void =>
    later(world, () => {
      const [{ hub: one } = {}, { hub: other } = {}] = world.cluster.running();
      const device = [...(one?.sessions.list() ?? [])].find(({ home }) => home === other?.replica.id);
      if (device !== undefined) for (const duty of [9, 8]) one?.sessions.hold(device, [], duty);
    });
  expect(await broken({ meanwhile })).not.toContain('one holder of a duty');
  expect(await broken({ meanwhile, rewriteBus })).toContain('one holder of a duty');
});

test('bounds: a lease at a mirror that is never taken back, and mirrors that are no mirrors, are noticed', async () => {
  const leased = (world: World): void =>
    later(world, () => {
      for (const { hub, id } of world.cluster.running())
        for (const device of hub.sessions.list()) if (device.home !== id) device.leases.add('att_forgotten');
    });
  expect(await broken({ meanwhile: leased })).toContain('bounds');
  const rewriteBus = (subject: string, bytes: Uint8Array): Uint8Array =>
    subject === 'all.fleet' || subject.endsWith('.fleet') ? new Uint8Array(1) : bytes;
  expect(await broken({ rewriteBus })).toContain('bounds');
});
