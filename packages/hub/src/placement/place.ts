/**
 * Which device should hold which models, on its disk and warm in its memory. Pure: the same question has one answer.
 *
 * In this order: a device that has room for everything holds everything; what somebody needs whom only some devices may
 * serve is warm on one of these; every model gets one warm copy, then two, up to three, as far as memory goes; what
 * cannot be warm so often is at least held so often; models that are much asked for spread into the room that is left;
 * and last, one that is asked for far more takes the place of another.
 *
 * A model stays where it is. Only room that is free is given away freely; a copy gives way when its model has more
 * copies than the one that comes, or is asked for a third as much, and not within `dwellMs` of its coming. The last
 * copy for a need stays, but for a model that nobody has and that is asked for three times as much. Each step either
 * adds a copy or makes the fewest copies more, so nothing turns in circles: asked again about its own answer, under
 * demand that wavers, it changes nothing. Nobody is given more than its lender lends. It knows no sockets.
 */
import {
  PLACE_RULES,
  type Holding,
  type Need,
  type PlacedDevice,
  type PlacedModel,
  type PlaceRules,
} from './community.ts';
import { createNeeds, type Claim, type NeedState } from './needs.ts';
import { createSpots, type Spot } from './spots.ts';

/** Device → models in order of preference. `demand`: requests per minute by CID, those of `needs` among them. */
export function place(
  devices: readonly PlacedDevice[],
  models: readonly PlacedModel[],
  demand: ReadonlyMap<string, number>,
  nowMs: number,
  needs: readonly Need[] = [],
  rules: PlaceRules = PLACE_RULES,
): ReadonlyMap<string, readonly Holding[]> {
  const book = createNeeds(needs, devices, models);
  const board: Board = {
    ...createSpots(devices, models, book, rules, nowMs),
    ranked: rank(models, demand),
    needs: book.all,
    circles: new Map(),
    demandOf: (model) => demand.get(model.cid) ?? 0,
    rules,
    nowMs,
  };
  fillRoomy(board);
  for (const need of board.needs) if (need.copies() === 0) addNeeded(board, need);
  const live = board.spots.filter(({ device }) => device.live).length;
  for (let copies = 1; copies <= Math.min(rules.copies, live); copies++) {
    for (const model of board.ranked) if (board.warmCopies(model) < copies) addWarm(board, model, copies);
  }
  for (let copies = 1; copies <= Math.min(rules.copies, live); copies++) {
    for (const model of board.ranked) if (board.heldCopies(model) < copies) addCold(board, model, copies);
  }
  const claims = [...openClaims(board), ...board.needs];
  spread(board, claims);
  giveWay(board, claims);
  return new Map(board.spots.map((spot) => [spot.device.id, spot.holdings()]));
}

interface Board extends ReturnType<typeof createSpots> {
  /** Pinned first, then by demand. */
  readonly ranked: readonly PlacedModel[];
  /** The narrowest first. */
  readonly needs: readonly NeedState[];
  /** Who is in each, once looked up. */
  readonly circles: Map<Claim['among'], readonly Spot[]>;
  readonly rules: PlaceRules;
  readonly nowMs: number;
  demandOf(model: PlacedModel): number;
}

const compareText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

const rank = (models: readonly PlacedModel[], demand: ReadonlyMap<string, number>): PlacedModel[] =>
  models.toSorted(
    (left, right) =>
      Number(right.pinned) - Number(left.pinned) ||
      (demand.get(right.cid) ?? 0) - (demand.get(left.cid) ?? 0) ||
      compareText(left.cid, right.cid),
  );

/** A device with room for every model holds every model: in a small community nobody waits for a plan. */
function fillRoomy({ spots, ranked, rules }: Board): void {
  const bytes = ranked.reduce((sum, model) => sum + model.bytes, 0);
  const memoryBytes = ranked.reduce((sum, model) => sum + model.memoryBytes, 0);
  for (const spot of spots) {
    const { device } = spot;
    if (device.diskBytes < spot.onDisk(bytes) || device.memoryBytes < memoryBytes) continue;
    if (ranked.length > rules.modelsPerDeviceMax) continue;
    for (const model of ranked) spot.put(model, true);
  }
}

/** What models are asked for by those whom every device may serve. */
function openClaims({ ranked, needs, demandOf, warmCopies }: Board): Claim[] {
  const narrow = new Map<string, number>();
  for (const { models, perMinute } of needs) {
    const cid = models[0]?.cid ?? '';
    narrow.set(cid, (narrow.get(cid) ?? 0) + perMinute);
  }
  return ranked.map((model) => ({
    models: [model],
    perMinute: Math.max(0, demandOf(model) - (narrow.get(model.cid) ?? 0)),
    among: undefined,
    copies: () => warmCopies(model),
  }));
}

/** The best of several places: where it lies already, then where least is asked of the device's speed. */
function best(board: Board, spots: readonly Spot[], models: readonly PlacedModel[]): Spot | undefined {
  const bytes = models.reduce((sum, model) => sum + model.bytes, 0);
  let found: Spot | undefined;
  let foundWorth = Number.POSITIVE_INFINITY;
  for (const spot of spots) {
    const asked = spot
      .warm()
      .reduce((sum, each) => sum + board.demandOf(each) / Math.max(1, board.warmCopies(each)) + 1e-6, 0);
    const missing = models.reduce((sum, model) => sum + (spot.holds(model) ? 0 : model.bytes), 0);
    // No device is so idle that it is worth fetching what lies on another.
    const worth =
      missing < bytes ? (missing / bytes - 1) / (1 + asked) : asked / Math.max(1, spot.device.tokensPerSecond);
    if (worth >= foundWorth) continue;
    found = spot;
    foundWorth = worth;
  }
  return found;
}

/** Devices of a circle that take work now. */
function liveIn({ spots, circles }: Board, among: Claim['among']): readonly Spot[] {
  const known = circles.get(among);
  if (known !== undefined) return known;
  const found = spots.filter(({ device }) => (among === undefined ? device.live : among.has(device.id)));
  circles.set(among, found);
  return found;
}

/** Where the models are not all warm, and could be as far as the device goes. */
function ableFor(board: Board, { models, among }: Pick<Claim, 'models' | 'among'>): Spot[] {
  const memoryBytes = models.reduce((sum, model) => sum + model.memoryBytes, 0);
  return liveIn(board, among).filter(
    (spot) =>
      spot.device.memoryBytes >= memoryBytes &&
      models.every(({ cid }) => !spot.device.failed.has(cid)) &&
      models.some((model) => !spot.isWarm(model)),
  );
}

/** Room that is free for all of them. */
const freeFor = (board: Board, able: readonly Spot[], models: readonly PlacedModel[]): Spot | undefined =>
  best(
    board,
    able.filter((spot) => spot.fitsWithout(models, [])),
    models,
  );

/** Of whom a need would be left with nobody, or everybody with no copy: how much that one is asked for. */
function lossOf(board: Board, spot: Spot, model: PlacedModel): number | undefined {
  const isWarm = spot.isWarm(model);
  const needed = isWarm ? spot.missedWithout(model) : 0;
  const isLast = (isWarm ? board.warmCopies(model) : board.heldCopies(model)) <= 1;
  if (isLast) return Math.max(needed, board.demandOf(model));
  return needed > 0 ? needed : undefined;
}

/** One copy where it may serve: in free room, in that of what others have, too, or of what is asked for far less. */
function addNeeded(board: Board, need: NeedState): void {
  const { models, perMinute } = need;
  const able = ableFor(board, need);
  const free = freeFor(board, able, models);
  if (free !== undefined) return putAll(free, models);
  takePlace(board, able, models, (spot, other) => {
    if (other.pinned) return false;
    const loss = lossOf(board, spot, other);
    return loss === undefined || (isSettled(board, spot, other) && perMinute >= board.rules.gain * loss);
  });
}

function putAll(spot: Spot, models: readonly PlacedModel[]): void {
  for (const model of models) spot.put(model, true);
}

/** A copy of a model that has fewer than `copies`, in free room or in that of models which have more than `copies`. */
function addWarm(board: Board, model: PlacedModel, copies: number): void {
  const models = [model];
  const able = ableFor(board, { models, among: undefined });
  const free = freeFor(board, able, models);
  if (free !== undefined) return free.put(model, true);
  const isUrgent = board.warmCopies(model) === 0;
  const isSpare = (spot: Spot, other: PlacedModel): boolean =>
    !other.pinned &&
    (spot.isWarm(other) ? board.warmCopies(other) : board.heldCopies(other)) > copies &&
    (isUrgent || isSettled(board, spot, other)) &&
    spot.missedWithout(other) === 0;
  takePlace(board, able, models, isSpare);
}

/** Puts the models where others may go for them, if they may anywhere. */
function takePlace(
  board: Board,
  able: readonly Spot[],
  models: readonly PlacedModel[],
  mayGo: MayGo,
): Spot | undefined {
  const place = best(
    board,
    able.filter((spot) => makeRoom(board, spot, models, mayGo) !== undefined),
    models,
  );
  const going = place === undefined ? undefined : makeRoom(board, place, models, mayGo);
  if (place === undefined || going === undefined) return undefined;
  // What leaves the memory stays on the disk, if there is room for both.
  for (const other of going) if (place.isWarm(other)) place.put(other, false);
  for (const other of going) if (!place.fitsWithout(models, [])) place.drop(other);
  putAll(place, models);
  return place;
}

type MayGo = (spot: Spot, other: PlacedModel) => boolean;

const isSettled = ({ rules, nowMs }: Board, spot: Spot, model: PlacedModel): boolean =>
  !model.pinned && nowMs - spot.sinceMs(model) >= rules.dwellMs;

/** What would have to go for the models to fit, the least missed first; `undefined` if nothing is enough. */
function makeRoom(board: Board, spot: Spot, models: readonly PlacedModel[], mayGo: MayGo): PlacedModel[] | undefined {
  const going: PlacedModel[] = [];
  const missed = (other: PlacedModel): number =>
    spot.isWarm(other) ? board.demandOf(other) / Math.max(1, board.warmCopies(other)) : -1;
  const candidates = [...spot.cold(), ...spot.warm()]
    .filter((other) => !models.includes(other) && mayGo(spot, other))
    .toSorted((left, right) => missed(left) - missed(right) || compareText(left.cid, right.cid));
  const isDiskFull = !spot.hasDiskFor(models);
  for (;;) {
    if (spot.fitsWithout(models, going)) return going;
    const next = candidates.shift();
    if (next === undefined) return undefined;
    // What only lies on the disk makes no room in memory.
    if (spot.isWarm(next) || isDiskFull) going.push(next);
  }
}

/** A copy on a disk, for a model that is held fewer than `copies` times. */
function addCold(board: Board, model: PlacedModel, copies: number): void {
  const able = board.spots.filter(
    (spot) =>
      spot.device.live &&
      !spot.device.failed.has(model.cid) &&
      !spot.holds(model) &&
      spot.device.memoryBytes >= model.memoryBytes,
  );
  const roomiest = (spots: readonly Spot[]): Spot | undefined =>
    spots.toSorted(
      (left, right) => right.freeDisk() - left.freeDisk() || compareText(left.device.id, right.device.id),
    )[0];
  const free = roomiest(able.filter((spot) => spot.fits(model, false)));
  if (free !== undefined) return free.put(model, false);
  const spareOf = (spot: Spot): PlacedModel | undefined =>
    spot
      .cold()
      .find(
        (other) =>
          board.heldCopies(other) > copies &&
          isSettled(board, spot, other) &&
          spot.onDisk(model.bytes) <= spot.freeDisk() + spot.onDisk(other.bytes),
      );
  const place = roomiest(able.filter((spot) => spareOf(spot) !== undefined));
  const spare = place === undefined ? undefined : spareOf(place);
  if (place === undefined || spare === undefined) return;
  place.drop(spare);
  place.put(model, false);
}

/** Popular models go where there is room: whoever holds them is ready before the queue is long. */
function spread(board: Board, claims: readonly Claim[]): void {
  const { rules } = board;
  const worthOf = ({ perMinute, copies }: Claim): number => perMinute / Math.max(1, copies());
  const full = new Set<Claim>();
  for (let added = 0; added < rules.spreadMax; added++) {
    let next: { claim: Claim; spot: Spot } | undefined;
    const worthy = claims
      .filter((claim) => !full.has(claim) && worthOf(claim) >= rules.spreadDemandMin)
      .toSorted((left, right) => worthOf(right) - worthOf(left));
    for (const claim of worthy) {
      const spot = freeFor(board, ableFor(board, claim), claim.models);
      if (spot !== undefined) next = { claim, spot };
      if (next !== undefined) break;
      // Nothing here makes room, so there will be none later.
      full.add(claim);
    }
    if (next === undefined) return;
    putAll(next.spot, next.claim.models);
  }
}

/** One model at most per device gives way to one that is asked for far more. */
function giveWay(board: Board, claims: readonly Claim[]): void {
  const { rules } = board;
  const done = new Set<Spot>();
  for (const claim of claims) {
    const { models, perMinute } = claim;
    const copies = claim.copies();
    const worth = perMinute / (copies + 1);
    if (worth < rules.spreadDemandMin / rules.gain) continue;
    const coming = models[0] as PlacedModel;
    const mayGo: MayGo = (spot, other) => {
      if (!spot.isWarm(other)) return board.heldCopies(other) > rules.copies && isSettled(board, spot, other);
      const others = board.warmCopies(other);
      // Otherwise the rule that every model gets its copies would take it back.
      const isLasting = others > rules.copies || board.warmCopies(coming) + 1 <= others;
      const isFar = worth >= (rules.gain * board.demandOf(other)) / others;
      if (!isLasting || !isFar || !isSettled(board, spot, other)) return false;
      // Nor would a need be left alone for long, but by what nobody could be served with at all.
      const needed = spot.missedWithout(other);
      return needed === 0 || (board.warmCopies(coming) === 0 && worth >= rules.gain * needed);
    };
    const able = ableFor(board, claim).filter((spot) => !done.has(spot));
    const place = takePlace(board, able, models, mayGo);
    if (place === undefined) continue;
    done.add(place);
  }
}
