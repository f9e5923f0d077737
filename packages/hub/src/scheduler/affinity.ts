/**
 * Which device has read the beginning of a conversation already: its next turn is answered there sooner.
 *
 * A conversation is followed by a chain of hashes over its messages, so no text is kept; what is not asked for again
 * within a while is forgotten, as devices forget it. A hint and no more: a device that has lost what it kept, or
 * another caller's hash that happens to be the same, costs a moment, never a wrong answer.
 */
import type { AnswerWork, Clock, Random } from '@idlewild/protocol';

type Asked = Pick<AnswerWork, 'prompt' | 'scope'>;

/** What a conversation is remembered by: one mark for each of its beginnings, shortest first. */
export interface Marks {
  readonly hashes: readonly string[];
  /** Characters up to each. */
  readonly lengths: readonly number[];
}

export interface Affinity {
  /** Of work without a scope, which devices do not keep, none. */
  marksOf(model: string, work: Asked): Marks;
  /** A device is reading it. */
  remember(marks: Marks, device: string): void;
  /** Characters of the beginning that each device has, of those that have any. */
  recall(marks: Marks): ReadonlyMap<string, number>;
}

const ENTRIES_MAX = 20_000;
/** As long as engines keep what they read. */
const KEPT_MS = 600_000;
/** A text has no messages; its beginnings are told apart at this step. */
const TEXT_STEP = 256;
const SEEDS = 2 ** 32;

interface Entry {
  readonly device: string;
  readonly atMs: number;
}

export function createAffinity(clock: Clock, random: Random): Affinity {
  /** Least recently used first. */
  const entries = new Map<string, Entry>();
  const seed = Math.floor(random.unit() * SEEDS);

  return {
    marksOf(model, { prompt, scope }) {
      const hashes: string[] = [];
      const lengths: number[] = [];
      if (scope === undefined) return { hashes, lengths };
      let hash = mixText(createHash(seed), `${scope}\n${model}\n`);
      let length = 0;
      for (const piece of piecesOf(prompt)) {
        hash = mixText(hash, piece);
        length += piece.length;
        hashes.push(`${hash.high.toString(36)}.${hash.low.toString(36)}`);
        lengths.push(length);
      }
      return { hashes, lengths };
    },
    remember({ hashes }, device) {
      const atMs = clock.monotonic();
      for (const hash of hashes) {
        entries.delete(hash);
        entries.set(hash, { device, atMs });
      }
      for (const hash of entries.keys()) {
        if (entries.size <= ENTRIES_MAX) break;
        entries.delete(hash);
      }
    },
    recall({ hashes, lengths }) {
      const found = new Map<string, number>();
      for (const [i, hash] of hashes.entries()) {
        const entry = entries.get(hash);
        if (entry !== undefined && clock.monotonic() - entry.atMs < KEPT_MS)
          found.set(entry.device, lengths[i] as number);
      }
      return found;
    },
  };
}

function piecesOf(prompt: AnswerWork['prompt']): string[] {
  if (prompt.kind === 'chat') {
    const tools = prompt.tools === undefined ? '' : JSON.stringify(prompt.tools);
    return prompt.messages.map((message, i) => (i === 0 ? tools : '') + JSON.stringify(message));
  }
  // Whole steps only: the last piece of a text that goes on is another one next time.
  const steps = Math.floor(prompt.text.length / TEXT_STEP);
  return Array.from({ length: steps }, (_, i) => prompt.text.slice(i * TEXT_STEP, (i + 1) * TEXT_STEP));
}

interface Hash {
  readonly high: number;
  readonly low: number;
}

const createHash = (seed: number): Hash => ({ high: seed, low: ~seed >>> 0 });

/** Two multiplicative hashes side by side (FNV-1a's prime and Knuth's): for telling apart, not for proving. */
function mixText(hash: Hash, text: string): Hash {
  let { high, low } = hash;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    high = Math.imul(high ^ code, 0x01000193);
    low = Math.imul(low + code, 0x9e3779b1) ^ (low >>> 15);
  }
  // The end of a piece counts, or pieces could flow into one another.
  return { high: Math.imul(high ^ 0x1f, 0x01000193) >>> 0, low: Math.imul(low + 0x1f, 0x9e3779b1) >>> 0 };
}
