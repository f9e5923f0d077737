/**
 * Whether a process has seen a text: everything that it read and wrote is searched for any piece of 8 bytes of it, as
 * UTF-8, UTF-16, hexadecimal and base64, and for runs of its token ids as processes keep and send them.
 *
 * Pieces that were there before the text was ever sent (words of a vocabulary, of a log) prove nothing and are left out
 * of the search; how many is told. Whoever uses this shows with a text in the open that it finds one.
 */
import { readFileSync, readdirSync, openSync, readSync, closeSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

const PIECE_BYTES = 8;
/** Of token ids: short runs of small numbers are everywhere. */
const RUN_IDS = 6;

/** Something to be found, and what it would prove. */
interface Needle {
  readonly piece: string;
  readonly as: string;
  readonly bytes: Uint8Array;
}

export interface Haystack {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface Trace {
  /** Where it was found. */
  readonly in: string;
  readonly piece: string;
  readonly as: string;
}

export interface Secret {
  readonly texts: readonly string[];
  readonly tokenIds?: readonly (readonly number[])[];
}

/** All forms of all pieces. */
export function needlesOf({ texts, tokenIds = [] }: Secret): Needle[] {
  const needles = new Map<string, Needle>();
  const add = (piece: string, as: string, whole: Uint8Array): void => {
    // Memory is mostly zeros: a needle that began with some would be looked for everywhere.
    const bytes = whole.subarray(whole.findIndex((byte) => byte !== 0));
    if (bytes.length < PIECE_BYTES) return;
    needles.set(Buffer.from(bytes).toString('latin1'), { piece, as, bytes });
  };
  for (const text of texts) {
    const bytes = Buffer.from(text);
    for (let at = 0; at + PIECE_BYTES <= bytes.length; at++) {
      const part = bytes.subarray(at, at + PIECE_BYTES);
      const piece = part.toString('latin1');
      add(piece, 'utf-8', part);
      add(piece, 'hex', Buffer.from(part.toString('hex')));
      add(piece, 'HEX', Buffer.from(part.toString('hex').toUpperCase()));
      for (const shift of [0, 1, 2])
        for (const alphabet of ['base64', 'base64url'] as const) add(piece, alphabet, within(part, shift, alphabet));
    }
    for (let at = 0; at + PIECE_BYTES <= text.length; at++) {
      const piece = text.slice(at, at + PIECE_BYTES);
      add(piece, 'utf-16', Buffer.from(piece, 'utf16le'));
    }
  }
  for (const ids of tokenIds) {
    for (let at = 0; at + RUN_IDS <= ids.length; at++) {
      const run = ids.slice(at, at + RUN_IDS);
      const piece = run.join(',');
      add(piece, 'ids, 32 bits', new Uint8Array(Uint32Array.from(run).buffer));
      add(piece, 'ids, doubles', new Uint8Array(Float64Array.from(run).buffer));
      // V8 keeps small integers in the upper half of a word.
      add(piece, 'ids, as V8 has them', new Uint8Array(BigInt64Array.from(run, (id) => BigInt(id) << 32n).buffer));
      add(piece, 'ids, CBOR', Buffer.from(run.flatMap(cborOf)));
      add(piece, 'ids, JSON', Buffer.from(JSON.stringify(run).slice(1, -1)));
    }
  }
  return [...needles.values()];
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

const cborOf = (id: number): number[] =>
  id < 24
    ? [id]
    : id < 256
      ? [0x18, id]
      : id < 65_536
        ? [0x19, id >> 8, id & 255]
        : [0x1a, id >>> 24, (id >> 16) & 255, (id >> 8) & 255, id & 255];

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
  for (const { name, bytes } of haystacks) {
    for (let from = 0; from < bytes.length; from += STEP_BYTES) {
      const to = Math.min(from + STEP_BYTES, bytes.length - PIECE_BYTES + 1);
      for (const at of placesIn(bytes, from, to, first))
        for (const needle of byFirst.get(firstOf(bytes, at)) ?? [])
          if (isAt(bytes, at, needle.bytes))
            found.set(`${name} ${needle.as} ${needle.piece}`, { in: name, piece: needle.piece, as: needle.as });
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

/** All that a process can write to in its memory, its stacks and heaps. Linux, and only for whoever may trace it. */
export function memoryOf(pid: number): Haystack[] {
  const regions = readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)$/.exec(line))
    .filter((match) => match !== null)
    // The code of the programme, and files that are mapped, were there before it began.
    .filter(([, , , path = '']) => !path.startsWith('/') && path !== '[vvar]' && path !== '[vsyscall]');
  const file = openSync(`/proc/${pid}/mem`, 'r');
  try {
    return regions.flatMap(([, from = '0', to = '0', path]) => {
      const [start, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
      const bytes = readRegion(file, start, end - start);
      return bytes === undefined ? [] : [{ name: `memory ${from} ${path ?? ''}`.trim(), bytes }];
    });
  } finally {
    closeSync(file);
  }
}

/** Regions that are reserved and not there yet are hundreds of gigabytes; only what is there is read. */
const REGION_BYTES_MAX = 2 ** 31 - 4_096;
const PAGE_BYTES = 4_096;

function readRegion(file: number, start: number, length: number): Uint8Array | undefined {
  if (length > REGION_BYTES_MAX) return undefined;
  const bytes = Buffer.alloc(length);
  let read = 0;
  try {
    while (read < length) {
      const more = readSync(file, bytes, read, length - read, start + read);
      if (more === 0) break;
      read += more;
    }
  } catch (error) {
    // A guard page: what lies before it was read.
    if (!['EIO', 'EFAULT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
  return read < PAGE_BYTES ? undefined : bytes.subarray(0, read);
}

/** Every file below a folder. */
export const filesOf = (folder: string): Haystack[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((name) => ({ name, bytes: readFileSync(name) }));

export interface Wiretap {
  readonly url: string;
  /** What is between: to be said before anybody connects. */
  target(port: number): void;
  /** All that went either way so far; frames of WebSockets as they were before their masks. */
  heard(): Haystack[];
  close(): Promise<void>;
}

/** A port on loopback that passes everything on and keeps it. */
export async function startWiretap(name: string): Promise<Wiretap> {
  const conversations: { readonly up: Buffer[]; readonly down: Buffer[] }[] = [];
  const sockets = new Set<Socket>();
  let port = 0;
  const server = createServer((near) => {
    const kept = { up: [] as Buffer[], down: [] as Buffer[] };
    conversations.push(kept);
    const far = connect(port, '127.0.0.1');
    for (const [from, to, into] of [
      [near, far, kept.up],
      [far, near, kept.down],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (bytes: Buffer) => {
        into.push(bytes);
        to.write(bytes);
      });
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    target(given) {
      port = given;
    },
    heard: () =>
      conversations.flatMap(({ up, down }, i) => [
        { name: `${name} ${i}, up`, bytes: unmasked(Buffer.concat(up)) },
        { name: `${name} ${i}, down`, bytes: Buffer.concat(down) },
      ]),
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

/** What a client of a WebSocket (RFC 6455) sends is masked, which hides it from a search and from nobody else. */
function unmasked(sent: Buffer): Buffer {
  const head = sent.indexOf('\r\n\r\n');
  if (head === -1 || !/\r\nupgrade: *websocket/i.test(sent.toString('latin1', 0, head))) return sent;
  const parts = [sent.subarray(0, head + 4)];
  for (let at = head + 4; at + 6 <= sent.length;) {
    const short = (sent[at + 1] as number) & 127;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (at + 6 + extended > sent.length) break;
    const length =
      extended === 2 ? sent.readUInt16BE(at + 2) : extended === 8 ? Number(sent.readBigUInt64BE(at + 2)) : short;
    const mask = sent.subarray(at + 2 + extended, at + 6 + extended);
    const body = Buffer.from(sent.subarray(at + 6 + extended, at + 6 + extended + length));
    for (let i = 0; i < body.length; i++) body[i] = (body[i] as number) ^ (mask[i & 3] as number);
    parts.push(body);
    at += 6 + extended + length;
  }
  return Buffer.concat(parts);
}
