/** Two communities in one hub: each keeps all invariants, whatever befalls it and its processes; nothing crosses. */
import type { Hub } from '@idlewild/hub';
import { encodeFrame, type ToDevice } from '@idlewild/protocol';
import { sql } from 'kysely';
import { expect, test } from 'vitest';
import { complaints } from './hold.ts';
import type { Timed } from './events.ts';
import { CALM, CALM_REPLICAS } from './rates.ts';
import { simulate, type Violation } from './run.ts';
import type { Breakage, World } from './world.ts';

const SIZE = { devices: 6, neighbours: 6, virtualMinutes: 0.3 } as const;
const RATES = { floods: 0, diskFaults: 0.5 };

test.each([1, 2])('seed %i holds', async (seed) => {
  expect(complaints(await simulate({ seed, ...SIZE, rates: RATES }))).toBe('');
});

test.each([5, 6])('seed %i holds on several replicas', async (seed) => {
  expect(complaints(await simulate({ seed, ...SIZE, replicas: 2 + (seed % 2), rates: RATES }))).toBe('');
});

test('both are asked and answered, and what opens doors is tried at both', async () => {
  const seen = { asked: 0, answered: 0, tries: new Set<string>() };
  const onEvent = (event: Timed): void => {
    if (event.e === 'asked' && event.request >= 1_000_000) seen.asked++;
    if (event.e === 'finished' && event.request >= 1_000_000) seen.answered++;
    if (event.e === 'trespass') seen.tries.add(event.what);
  };
  await simulate({ seed: 1, ...SIZE, rates: { ...CALM, ...CALM_REPLICAS }, onEvent });
  expect(seen.answered).toBeGreaterThan(10);
  expect(seen.asked - seen.answered).toBeLessThan(4);
  expect([...seen.tries].toSorted()).toEqual([
    'a key',
    'a model',
    'a ticket',
    'a tier',
    'an invite',
    'the id of a device',
    'the id of a key',
  ]);
});

async function broken(breakage: Breakage): Promise<readonly Violation[]> {
  const rates = { ...CALM, ...CALM_REPLICAS };
  return (await simulate({ seed: 11, devices: 5, neighbours: 5, virtualMinutes: 0.3, rates, breakage })).violations;
}
const names = (violations: readonly Violation[]): string[] => violations.map(({ invariant }) => invariant);
/** Once both are there, of each from the other's side. */
const between = (act: (one: Hub, other: Hub) => void | Promise<void>): Breakage => ({
  meanwhile(world: World) {
    world.agenda.at(world.clock.monotonic() + 1_000, async () => {
      const [one, other] = [world.process()?.hub, world.neighbour?.process()?.hub];
      if (one !== undefined && other !== undefined) await act(one, other);
    });
  },
});

test('two communities of which none is broken are blamed for nothing', async () => {
  expect(names(await broken({}))).toEqual([]);
});

test.each<[string, (one: Hub, other: Hub) => void | Promise<void>]>([
  ['a key that works in both', (one, other) => void Object.assign(one.keys, { authenticate: other.keys.authenticate })],
  [
    'a key that is revoked by the other',
    (one, other) =>
      void Object.assign(one.keys, {
        revoke: (order: Parameters<typeof one.keys.revoke>[0]) =>
          other.keys.revoke({ ...order, territory: other.territory.id }),
      }),
  ],
  [
    'an invite that works in both',
    (one, other) =>
      void Object.assign(one.invites, {
        redeem: (_: string, token: string, device: Parameters<typeof other.invites.redeem>[2]) =>
          other.invites.redeem(other.territory.id, token, device),
      }),
  ],
  [
    'a ticket that works in both',
    (one, other) => void Object.assign(one.ticketHolders, { holderOf: other.ticketHolders.holderOf }),
  ],
  [
    'a request that a device of the other is ordered to answer',
    (_, other) => {
      const prompt = { kind: 'text', text: '#0 please' } as const;
      const work = { prompt, sampling: { seed: 1 }, choice: 0, stop: [], tokens: [] };
      const order = { t: 'answer', lease: 'att_x', epoch: 1, model: 'x', deadlineMs: 1_000, work } satisfies ToDevice;
      for (const { channel } of other.local.list()) channel.send(encodeFrame(order));
    },
  ],
  [
    'an act in the log of the other',
    async (one, other) => {
      const mine = (await one.keys.list(one.territory.id)).find(({ role }) => role === 'caller');
      const entry = { territory: other.territory.id, actor: other.id, subject: mine?.id ?? '' };
      await one.db
        .transaction()
        .execute((transaction) => other.audit.append(transaction, { ...entry, action: 'createKey' }));
    },
  ],
])('%s is noticed', async (_, act) => {
  expect(names(await broken(between(act)))).toContain('6 nothing crosses');
});

test('sums of one that are moved by what is done in the other are noticed', async () => {
  const moved = `after update on usage when new.answer_tokens <> old.answer_tokens begin
    update usage set requests = requests + 1 where territory_id <> new.territory_id; end`;
  const onHub = async ({ db }: Hub): Promise<void> =>
    void (await sql.raw(`create temp trigger if not exists sabotage ${moved}`).execute(db));
  const violations = await broken({ onHub });
  expect(violations.some(({ what }) => what.includes('usage differs from requests: requests'))).toBe(true);
});

test('logs verify each by itself: one that was changed is blamed, and the other is not', async () => {
  const forged = between(
    async (one) =>
      void (await sql`update audit set actor = 'key_x' where seq = 3
    and territory_id = ${one.territory.id}`.execute(one.db)),
  );
  const seen = (await broken(forged)).filter(({ invariant }) => invariant === '7 audit');
  expect(new Set(seen.map(({ community }) => community))).toEqual(new Set(['first']));
});
