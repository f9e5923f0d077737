/**
 * What is asked for by those whom not every device may serve: how much of each model in each circle, counted as all
 * demand is, whether it is served or not: who is served today must not lose the place to who is not. It is forgotten
 * when nobody has asked for a while. Where there is no more room, what is asked for least goes first.
 */
import type { DataClass } from '@idlewild/protocol';
import { keyOf, type Circle } from './circle.ts';
import { createDemand } from './demand.ts';

/** Requests of one circle for the same models. */
export interface Narrow {
  readonly models: readonly string[];
  readonly circle: Circle;
  lastAtMs: number;
  /** Since when nobody who may serve it was seen ready; `undefined`: somebody was, when it was last asked for. */
  unmetSinceMs: number | undefined;
  /** Since it was said last. */
  unsaid: number;
}

/** As replicas say it to each other. */
export interface SaidNarrow {
  readonly models: readonly string[];
  readonly dataClass: DataClass;
  readonly cause?: string | undefined;
  readonly pools?: readonly string[] | undefined;
  readonly features: readonly string[];
  readonly count: number;
}

export interface NarrowDemand {
  asked(models: readonly string[], circle: Circle, isServed: boolean, nowMs: number): void;
  find(models: readonly string[], circle: Circle): Narrow | undefined;
  said(): SaidNarrow[];
  heard(said: readonly SaidNarrow[], nowMs: number): void;
  /** With requests per minute. */
  list(nowMs: number): (readonly [Narrow, number])[];
  isEmpty(): boolean;
}

export interface NarrowBounds {
  readonly halfLifeMs: number;
  readonly keptMs: number;
  readonly narrowMax: number;
}

export function createNarrowDemand({ halfLifeMs, keptMs, narrowMax }: NarrowBounds): NarrowDemand {
  const demand = createDemand(halfLifeMs);
  const known = new Map<string, Narrow>();
  const nameOf = (models: readonly string[], circle: Circle): string => `${models.join(' ')} ${keyOf(circle)}`;

  function forgetOld(nowMs: number): void {
    for (const [name, { lastAtMs }] of known) if (nowMs - lastAtMs > keptMs) known.delete(name);
    demand.keep(new Set(known.keys()));
  }
  function makeRoom(nowMs: number): void {
    if (known.size < narrowMax) return;
    forgetOld(nowMs);
    if (known.size < narrowMax) return;
    let least: string | undefined;
    for (const name of known.keys())
      if (least === undefined || demand.of(name, nowMs) < demand.of(least, nowMs)) least = name;
    if (least !== undefined) known.delete(least);
  }
  function count(models: readonly string[], circle: Circle, many: number, nowMs: number): Narrow {
    const name = nameOf(models, circle);
    let narrow = known.get(name);
    if (narrow === undefined) {
      makeRoom(nowMs);
      narrow = { models, circle, lastAtMs: nowMs, unmetSinceMs: undefined, unsaid: 0 };
      known.set(name, narrow);
    }
    narrow.lastAtMs = nowMs;
    demand.asked(name, nowMs, many);
    return narrow;
  }

  return {
    asked(models, circle, isServed, nowMs) {
      const narrow = count(models, circle, 1, nowMs);
      narrow.unsaid += 1;
      if (isServed) narrow.unmetSinceMs = undefined;
      else narrow.unmetSinceMs ??= nowMs;
    },
    find: (models, circle) => known.get(nameOf(models, circle)),
    said() {
      const said: SaidNarrow[] = [];
      for (const narrow of known.values()) {
        if (narrow.unsaid === 0) continue;
        said.push({ models: narrow.models, ...narrow.circle, count: narrow.unsaid });
        narrow.unsaid = 0;
      }
      return said;
    },
    heard(said, nowMs) {
      for (const { models, count: many, ...circle } of said) count(models, circle, many, nowMs);
    },
    list(nowMs) {
      forgetOld(nowMs);
      return [...known].map(([name, narrow]) => [narrow, demand.of(name, nowMs)] as const);
    },
    isEmpty: () => known.size === 0,
  };
}
