/**
 * What this replica knows of its territory's devices and policies, kept as fresh as people's rights are: whoever sends
 * a text somewhere asks `refresh` first, and again while answers are open (`FRESH_MS` of `people/versions.ts`).
 *
 * Nothing of it comes from devices. The home of a device elsewhere tells what it read, which counts until a later
 * version of the territory's people is known; then it is read here. What became of less trust is told, so that its
 * answers are ended.
 */
import { DATA_CLASSES, messageOf, type Clock, type DataClass, type MaybePromise } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import type { Log } from '../log.ts';
import { FRESH_MS, type PeopleVersions } from '../people/versions.ts';
import type { Permit } from '../policy/permit.ts';
import type { Policy, Readers } from '../policy/port.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { TextDemand } from './barred.ts';
import { UNKNOWN_STANDING, readStandings } from './standing.ts';
import type { AskedText } from './text.ts';
import { DEFAULT_TIERS } from './tiers.ts';

export interface Trust {
  /** Resolves when what is known is fresh; at once where it is. Rejects when the database does not answer. */
  refresh(): MaybePromise<void>;
  /** Whether what is known is so new that a text may be sent by it; a replica that stood still knows nothing new. */
  isFresh(): boolean;
  /** Of the territory's people as they are known; what is read from now on is at least of this one. */
  version(): number;
  /** As known at the last refresh; `permit` is the asker's right to be answered. */
  demandOf(text: AskedText, permit: Pick<Permit, 'reach'>): TextDemand;
  /** It came, here or elsewhere. */
  onJoin(device: ConnectedDevice): void;
  onGone(device: ConnectedDevice): void;
}

export interface TrustDeps {
  readonly db: Database;
  readonly territory: string;
  readonly versions: Pick<PeopleVersions, 'fresh'>;
  readonly tiersFor: Policy['tiersFor'];
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly devices: () => Iterable<ConnectedDevice>;
  /** Some are trusted otherwise, or policies say something else of them. */
  onChanged(): void;
  readonly log: Log;
}

export function createTrust({ db, territory, versions, tiersFor, clock, devices, onChanged, log }: TrustDeps): Trust {
  let version = -1;
  /** When `version` was seen to be the last one. */
  let seenAtMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;
  let readers: Readonly<Record<DataClass, Readers>> | undefined;
  /** People who lend a device that is connected; absent: not counted since one came or went. */
  let lenders: ReadonlySet<string> | undefined;

  /** What is not there any more is trusted with nothing that not everybody may see, until it is dropped. */
  async function read(some: readonly ConnectedDevice[], asOf: number): Promise<void> {
    const ids = some.map(({ id }) => id);
    const standings = await readStandings(db, territory, ids, asOf);
    for (const device of some) {
      if (device.standing.asOf > asOf) continue;
      device.standing = standings.get(device.id) ?? { ...UNKNOWN_STANDING, asOf };
    }
    lenders = undefined;
  }

  async function readAll(next: number, askedAtMs: number): Promise<void> {
    const byClass = await Promise.all(DATA_CLASSES.map(async (dataClass) => [dataClass, await tiersFor(dataClass)]));
    const here = [...devices()];
    await read(here, next);
    readers = Object.fromEntries(byClass) as typeof readers;
    version = next;
    seenAtMs = askedAtMs;
    // Those that came while it was read were looked up before they came.
    const late = [...devices()].filter(({ standing }) => standing.asOf < next);
    if (late.length > 0) await read(late, next);
    onChanged();
  }

  function catchUp(next: number, askedAtMs: number): MaybePromise<void> {
    if (reading !== undefined) return reading;
    if (next === version) {
      seenAtMs = askedAtMs;
      return undefined;
    }
    const mine = readAll(next, askedAtMs).finally(() => {
      if (reading === mine) reading = undefined;
    });
    return (reading = mine);
  }

  return {
    refresh() {
      if (reading !== undefined) return reading;
      const askedAtMs = clock.monotonic();
      const next = versions.fresh();
      return typeof next === 'number' ? catchUp(next, askedAtMs) : next.then((read) => catchUp(read, askedAtMs));
    },
    isFresh: () => clock.monotonic() - seenAtMs < FRESH_MS,
    version: () => version,
    demandOf(text, permit) {
      lenders ??= new Set([...devices()].flatMap(({ standing: { person } }) => (person === undefined ? [] : [person])));
      // Of all who lend nothing that is here the same is true.
      const isLender = text.person !== undefined && lenders.has(text.person);
      const person = isLender ? text.person : undefined;
      const { tiers, forbids } = readers?.[text.dataClass] ?? {
        tiers: DEFAULT_TIERS[text.dataClass],
        forbids: undefined,
      };
      return { ...text, person, tiers, reach: permit.reach(), ...(forbids === undefined ? {} : { forbids }) };
    },
    onJoin(device) {
      lenders = undefined;
      if (device.standing.asOf >= version) return;
      read([device], version).then(onChanged, (error: unknown) => {
        device.standing = UNKNOWN_STANDING;
        log.error({ device: device.id, why: messageOf(error) }, 'how far a device is trusted could not be read');
      });
    },
    onGone() {
      lenders = undefined;
    },
  };
}
