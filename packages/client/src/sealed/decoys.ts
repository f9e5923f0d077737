/**
 * An answer as a draft for a second device, with some tokens put wrong on purpose.
 *
 * Whoever makes the answer gives the true tokens back, also where the draft has others; whoever says what it is told
 * gives back a decoy. There is one in each stretch of the answer, at a place and with an id that nobody can foretell;
 * the ids are others of the same answer, so that they look likely. What this does not prove: a device that runs a
 * smaller model may find decoys that do not fit, and guess what stood there. Two drafts of one answer show where they
 * are, so they are drawn once, also where several devices have to see the draft.
 */
import type { Random } from '@idlewild/protocol';

export interface Decoyed {
  readonly draft: readonly number[];
  /** Indexes of those that are other than in the answer. */
  readonly places: ReadonlySet<number>;
}

/** Shorter answers cost little to make again, and have no room for a decoy and what follows it. */
const TOKENS_MIN = 8;
/** Tokens for each decoy: each ends a run of the second device, so more of them make it dearer. */
const STRETCH = 32;
const RANDOM_BYTES = 4;
/** Of an answer that is nearly one token over and over. */
const DRAWS_MAX = 32;

/** `undefined` for an answer that is too short, or of one token over and over. */
export function withDecoys(tokens: readonly number[], random: Pick<Random, 'bytes'>): Decoyed | undefined {
  // What ends an answer looks out of place within it, and after the last one nothing shows how a device goes on.
  const inside = tokens.slice(0, -1);
  if (tokens.length < TOKENS_MIN || inside.every((id) => id === inside[0])) return undefined;
  const count = 1 + Math.floor(tokens.length / STRETCH);
  const draft = [...tokens];
  const places = new Set<number>();
  for (let nth = 0; nth < count; nth++) {
    const from = Math.floor((nth * inside.length) / count);
    const until = Math.floor(((nth + 1) * inside.length) / count);
    const place = from + below(until - from, random);
    draft[place] = otherThan(inside[place] as number, inside, random);
    places.add(place);
  }
  return { draft, places };
}

/** Drawn as often as it stands there. */
function otherThan(id: number, ids: readonly number[], random: Pick<Random, 'bytes'>): number {
  for (let tries = 0; tries < DRAWS_MAX; tries++) {
    const drawn = ids[below(ids.length, random)];
    if (drawn !== undefined && drawn !== id) return drawn;
  }
  return ids.find((other) => other !== id) as number;
}

/** Not of `unit`, which platforms draw from what earlier numbers give away: a device has seen seeds of it. */
function below(count: number, random: Pick<Random, 'bytes'>): number {
  const bytes = random.bytes(RANDOM_BYTES);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) % count;
}
