/**
 * Which device should hold which models, on its disk and warm in its memory. Pure: the same question has one answer.
 *
 * In this order: a device that has room for everything holds everything; every model gets one warm copy, then two, up
 * to three, as far as memory goes; what cannot be warm so often is at least held so often; models that are much asked
 * for spread into the room that is left; and last, one that is asked for far more takes the place of another.
 *
 * A model stays where it is. Only room that is free is given away freely; a copy gives way when its model has more
 * copies than the one that comes, or is asked for a third as much, and not within `dwellMs` of its coming. Each step
 * either adds a copy or makes the fewest copies more, so nothing turns in circles: asked again about its own answer,
 * under demand that wavers, it changes nothing. Nobody is given more than its lender lends. It knows no sockets.
 */
import { PLACE_RULES, type Holding, type PlacedDevice, type PlacedModel, type PlaceRules } from './community.ts';
import { createSpots, type Spot } from './spots.ts';

/** Device → models in order of preference. `demand`: requests per minute by CID. */
export function place(
  devices: readonly PlacedDevice[],
  models: readonly PlacedModel[],
  demand: ReadonlyMap<string, number>,
  nowMs: number,
  rules: PlaceRules = PLACE_RULES,
): ReadonlyMap<string, readonly Holding[]> {
  const board: Board = {
    ...createSpots(devices, models, rules, nowMs),
    ranked: rank(models, demand),
    demandOf: (model) => demand.get(model.cid) ?? 0,
    rules,
    nowMs,
  };
  fillRoomy(board);
  const live = board.spots.filter(({ device }) => device.live).length;
  for (let copies = 1; copies <= Math.min(rules.copies, live); copies++) {
    for (const model of board.ranked) if (board.warmCopies(model) < copies) addWarm(board, model, copies);
  }
  for (let copies = 1; copies <= Math.min(rules.copies, live); copies++) {
    for (const model of board.ranked) if (board.heldCopies(model) < copies) addCold(board, model, copies);
  }
  spread(board);
  giveWay(board);
  return new Map(board.spots.map((spot) => [spot.device.id, spot.holdings()]));
}

interface Board extends ReturnType<typeof createSpots> {
  /** Pinned first, then by demand. */
  readonly ranked: readonly PlacedModel[];
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

/** The best of several places: where it lies already, then where least is asked of the device's speed. */
function best(board: Board, spots: readonly Spot[], model: PlacedModel): Spot | undefined {
  let found: Spot | undefined;
  let foundWorth = Number.POSITIVE_INFINITY;
  for (const spot of spots) {
    const asked = spot
      .warm()
      .reduce((sum, each) => sum + board.demandOf(each) / Math.max(1, board.warmCopies(each)) + 1e-6, 0);
    // No device is so idle that it is worth fetching what lies on another.
    const worth = spot.holds(model) ? -1 / (1 + asked) : asked / Math.max(1, spot.device.tokensPerSecond);
    if (worth >= foundWorth) continue;
    found = spot;
    foundWorth = worth;
  }
  return found;
}

const couldWarm = (spot: Spot, model: PlacedModel): boolean =>
  spot.device.live && !spot.device.failed.has(model.cid) && !spot.isWarm(model);

/** A copy of a model that has fewer than `copies`, in free room or in that of models which have more than `copies`. */
function addWarm(board: Board, model: PlacedModel, copies: number): void {
  const able = board.spots.filter((spot) => couldWarm(spot, model));
  const free = best(
    board,
    able.filter((spot) => spot.fits(model, true)),
    model,
  );
  if (free !== undefined) return free.put(model, true);
  const isUrgent = board.warmCopies(model) === 0;
  const isSpare = (spot: Spot, other: PlacedModel): boolean =>
    !other.pinned &&
    (spot.isWarm(other) ? board.warmCopies(other) : board.heldCopies(other)) > copies &&
    (isUrgent || isSettled(board, spot, other));
  takePlace(board, able, model, isSpare);
}

/** Puts the model where others may go for it, if they may anywhere. */
function takePlace(board: Board, able: readonly Spot[], model: PlacedModel, mayGo: MayGo): Spot | undefined {
  const place = best(
    board,
    able.filter((spot) => makeRoom(board, spot, model, mayGo) !== undefined),
    model,
  );
  const going = place === undefined ? undefined : makeRoom(board, place, model, mayGo);
  if (place === undefined || going === undefined) return undefined;
  // What leaves the memory stays on the disk, if there is room for both.
  for (const other of going) if (place.isWarm(other)) place.put(other, false);
  for (const other of going) if (!place.fits(model, true)) place.drop(other);
  place.put(model, true);
  return place;
}

type MayGo = (spot: Spot, other: PlacedModel) => boolean;

const isSettled = ({ rules, nowMs }: Board, spot: Spot, model: PlacedModel): boolean =>
  !model.pinned && nowMs - spot.sinceMs(model) >= rules.dwellMs;

/** What would have to go for `model` to fit, the least missed first; `undefined` if nothing is enough. */
function makeRoom(board: Board, spot: Spot, model: PlacedModel, mayGo: MayGo): PlacedModel[] | undefined {
  const going: PlacedModel[] = [];
  const missed = (other: PlacedModel): number =>
    spot.isWarm(other) ? board.demandOf(other) / Math.max(1, board.warmCopies(other)) : -1;
  const candidates = [...spot.cold(), ...spot.warm()]
    .filter((other) => other.cid !== model.cid && mayGo(spot, other))
    .toSorted((left, right) => missed(left) - missed(right) || compareText(left.cid, right.cid));
  for (;;) {
    if (spot.fitsWithout(model, going)) return going;
    const next = candidates.shift();
    if (next === undefined) return undefined;
    // What only lies on the disk makes no room in memory.
    if (spot.isWarm(next) || !spot.fits(model, false)) going.push(next);
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
function spread(board: Board): void {
  for (let added = 0; added < board.rules.spreadMax; added++) {
    let next: { model: PlacedModel; spot: Spot; worth: number } | undefined;
    for (const model of board.ranked) {
      const worth = board.demandOf(model) / Math.max(1, board.warmCopies(model));
      if (worth < board.rules.spreadDemandMin || worth <= (next?.worth ?? 0)) continue;
      const spot = best(
        board,
        board.spots.filter((each) => couldWarm(each, model) && each.fits(model, true)),
        model,
      );
      if (spot !== undefined) next = { model, spot, worth };
    }
    if (next === undefined) return;
    next.spot.put(next.model, true);
  }
}

/** One model at most per device gives way to one that is asked for far more. */
function giveWay(board: Board): void {
  const { rules } = board;
  const done = new Set<Spot>();
  for (const model of board.ranked) {
    const worth = board.demandOf(model) / (board.warmCopies(model) + 1);
    if (worth < rules.spreadDemandMin / rules.gain) continue;
    const mayGo: MayGo = (spot, other) => {
      if (!spot.isWarm(other)) return board.heldCopies(other) > rules.copies && isSettled(board, spot, other);
      const copies = board.warmCopies(other);
      // Otherwise the rule that every model gets its copies would take it back.
      const isLasting = copies > rules.copies || board.warmCopies(model) + 1 <= copies;
      return isLasting && isSettled(board, spot, other) && worth >= (rules.gain * board.demandOf(other)) / copies;
    };
    const able = board.spots.filter((spot) => couldWarm(spot, model) && !done.has(spot));
    const place = takePlace(board, able, model, mayGo);
    if (place === undefined) continue;
    done.add(place);
  }
}
