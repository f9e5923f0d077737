/**
 * All territories of one process: each is a hub of its own, and they share the database, the blobs, the connection to
 * the bus and the door (`gateway/door/front.ts`).
 *
 *   made here ─────────┐
 *   made elsewhere ────┼─► looked for ──► opened ──► served ──closed, here or elsewhere──► stopped; its rows stay
 *   there at the start ┘
 *
 * The first territory belongs to whoever runs the hub, and is there as long as the process. A further one that cannot
 * be opened (its key is missing, say) is told of in the log and tried again; the others do not wait for it. A hub knows
 * nothing of its neighbours: no room of it has ever heard of another territory's devices, keys or models.
 */
import { messageOf, type Clock, type Timer } from '@idlewild/protocol';
import type { Bus } from '../bus/port.ts';
import type { Database } from '../db/schema.ts';
import type { Hub } from '../hub.ts';
import type { Log } from '../log.ts';
import { HOUSE_LIMITS } from './limits.ts';

/** One territory, served. */
export interface Served {
  readonly hub: Hub;
  /** Ends what is open in it with a reason; `why` is told to devices that are connected, instead of the usual. */
  stop(why?: string): Promise<void>;
}

export interface House<Home extends Served> {
  readonly first: Home;
  get(territory: string): Home | undefined;
  /** The first one first. */
  list(): readonly Home[];
  /** Opens and stops what the database says by now, and has other replicas look, too. */
  changed(): Promise<void>;
  /** Stops all at the same time. */
  stop(): Promise<void>;
}

export interface HouseDeps<Home extends Served> {
  readonly db: Database;
  readonly bus: Bus;
  /** Nobody else has this database: nothing changes unless it is changed here. */
  readonly isAlone: boolean;
  readonly clock: Pick<Clock, 'after'>;
  readonly log: Log;
  /** Opens a further territory. */
  open(territory: string): Promise<Home>;
}

const SUBJECT = 'all.territories';

/** Resolves when every territory that can be opened is. */
export async function openHouse<Home extends Served>(first: Home, deps: HouseDeps<Home>): Promise<House<Home>> {
  const { db, bus, isAlone, clock, log } = deps;
  const homes = new Map<string, Home>([[first.hub.territory.id, first]]);
  /** Asked for with every request, and made anew when it changes. */
  let all: readonly Home[] = [first];
  /** What could not be opened, and was told of. */
  const failing = new Set<string>();
  let looking: Promise<void> | undefined;
  let again = false;
  let timer: Timer | undefined;
  let stopped = false;

  async function open(territory: string): Promise<void> {
    try {
      const home = await deps.open(territory);
      if (stopped) return await home.stop();
      homes.set(territory, home);
      all = [...homes.values()];
      failing.delete(territory);
      log.info({ territory, name: home.hub.territory.name }, 'a community is served here');
    } catch (error) {
      if (!failing.has(territory)) log.error({ territory, why: messageOf(error) }, 'a community could not be opened');
      failing.add(territory);
    }
  }

  async function close(territory: string, home: Home): Promise<void> {
    homes.delete(territory);
    all = [...homes.values()];
    log.info({ territory }, 'a community is served no longer');
    try {
      await home.stop('this community was closed on the hub; ask whoever runs the hub, or its stewards');
    } catch (error) {
      log.error({ territory, why: messageOf(error) }, 'a community did not stop as it should');
    }
  }

  async function look(): Promise<void> {
    // Which territories there are is a question to all of them.
    const rows = await db.selectFrom('territories').select(['id', 'name']).where('closed_at_ms', 'is', null).execute();
    const wanted = new Set(rows.map(({ id }) => id));
    const surplus = [...homes].filter(([id, home]) => home !== first && !wanted.has(id));
    const missing = [...wanted].filter((id) => !homes.has(id));
    for (const { id, name } of rows) homes.get(id)?.hub.naming.heard(name);
    await Promise.all(surplus.map(([id, home]) => close(id, home)));
    const next = missing.values();
    const opener = async (): Promise<void> => {
      for (const id of next) if (!stopped) await open(id);
    };
    await Promise.all(Array.from({ length: HOUSE_LIMITS.openingMax }, opener));
  }

  async function lookUntilDone(): Promise<void> {
    try {
      while (again && !stopped) {
        again = false;
        await look();
      }
    } finally {
      looking = undefined;
    }
  }

  /** What is asked for while somebody looks is seen by one more look. */
  function refresh(): Promise<void> {
    again = true;
    looking ??= lookUntilDone();
    return looking;
  }
  const refreshSoon = (): void =>
    void refresh().catch((error: unknown) =>
      log.warn({ why: messageOf(error) }, 'which communities there are could not be read'),
    );

  const subscription = bus.subscribe(SUBJECT, refreshSoon);
  function round(): void {
    timer = clock.after(HOUSE_LIMITS.lookMs, round);
    refreshSoon();
  }
  await refresh();
  if (!isAlone) timer = clock.after(HOUSE_LIMITS.lookMs, round);

  return {
    first,
    get: (territory) => homes.get(territory),
    list: () => all,
    async changed() {
      bus.publish(SUBJECT, new Uint8Array(0));
      await refresh();
    },
    async stop() {
      stopped = true;
      timer?.cancel();
      subscription.stop();
      const opening = looking?.catch(() => {});
      const ends = await Promise.allSettled([...homes.values()].map((home) => home.stop()));
      await opening;
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    },
  };
}
