/**
 * Needs as a placement goes by them: each with the devices that may serve it, and how many of these are ready for it,
 * counted as models come and go. Devices that take no work now serve nobody, so they are left out.
 *
 * The narrowest come first: who may be served by few must not find their room given to those whom all may serve. Needs
 * of the same devices for the same models are one. It knows devices and models, and nothing of why a need is narrow.
 */
import type { Need, PlacedDevice, PlacedModel } from './community.ts';

export interface Claim {
  /** To be warm on one device. */
  readonly models: readonly PlacedModel[];
  readonly perMinute: number;
  /** Ids of the devices that may serve it; `undefined`: every one. */
  readonly among: ReadonlySet<string> | undefined;
  /** Devices that have them all warm. */
  copies(): number;
}

export interface NeedState extends Claim {
  readonly among: ReadonlySet<string>;
  count: number;
}

interface Circle {
  readonly among: ReadonlySet<string>;
  /** Its members, in order. */
  readonly text: string;
  readonly needs: Map<string, NeedState>;
  /** By each of its models. */
  readonly byCid: Map<string, NeedState[]>;
}

export interface NeedBook {
  readonly all: readonly NeedState[];
  /** What would miss this model here. */
  at(device: PlacedDevice): (cid: string) => readonly NeedState[];
}

const compareText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);
const NONE: readonly NeedState[] = [];

/** What names a model that does not exist, or nobody may serve, is left out; so is what everybody may serve anyway. */
export function createNeeds(
  needs: readonly Need[],
  devices: readonly PlacedDevice[],
  models: readonly PlacedModel[],
): NeedBook {
  const byCid = new Map(models.map((model) => [model.cid, model]));
  const live = needs.length === 0 ? [] : devices.filter((device) => device.live).map(({ id }) => id);
  const circles = circlesOf(needs, live.toSorted(compareText));
  for (const { cids, among, perMinute } of needs) {
    const circle = circles.get(among);
    const wanted = cids.map((cid) => byCid.get(cid)).filter((model) => model !== undefined);
    const isOpen = circle?.among.size === live.length && cids.length === 1;
    if (circle === undefined || isOpen || wanted.length < cids.length || perMinute <= 0) continue;
    add(circle, wanted, perMinute);
  }
  const ordered = [...new Set(circles.values())].toSorted(
    (left, right) => left.among.size - right.among.size || compareText(left.text, right.text),
  );
  /** By the circles that a device is in; many are in the same. */
  const lookups = new Map<string, ReturnType<NeedBook['at']>>();
  return {
    all: ordered.flatMap((circle) => [...circle.needs.values()].toSorted(compareNeeds)),
    at({ id, live: isLive }) {
      const mine = isLive ? ordered.filter(({ among }) => among.has(id)) : [];
      if (mine.length === 0) return () => NONE;
      const key = mine.map((circle) => ordered.indexOf(circle)).join(' ');
      const lookup = lookups.get(key) ?? lookupIn(mine);
      lookups.set(key, lookup);
      return lookup;
    },
  };
}

/** It is asked for every model on every device, so what was found once is kept. */
function lookupIn(circles: readonly Circle[]): (cid: string) => readonly NeedState[] {
  const found = new Map<string, readonly NeedState[]>();
  return (cid) => {
    const before = found.get(cid);
    if (before !== undefined) return before;
    const needs = circles.flatMap((circle) => circle.byCid.get(cid) ?? NONE);
    found.set(cid, needs);
    return needs;
  };
}

/** By the sets that were given; sets with the same members share one. */
function circlesOf(needs: readonly Need[], live: readonly string[]): ReadonlyMap<ReadonlySet<string>, Circle> {
  const circles = new Map<ReadonlySet<string>, Circle>();
  const byText = new Map<string, Circle>();
  for (const { among } of needs) {
    if (circles.has(among)) continue;
    const members = live.filter((id) => among.has(id));
    const text = members.join(' ');
    const circle = byText.get(text) ?? { among: new Set(members), text, needs: new Map(), byCid: new Map() };
    if (members.length === 0) continue;
    byText.set(text, circle);
    circles.set(among, circle);
  }
  return circles;
}

function add({ needs, byCid, among }: Circle, models: readonly PlacedModel[], more: number): void {
  const key = models.map(({ cid }) => cid).join(' ');
  const before = needs.get(key);
  const perMinute = more + (before?.perMinute ?? 0);
  const need: NeedState = { models, among, perMinute, count: 0, copies: () => need.count };
  needs.set(key, need);
  for (const { cid } of models) byCid.set(cid, [...(byCid.get(cid) ?? []).filter((each) => each !== before), need]);
}

const isPinned = ({ models }: NeedState): boolean => models.some(({ pinned }) => pinned);
const cidsOf = ({ models }: NeedState): string => models.map(({ cid }) => cid).join(' ');

const compareNeeds = (left: NeedState, right: NeedState): number =>
  Number(isPinned(right)) - Number(isPinned(left)) ||
  right.perMinute - left.perMinute ||
  compareText(cidsOf(left), cidsOf(right));
