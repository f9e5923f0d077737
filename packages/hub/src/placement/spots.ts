/**
 * The book-keeping of a placement under way: what each device holds so far, how much room is left on it, and how many
 * copies of each model there are. All of it is counted as it changes, for a community may have thousands of devices.
 */
import type { Holding, PlacedDevice, PlacedModel, PlaceRules } from './community.ts';
import type { NeedBook, NeedState } from './needs.ts';

/** Nodes and manifests, which a device keeps beside the files. */
const DISK_OVERHEAD = 1.002;

export interface Spot {
  readonly device: PlacedDevice;
  holds(model: PlacedModel): boolean;
  isWarm(model: PlacedModel): boolean;
  warm(): readonly PlacedModel[];
  cold(): readonly PlacedModel[];
  sinceMs(model: PlacedModel): number;
  freeDisk(): number;
  /** What files of so many bytes take on a disk. */
  onDisk(bytes: number): number;
  /** Whether there is room for it; of what it holds already only the memory is asked for. */
  fits(model: PlacedModel, warm: boolean): boolean;
  /** Whether there is disk for all of them, whatever the memory. */
  hasDiskFor(models: readonly PlacedModel[]): boolean;
  /** Whether all of them could be warm here without those that go. */
  fitsWithout(models: readonly PlacedModel[], going: readonly PlacedModel[]): boolean;
  /** Requests per minute of those whom nobody else could serve, if this were not warm here. */
  missedWithout(model: PlacedModel): number;
  /** Holds it from now on; what was so already keeps its time. */
  put(model: PlacedModel, warm: boolean): void;
  drop(model: PlacedModel): void;
  /** Warm ones first, each in the order in which they came: an order by demand would change with every request. */
  holdings(): readonly Holding[];
}

export interface Spots {
  /** By device id. */
  readonly spots: readonly Spot[];
  /** Copies on devices that take work and can make it ready. */
  warmCopies(model: PlacedModel): number;
  heldCopies(model: PlacedModel): number;
}

interface Counts {
  warm: number;
  held: number;
}

/** What no longer exists or no longer fits is left out. */
export function createSpots(
  devices: readonly PlacedDevice[],
  models: readonly PlacedModel[],
  needs: NeedBook,
  rules: PlaceRules,
  nowMs: number,
): Spots {
  const counts = new Map<string, Counts>(models.map(({ cid }) => [cid, { warm: 0, held: 0 }]));
  const byCid = new Map(models.map((model) => [model.cid, model]));
  const spots = devices
    .toSorted((left, right) => (left.id < right.id ? -1 : 1))
    .map((device) => {
      const spot = createSpot(device, counts, needs.at(device), rules, nowMs);
      for (const { cid, warm, sinceMs } of device.holding) {
        const model = byCid.get(cid);
        if (model !== undefined && !spot.holds(model)) spot.restore(model, warm, sinceMs);
      }
      return spot;
    });
  return {
    spots,
    warmCopies: ({ cid }) => counts.get(cid)?.warm ?? 0,
    heldCopies: ({ cid }) => counts.get(cid)?.held ?? 0,
  };
}

interface Held {
  readonly model: PlacedModel;
  readonly warm: boolean;
  readonly sinceMs: number;
}

function createSpot(
  device: PlacedDevice,
  counts: ReadonlyMap<string, Counts>,
  needsOf: ReturnType<NeedBook['at']>,
  rules: PlaceRules,
  nowMs: number,
): Spot & { restore(model: PlacedModel, warm: boolean, sinceMs: number): void } {
  const held = new Map<string, Held>();
  let diskBytes = device.diskBytes;
  let memoryBytes = device.memoryBytes;
  const onDisk = (bytes: number): number => Math.ceil(bytes * DISK_OVERHEAD);
  const list = (warm: boolean): PlacedModel[] =>
    [...held.values()].filter((each) => each.warm === warm).map(({ model }) => model);
  const count = ({ model, warm }: Held, by: 1 | -1): void => {
    diskBytes -= by * onDisk(model.bytes);
    if (warm) memoryBytes -= by * model.memoryBytes;
    const counted = counts.get(model.cid);
    if (counted === undefined || !device.live || device.failed.has(model.cid)) return;
    counted.held += by;
    if (warm) counted.warm += by;
  };
  const isWarm = ({ cid }: PlacedModel): boolean => held.get(cid)?.warm === true;
  const isReadyFor = ({ models }: NeedState): boolean =>
    models.every((model) => isWarm(model) && !device.failed.has(model.cid));
  /** Around a change: what was ready is counted off before, and what is then is counted after. */
  const countNeeds = (cid: string, by: 1 | -1): void => {
    for (const need of needsOf(cid)) if (isReadyFor(need)) need.count += by;
  };
  const set = (next: Held): void => {
    const { cid } = next.model;
    const before = held.get(cid);
    if (before !== undefined) countNeeds(cid, -1);
    if (before !== undefined) count(before, -1);
    held.set(cid, next);
    count(next, 1);
    countNeeds(cid, 1);
  };
  const hasDisk = (model: PlacedModel): boolean =>
    held.has(model.cid) || (held.size < rules.modelsPerDeviceMax && onDisk(model.bytes) <= diskBytes);
  function hasDiskWithout(coming: readonly PlacedModel[], going: readonly PlacedModel[]): boolean {
    const more = coming.filter(({ cid }) => !held.has(cid));
    const free = going.reduce((sum, other) => sum + onDisk(other.bytes), diskBytes);
    const isFew = held.size - going.length + more.length <= rules.modelsPerDeviceMax;
    return more.length === 0 || (isFew && more.reduce((sum, model) => sum + onDisk(model.bytes), 0) <= free);
  }
  const fits = (model: PlacedModel, warm: boolean): boolean =>
    device.memoryBytes >= model.memoryBytes && hasDisk(model) && (!warm || model.memoryBytes <= memoryBytes);
  return {
    device,
    onDisk,
    fits,
    isWarm,
    freeDisk: () => diskBytes,
    holds: ({ cid }) => held.has(cid),
    warm: () => list(true),
    cold: () => list(false),
    sinceMs: ({ cid }) => held.get(cid)?.sinceMs ?? nowMs,
    hasDiskFor: (coming) => hasDiskWithout(coming, []),
    fitsWithout(coming, going) {
      let memory = memoryBytes;
      for (const other of going) if (isWarm(other)) memory += other.memoryBytes;
      for (const model of coming) if (!isWarm(model)) memory -= model.memoryBytes;
      return memory >= 0 && hasDiskWithout(coming, going);
    },
    missedWithout({ cid }) {
      let missed = 0;
      for (const need of needsOf(cid))
        if (need.count <= 1 && isReadyFor(need)) missed = Math.max(missed, need.perMinute);
      return missed;
    },
    put(model, warm) {
      if (held.get(model.cid)?.warm !== warm) set({ model, warm, sinceMs: nowMs });
    },
    drop({ cid }) {
      const before = held.get(cid);
      if (before === undefined) return;
      countNeeds(cid, -1);
      count(before, -1);
      held.delete(cid);
    },
    holdings: () =>
      [...held.values()]
        .toSorted((left, right) => Number(right.warm) - Number(left.warm))
        .map(({ model, warm, sinceMs }) => ({ cid: model.cid, warm, sinceMs })),
    restore(model, warm, sinceMs) {
      if (!fits(model, false)) return;
      const stays = warm && fits(model, true);
      set({ model, warm: stays, sinceMs: stays === warm ? sinceMs : nowMs });
    },
  };
}
