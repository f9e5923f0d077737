/**
 * The hub as a process: the real core over a real SQLite file. A crash takes its memory and timers at any moment, also
 * between two steps of one transaction; what the next process finds is the file, the blob store and the secrets.
 */
import { createHub, openDatabase, type Hub, type Log, type Secrets } from '@idlewild/hub';
import type { BlobStore, Clock, Crypto } from '@idlewild/protocol';
import type { Chance } from './chance.ts';
import type { Record } from './record.ts';
import { createScope } from './scope.ts';

export interface HubProcess {
  readonly hub: Hub;
  isLive(): boolean;
  /** Called for everything that makes the hub do something. */
  wake(): void;
  /** Dies after so many more timers and frames, and then so many turns of promises. */
  dieAfter(wakes: number, turns: number): void;
  crash(): void;
  stop(): Promise<void>;
}

export interface Machine {
  readonly clock: Clock;
  readonly file: string;
  readonly store: BlobStore;
  readonly secrets: Secrets;
  readonly crypto: Crypto;
  readonly record: Record;
}

export async function startHubProcess(
  { clock, file, store, secrets, crypto, record }: Machine,
  chance: Chance,
  onDead: () => void,
): Promise<HubProcess> {
  let doom: { wakes: number; readonly turns: number } | undefined;
  let live = true;
  const wake = (): void => {
    if (doom === undefined) return;
    doom.wakes--;
    if (doom.wakes > 0) return;
    const { turns } = doom;
    doom = undefined;
    void afterTurns(turns, crash);
  };
  const scope = createScope(clock, wake);
  const log: Log = {
    debug: () => {},
    info: () => {},
    warn: () => {},
    error: ({ why }, message) => {
      if (live) record.note({ e: 'hubError', message, why: JSON.stringify(why) ?? '' });
    },
  };
  const database = await openDatabase({ file, clock: scope, sync: 'off' });
  const meter = { ended: () => {}, firstToken: () => {} };
  const hub = await createHub({ database, store, clock: scope, random: chance, crypto, secrets, meter, log });
  record.note({ e: 'hub', what: 'started' });

  function end(): void {
    if (!live) return;
    live = false;
    scope.abandon();
    onDead();
  }
  function crash(): void {
    if (!live) return;
    record.note({ e: 'hub', what: 'crashed' });
    database.abandon();
    end();
  }

  return {
    hub,
    wake,
    crash,
    isLive: () => live,
    dieAfter(wakes, turns) {
      doom = { wakes, turns };
    },
    async stop() {
      try {
        await hub.stop();
        if (live) record.note({ e: 'hub', what: 'stopped' });
        await database.close();
      } catch (error) {
        // It may be killed while it stops.
        if (live) throw error;
      }
      end();
    },
  };
}

/** One turn is one link of a chain of promises: finer than any await of the hub. */
export async function afterTurns(turns: number, act: () => void): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await Promise.resolve();
  act();
}
