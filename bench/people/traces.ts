/**
 * Whether a process has seen a text: what it read, wrote and keeps is searched for any piece of 8 bytes of it, as
 * UTF-8, Latin-1 and UTF-16 (both as V8 keeps strings), hexadecimal, base64 and with JSON's escapes, and for token ids
 * and single tokens as processes keep and send them.
 *
 * Pieces that were there before the text was ever sent (words of a vocabulary, of a log) prove nothing and are left out
 * of the search; how many is told. Whoever uses this shows with a text in the open that it finds one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { encodeCbor } from '@idlewild/protocol';
import type { Haystack, Kind } from './haystacks.ts';

const PIECE_BYTES = 8;
/** Of token ids: short runs of small numbers are everywhere. */
const RUN_IDS = 6;

/** Something to be found, and what it would prove. */
interface Needle {
  /** Whose piece it is. */
  readonly of: string;
  readonly piece: string;
  readonly as: string;
  readonly bytes: Uint8Array;
}

export interface Trace {
  readonly of: string;
  readonly piece: string;
  readonly as: string;
  readonly kind: Kind;
  readonly in: string;
}

export interface Secret {
  /** What traces of it are called. */
  readonly of: string;
  readonly text: string;
  /** Where the text was made of tokens. */
  readonly tokens?: readonly Token[];
}

export interface Token {
  readonly id: number;
  /** What it adds to the text. */
  readonly s: string;
}

/** All forms of all pieces; what is alike in two forms, or in two secrets, is there once. */
export function needlesOf(secrets: readonly Secret[]): Needle[] {
  const needles = new Map<string, Needle>();
  for (const { of, text, tokens = [] } of secrets) {
    const add = (piece: string, as: string, whole: Uint8Array): void => {
      // Memory is mostly zeros: a needle that began with some would be looked for everywhere.
      const bytes = whole.subarray(whole.findIndex((byte) => byte !== 0));
      if (bytes.length < PIECE_BYTES) return;
      const key = Buffer.from(bytes).toString('latin1');
      if (!needles.has(key)) needles.set(key, { of, piece, as, bytes });
    };
    addBytes(Buffer.from(text), add);
    addCharacters(text, add);
    addTokens(tokens, add);
  }
  return [...needles.values()];
}

type Add = (piece: string, as: string, bytes: Uint8Array) => void;

function addBytes(bytes: Buffer, add: Add): void {
  for (let at = 0; at + PIECE_BYTES <= bytes.length; at++) {
    const part = bytes.subarray(at, at + PIECE_BYTES);
    const piece = part.toString('latin1');
    add(piece, 'utf-8', part);
    add(piece, 'hex', Buffer.from(part.toString('hex')));
    add(piece, 'HEX', Buffer.from(part.toString('hex').toUpperCase()));
    for (const shift of [0, 1, 2])
      for (const alphabet of ['base64', 'base64url'] as const) add(piece, alphabet, within(part, shift, alphabet));
  }
}

function addCharacters(text: string, add: Add): void {
  for (let at = 0; at + PIECE_BYTES <= text.length; at++) {
    const piece = text.slice(at, at + PIECE_BYTES);
    add(piece, 'utf-16', Buffer.from(piece, 'utf16le'));
    const escaped = JSON.stringify(piece).slice(1, -1);
    add(piece, 'JSON', Buffer.from(escaped));
    const ascii = escaped.replaceAll(
      /[^\0-\x7f]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    add(piece, 'JSON in ASCII', Buffer.from(ascii));
    if (/^[\0-\xff]*$/.test(piece)) add(piece, 'Latin-1', Buffer.from(piece, 'latin1'));
  }
}

function addTokens(tokens: readonly Token[], add: Add): void {
  const ids = tokens.map(({ id }) => id);
  for (let at = 0; at + RUN_IDS <= ids.length; at++) {
    const run = ids.slice(at, at + RUN_IDS);
    const piece = run.join(',');
    add(piece, 'ids, 32 bits', new Uint8Array(Uint32Array.from(run).buffer));
    add(piece, 'ids, doubles', new Uint8Array(Float64Array.from(run).buffer));
    // V8 keeps small integers in the upper half of a word.
    add(piece, 'ids, as V8 has them', new Uint8Array(BigInt64Array.from(run, (id) => BigInt(id) << 32n).buffer));
    // Less the byte that says how many there are.
    add(piece, 'ids, CBOR', encodeCbor(run).subarray(1));
    add(piece, 'ids, JSON', Buffer.from(JSON.stringify(run).slice(1, -1)));
  }
  // One token is shorter than a piece: as devices send it, with its place and id.
  for (const [i, { id, s }] of tokens.entries())
    if (s !== '') add(`${i} ${id} ${s}`, 'token, CBOR', encodeCbor({ t: 'answer.token', i, id, s }).subarray(1));
}

/** The characters of base64 that depend on these bytes alone, `shift` bytes after a group's beginning. */
function within(bytes: Buffer, shift: number, alphabet: 'base64' | 'base64url'): Buffer {
  const text = Buffer.concat([Buffer.alloc(shift), bytes])
    .toString(alphabet)
    .replace(/=+$/, '');
  const first = Math.ceil((shift * 8) / 6);
  const last = Math.floor(((shift + bytes.length) * 8) / 6);
  return Buffer.from(text.slice(first, last));
}

/** Looked at in one go: whatever else this process carries, a wiretap's bytes too, waits meanwhile. */
const STEP_BYTES = 8_388_608;

/** One pass over each haystack, however many needles: a table of first three bytes says where to look closer. */
export async function findTraces(haystacks: readonly Haystack[], needles: readonly Needle[]): Promise<Trace[]> {
  const first = new Uint8Array(2 ** 24);
  const byFirst = new Map<number, Needle[]>();
  for (const needle of needles) {
    const key = firstOf(needle.bytes, 0);
    first[key] = 1;
    byFirst.set(key, [...(byFirst.get(key) ?? []), needle]);
  }
  const found = new Map<string, Trace>();
  for (const { kind, name, bytes } of haystacks) {
    for (let from = 0; from < bytes.length; from += STEP_BYTES) {
      const to = Math.min(from + STEP_BYTES, bytes.length - PIECE_BYTES + 1);
      for (const at of placesIn(bytes, from, to, first))
        for (const { bytes: sought, of, piece, as } of byFirst.get(firstOf(bytes, at)) ?? [])
          if (isAt(bytes, at, sought)) found.set(`${kind} ${name} ${as} ${piece}`, { kind, in: name, of, piece, as });
      await nextTurn();
    }
  }
  return [...found.values()];
}

/** Where a needle may begin. */
function placesIn(bytes: Uint8Array, from: number, to: number, first: Uint8Array): number[] {
  const places: number[] = [];
  let key = from < to ? ((bytes[from] as number) << 8) | (bytes[from + 1] as number) : 0;
  for (let at = from; at < to; at++) {
    key = ((key << 8) | (bytes[at + 2] as number)) & 0xff_ff_ff;
    if (first[key] === 1) places.push(at);
  }
  return places;
}

const firstOf = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);

function isAt(bytes: Uint8Array, at: number, needle: Uint8Array): boolean {
  if (at + needle.length > bytes.length) return false;
  for (let i = 3; i < needle.length; i++) if (bytes[at + i] !== needle[i]) return false;
  return true;
}

/** Needles that are in none of these: what was there before the secret was told. */
export async function unknownIn(needles: readonly Needle[], before: readonly Haystack[]): Promise<Needle[]> {
  const known = new Set((await findTraces(before, needles)).map(({ as, piece }) => `${as} ${piece}`));
  return needles.filter(({ as, piece }) => !known.has(`${as} ${piece}`));
}
