/** How fast requests of a capped community are begun and let go: each of them needs the same row. */
import { systemClock } from '@idlewild/protocol/node';
import type { OpenDatabase } from '../../db/open.ts';
import { createSpendWorld } from './spend-world.ts';

export interface SpendPace {
  readonly perSecond: number;
  /** Until each was begun, in milliseconds, ascending. */
  readonly waitedMs: readonly number[];
}

export interface SpendPaceOptions {
  readonly requests: number;
  readonly atOnce: number;
}

const KEYS = 20;
const TOKENS = 500;

/** `databases`: one for each replica, all of the same new database. */
export async function measureSpending(
  databases: readonly OpenDatabase[],
  { requests, atOnce }: SpendPaceOptions,
): Promise<SpendPace> {
  const world = await createSpendWorld(databases);
  const keys = await Promise.all(Array.from({ length: KEYS }, () => world.key()));
  const caps = { tokensPerDay: requests * TOKENS * 2 };
  await world.rules.setCaps({ kind: 'territory', subject: '', actor: 'bench', caps });
  const waitedMs: number[] = [];
  let next = 0;
  async function askInTurn(): Promise<void> {
    for (let i = next++; i < requests; i = next++) {
      const replica = world.replicas[i % world.replicas.length] as (typeof world.replicas)[number];
      const askedAtMs = systemClock.monotonic();
      const hold = await replica.spending.begin(world.order(keys[i % KEYS] as { keyId: string }, TOKENS));
      waitedMs.push(systemClock.monotonic() - askedAtMs);
      if (hold === undefined) throw new Error('a request of a capped community held nothing');
      hold.over();
    }
  }
  const beganAtMs = systemClock.monotonic();
  await Promise.all(Array.from({ length: atOnce }, askInTurn));
  while ((await world.holds()).length > 0);
  const perSecond = (requests * 1_000) / (systemClock.monotonic() - beganAtMs);
  return { perSecond, waitedMs: waitedMs.toSorted((a, b) => a - b) };
}
