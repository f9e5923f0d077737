/**
 * Members who spend, are in pools and are held to rules, and stewards who change all of that while they ask: what must
 * hold, and what is broken on purpose and must be noticed.
 */
import type { Hub } from '@idlewild/hub';
import { IdlewildError } from '@idlewild/protocol';
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import type { Timed } from './events.ts';
import { complaints } from './hold.ts';
import type { Invariant } from './invariants/all.ts';
import { CALM, CALM_REPLICAS, CALM_STEWARDS, STEWARD_RATES, type StewardRates } from './rates.ts';
import { simulate, type SimulationOptions } from './run.ts';
import type { Breakage } from './world.ts';

const SIZE = { devices: 14, members: 4, virtualMinutes: 0.4 } as const;
const BAD_DAY = { requests: 150, floods: 0, diskFaults: 0.5 };
const QUIET = { ...CALM, ...CALM_REPLICAS, ...CALM_STEWARDS, requests: 150 };

test.each([1, 2, 3])('seed %i holds', async (seed) => {
  expect(complaints(await simulate({ seed, ...SIZE, rates: BAD_DAY }))).toBe('');
});

test.each([4, 5])('seed %i holds on several replicas, with sealed prompts', async (seed) => {
  const options = { seed, ...SIZE, replicas: 3, sealed: 40, rates: { ...BAD_DAY, requests: 100 } };
  expect(complaints(await simulate(options))).toBe('');
});

test.each([
  [36, 'who came back to an answer in the making was refused by a cap that came since'],
  [39, 'who was suspended while she was away was thought to have lost her answer'],
])('seed %i holds again (%s)', async (seed) => {
  expect(complaints(await simulate({ seed, ...SIZE, replicas: 3, sealed: 40, rates: BAD_DAY }))).toBe('');
});

test.each(Object.keys(STEWARD_RATES) as (keyof StewardRates)[])('a community holds in a storm of %s', async (kind) => {
  const rates = { ...QUIET, hangUpShare: 0.2, capChanges: 20, [kind]: 60 };
  expect(complaints(await simulate({ seed: 1, ...SIZE, rates }))).toBe('');
});

test('members are bounded in every way that there is, and somebody is answered all the same', async () => {
  const seen = new Set<string>();
  const onEvent = (event: Timed): void => {
    if (event.e === 'booked') seen.add(event.fact.t === 'hold' ? `hold of ${kindOf(event.fact.payer)}` : event.fact.t);
    if (event.e === 'unheld') seen.add(event.code);
    if (event.e === 'refused' || event.e === 'failed') seen.add(event.code);
    if (event.e === 'finished') seen.add('done');
  };
  const rates = {
    ...BAD_DAY,
    requests: 250,
    hubCrashes: 0,
    grants: 30,
    floorChanges: 30,
    modelStops: 3,
    suspensions: 8,
  };
  for (const seed of [1, 2]) await simulate({ seed, ...SIZE, rates, onEvent });
  for (const what of [
    ...['done', 'hold of nobody', 'hold of floor', 'hold of an allocation', 'more', 'end', 'gone'],
    ...['spend_cap', 'allocation_spent', 'rate_limit_exceeded', 'use_refused', 'model_stopped', 'forbidden'],
  ])
    expect(seen).toContain(what);
});
const kindOf = (payer: string | null): string =>
  payer === null ? 'nobody' : payer === 'floor' ? payer : 'an allocation';

describe('what is broken is noticed:', () => {
  async function broken(breakage: Breakage, options: Partial<SimulationOptions> = {}): Promise<Set<Invariant>> {
    const rates = { ...QUIET, capChanges: 60, ...options.rates };
    const { violations } = await simulate({ seed: 11, ...SIZE, breakage, ...options, rates });
    return new Set(violations.map(({ invariant }) => invariant));
  }
  const onHub = (act: (hub: Hub) => unknown): Breakage => ({ onHub: async (hub) => void (await act(hub)) });
  /** The database quietly does something else than it is asked to. */
  const sabotage = (trigger: string): Breakage =>
    onHub(({ db }) => sql.raw(`create temp trigger if not exists sabotage ${trigger} end`).execute(db));

  test('nothing, where nothing is', async () => {
    expect(await broken({}, { rates: { poolChanges: 30, suspensions: 8, modelStops: 2, ruleChanges: 4 } })).toEqual(
      new Set(),
    );
  });

  test.each<[string, string]>([
    [
      'more is held than there is',
      'after insert on spend_holds begin update spend_holds set tokens = tokens * 9 where id = new.id;',
    ],
    ['what was held never returns', 'before delete on spend_holds begin select raise(ignore);'],
    [
      'what was used is not charged',
      'after update of tokens on spend_days begin update spend_days set tokens = old.tokens where rowid = new.rowid;',
    ],
    ['what an allocation spent is not', 'before update of spent_tokens on allocations begin select raise(ignore);'],
  ])('%s', async (_, trigger) => {
    expect(await broken(sabotage(trigger))).toContain('spending');
  });

  test('a hub that refuses whoever comes back, suspended or not', async () => {
    const came = new Set<string>();
    const rude = onHub(({ repeats }) => {
      const { open } = repeats;
      Object.assign(repeats, {
        open: async (order: Parameters<typeof open>[0]) => {
          if (came.has(order.idempotencyKey)) throw new IdlewildError('forbidden', 'it came before');
          came.add(order.idempotencyKey);
          return open(order);
        },
      });
    });
    const rates = { keyedShare: 1, lineBreaks: 60, suspensions: 8 };
    expect(await broken(rude, { replicas: 3, rates })).toContain('1 accepted is never lost');
  });

  test('a hub that does not hear of caps, and one that refuses what it holds', async () => {
    const deaf = onHub(({ spendRules }) => {
      const { known } = spendRules;
      const uncapped = async () => ({ ...(await known()), capsOf: () => undefined });
      Object.assign(spendRules, { known: uncapped });
    });
    expect(await broken(deaf)).toContain('spending');
    const rude = onHub(({ spending }) => {
      const { begin } = spending;
      Object.assign(spending, {
        begin: async (...order: Parameters<typeof begin>) => {
          if ((await begin(...order)) !== undefined) throw new IdlewildError('spend_cap', 'there is nothing left');
        },
      });
    });
    expect(await broken(rude)).toContain('spending');
  });

  test('answers by devices of no pool, in the open and sealed, and pools that replicas never hear of', async () => {
    const EVERYWHERE = { key: '', pools: () => undefined, includes: () => true };
    const blind = onHub(({ trust }) => {
      const { demandOf } = trust;
      Object.assign(trust, {
        demandOf: (...[text, permit]: Parameters<typeof demandOf>) =>
          demandOf(text, { ...permit, reach: () => EVERYWHERE }),
      });
    });
    const uncapped = { capChanges: 0, requests: 300 };
    expect(await broken(blind, { rates: uncapped })).toContain('pools');
    expect(await broken(blind, { sealed: 300, rates: { ...uncapped, requests: 0 } })).toContain('pools');
    const deaf: Breakage = {
      meanwhile: ({ agenda, clock, process }) =>
        agenda.at(clock.monotonic() + 2_000, () => {
          Object.assign(process()?.hub.trust ?? {}, { refresh: () => {}, isFresh: () => true });
        }),
    };
    expect(await broken(deaf, { rates: { ...uncapped, poolChanges: 200 } })).toContain('pools');
  });

  test.each<[string, Invariant, string, Partial<StewardRates>]>([
    ['a stopped model that goes on', '6 revocation', 'insert on model_stops', { modelStops: 6 }],
    ['a suspended member who is answered', '6 revocation', 'update of state on members', { suspensions: 60 }],
    ['a rule that nobody is held to', 'use', 'insert on use_rules', { ruleChanges: 20 }],
    ['a rule that was taken back', 'use', 'insert on use_rules when new.version > 1', { ruleChanges: 20 }],
  ])('%s', async (_, invariant, when, rates) => {
    const forgetful = sabotage(`before ${when} begin select raise(ignore);`);
    expect(await broken(forgetful, { rates: { capChanges: 0, ...rates } })).toContain(invariant);
  });
});
