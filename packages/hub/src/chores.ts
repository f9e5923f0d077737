/**
 * What a hub does without being asked: it writes what waits, forgets what is old, and drops what was revoked. What must
 * be done once for all replicas is done by whoever has the duty.
 */
import { messageOf, type Timer } from '@idlewild/protocol';
import type { Journal } from './answers/journal/journal.ts';
import type { Bus } from './bus/port.ts';
import type { Callers } from './callers/callers.ts';
import type { OpenDatabase } from './db/open.ts';
import type { Devices } from './identity/devices.ts';
import { watchMoved, type MovedDeps } from './identity/moved.ts';
import { watchRevoked } from './identity/revoked-lately.ts';
import { HUB_LIMITS } from './limits.ts';
import type { Log } from './log.ts';
import type { Spending } from './projects/spending.ts';
import type { Duties } from './replicas/duties.ts';
import type { Duty } from './replicas/port.ts';
import type { LocalSessions } from './session/sessions.ts';

interface ChoreDeps extends MovedDeps {
  readonly database: OpenDatabase;
  /** One of the further territories of the process; absent: its first, which also looks after what all share. */
  readonly territory?: string | undefined;
}

interface Rooms {
  readonly bus: Bus;
  readonly isAlone: boolean;
  readonly territory: string;
  readonly journal: Journal;
  readonly callers: Callers;
  readonly spending: Pick<Spending, 'expire'>;
  readonly duties: Duties;
  readonly devices: Devices;
  readonly local: LocalSessions;
  readModels(): Promise<void>;
}

/** Resolves when what has to be known at the start is known. */
export async function startChores(deps: ChoreDeps, rooms: Rooms): Promise<{ stop(): void }> {
  const { log } = deps;
  const { bus, isAlone, territory, journal, callers, spending, duties, devices, local, readModels } = rooms;
  const onFault = (error: unknown): void => log.error({ why: messageOf(error) }, 'models could not be read');
  const modelsChanged = bus.subscribe('all.models', () => void readModels().catch(onFault));
  const expiry = duties.duty('expiry');
  await duties.settled();
  await readModels();
  await closeOpen(journal, isAlone, log);
  // What a crash left held is there again at once.
  if (isAlone) await spending.expire('all');
  const housekeeping = keepHouse(deps, [
    () => journal.flush(),
    () => devices.flush(),
    () => forAll(expiry, { callers, journal, spending }, log),
  ]);
  const moved = watchMoved(deps, local);
  const revocations = isAlone ? undefined : watchRevoked(deps, territory, local);
  return {
    stop() {
      housekeeping.stop();
      revocations?.stop();
      moved.stop();
      modelsChanged.stop();
    },
  };
}

/** A hub that is alone closes at once what a crash left open; of several, whoever has the duty does. */
async function closeOpen(journal: Journal, isAlone: boolean, log: Log): Promise<void> {
  if (!isAlone) return;
  for (const { request, answerTokens } of await journal.closeOrphans(0)) {
    log.warn({ request, tokens: answerTokens }, 'a request was open when the hub stopped; it is closed as failed');
  }
}

/** What one replica does for all: forgets runs that nobody came back to, and ends answers that nobody will finish. */
async function forAll(
  duty: Duty,
  { callers, journal, spending }: Pick<Rooms, 'callers' | 'journal' | 'spending'>,
  log: Log,
): Promise<void> {
  const isMine = duty.isMine();
  if (isMine) {
    await duty.fenced((transaction) => callers.expireRuns(transaction));
    await callers.keepHouse();
  }
  // Everybody looks, so that whoever has the duty next knows since when an owner is gone.
  const patienceMs = isMine ? HUB_LIMITS.replicaLiveMs : Number.POSITIVE_INFINITY;
  for (const { request, answerTokens } of await journal.closeOrphans(patienceMs))
    log.warn({ request, tokens: answerTokens }, 'the replica of a request is gone; it is closed as failed');
  await spending.expire(isMine ? 'all' : 'own');
}

/** What is due from time to time, one after the other; after it erased pages leave the write-ahead log. */
function keepHouse(
  { clock, database, territory, log }: ChoreDeps,
  chores: readonly (() => Promise<void>)[],
): { stop(): void } {
  let timer: Timer;
  const round = (): void => {
    timer = clock.after(HUB_LIMITS.housekeepingMs, round);
    (async () => {
      for (const chore of chores) await chore();
      if (territory === undefined) database.checkpoint();
    })().catch((error: unknown) => log.error({ why: messageOf(error) }, 'housekeeping failed'));
  };
  timer = clock.after(HUB_LIMITS.housekeepingMs, round);
  return { stop: () => timer.cancel() };
}
