/** Communities for tests of who should hold what: made by hand, or drawn from a seed. */
import { createSeededRandom } from '@idlewild/protocol/testing';
import type { Holding, PlacedDevice, PlacedModel } from '../community.ts';

export type Holds = ReadonlyMap<string, readonly Holding[]>;

export const model = (cid: string, bytes: number, over: Partial<PlacedModel> = {}): PlacedModel => ({
  cid,
  bytes,
  memoryBytes: bytes,
  pinned: false,
  ...over,
});
export const device = (id: string, over: Partial<PlacedDevice> = {}): PlacedDevice => ({
  id,
  live: true,
  memoryBytes: 100,
  diskBytes: 1_000,
  tokensPerSecond: 10,
  holding: [],
  failed: new Set(),
  ...over,
});
export const told = (devices: readonly PlacedDevice[], holds: Holds): PlacedDevice[] =>
  devices.map((each) => ({ ...each, holding: holds.get(each.id) ?? [] }));
export const warmOf = (holds: Holds, id: string): string[] =>
  (holds.get(id) ?? []).filter(({ warm }) => warm).map(({ cid }) => cid);
export const copiesOf = (holds: Holds, cid: string): number =>
  [...holds.keys()].filter((id) => warmOf(holds, id).includes(cid)).length;
export const heldOf = (holds: Holds, cid: string): number =>
  [...holds.values()].filter((all) => all.some((each) => each.cid === cid)).length;

export interface Community {
  readonly devices: PlacedDevice[];
  readonly models: PlacedModel[];
  readonly demand: Map<string, number>;
  readonly random: ReturnType<typeof createSeededRandom>;
}

export function draw(seed: number): Community {
  const random = createSeededRandom(seed);
  const whole = (from: number, to: number): number => from + Math.floor(random.unit() * (to - from + 1));
  const models = Array.from({ length: whole(1, 9) }, (_, index) => {
    const bytes = whole(10, 90);
    const pinned = random.unit() < 0.15;
    return model(`m${index}`, bytes, { memoryBytes: Math.ceil(bytes * (1 + random.unit())), pinned });
  });
  const devices = Array.from({ length: whole(1, 12) }, (_, index) =>
    device(`d${index}`, {
      live: random.unit() > 0.1,
      memoryBytes: whole(0, 300),
      diskBytes: whole(0, 500),
      tokensPerSecond: whole(0, 100),
      failed: new Set(models.filter(() => random.unit() < 0.05).map(({ cid }) => cid)),
    }),
  );
  const demand = new Map(models.map(({ cid }) => [cid, random.unit() < 0.3 ? 0 : random.unit() ** 4 * 60]));
  return { devices, models, demand, random };
}

/** What is wrong with it, as far as bounds go; empty where nothing is. */
export function overBounds({ devices, models }: Pick<Community, 'devices' | 'models'>, holds: Holds): string[] {
  return devices.flatMap(({ id, diskBytes, memoryBytes }) => {
    const all = (holds.get(id) ?? []).map((each) => ({ ...each, model: models.find(({ cid }) => cid === each.cid) }));
    const disk = all.reduce((sum, { model: held }) => sum + (held?.bytes ?? Infinity), 0);
    const memory = all.reduce((sum, { model: held, warm }) => sum + (warm ? (held?.memoryBytes ?? Infinity) : 0), 0);
    const isTwice = new Set(all.map(({ cid }) => cid)).size < all.length;
    return [
      ...(disk > diskBytes ? [`${id} lends ${diskBytes} of disk and is given ${disk}`] : []),
      ...(memory > memoryBytes ? [`${id} lends ${memoryBytes} of memory and is given ${memory}`] : []),
      ...(isTwice ? [`${id} is given a model twice`] : []),
    ];
  });
}
