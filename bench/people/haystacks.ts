/**
 * Everything that a process read, wrote or has in its memory, to be searched: pages of memory of one moment, files that
 * it has open or left behind, and what went over its sockets, kept by wiretaps between it and its peers.
 *
 * Linux, and only for whoever may trace the process. What lies in memory is read as it lies there; nobody is asked.
 */
import { closeSync, openSync, readFileSync, readSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';

/** Where something was found. */
export type Kind = 'memory' | 'files' | 'log' | 'sockets of callers' | 'sockets of devices';

export interface Haystack {
  readonly kind: Kind;
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * Every page that the process has, of all that it may read, while it stands still: its heaps and stacks, WebAssembly,
 * and the code and files that are mapped. Pages that were reserved and never touched hold nothing and are left out.
 */
export function memoryOf(pid: number): Haystack[] {
  process.kill(pid, 'SIGSTOP');
  try {
    untilStopped(pid);
    return regionsOf(pid).flatMap((region) => pagesOf(pid, region));
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

const STOP_MS_MAX = 1_000;

function untilStopped(pid: number): void {
  const ends = performance.now() + STOP_MS_MAX;
  while (!/\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')))
    if (performance.now() > ends) throw new Error(`process ${pid} does not stand still`);
}

interface Region {
  readonly start: number;
  readonly end: number;
  readonly path: string;
}

const regionsOf = (pid: number): Region[] =>
  readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)$/.exec(line))
    .filter((match) => match !== null)
    // Of the kernel's, and not to be read.
    .filter(([, , , path = '']) => !path.startsWith('[v'))
    .map(([, from = '0', to = '0', path = '']) => ({
      start: Number.parseInt(from, 16),
      end: Number.parseInt(to, 16),
      path,
    }));

const PAGE_BYTES = 4_096;
/** Of proc(5)'s pagemap: present, or swapped out. */
const IS_THERE = 0b1100_0000;
const ENTRY_BYTES = 8;

function pagesOf(pid: number, { start, end, path }: Region): Haystack[] {
  const map = readAt(`/proc/${pid}/pagemap`, (start / PAGE_BYTES) * ENTRY_BYTES, ((end - start) / PAGE_BYTES) * 8);
  const pages = map.length / ENTRY_BYTES;
  const isThere = (page: number): boolean => ((map[page * ENTRY_BYTES + 7] ?? 0) & IS_THERE) !== 0;
  const runs: Haystack[] = [];
  for (let page = 0; page < pages; page++) {
    if (!isThere(page)) continue;
    const first = page;
    while (page < pages && isThere(page)) page++;
    const from = start + first * PAGE_BYTES;
    const bytes = readAt(`/proc/${pid}/mem`, from, (page - first) * PAGE_BYTES);
    runs.push({ kind: 'memory', name: `${from.toString(16)} ${path}`.trim(), bytes });
  }
  return runs;
}

function readAt(path: string, offset: number, length: number): Uint8Array {
  const file = openSync(path, 'r');
  const bytes = Buffer.alloc(length);
  let read = 0;
  try {
    while (read < length) {
      const more = readSync(file, bytes, read, length - read, offset + read);
      if (more === 0) break;
      read += more;
    }
  } catch (error) {
    // A mapped file that became shorter, a page of a device: what lies before was read.
    if (!['EIO', 'EFAULT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    closeSync(file);
  }
  return bytes.subarray(0, read);
}

/** Every file below a folder. */
export const filesOf = (folder: string): Haystack[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((name) => ({ kind: 'files', name, bytes: readFileSync(name) }));

/** Every file that the process has open, wherever it lies, and those that have no name any more. */
export function openFilesOf(pid: number): Haystack[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((number): Haystack[] => {
    const path = join(folder, number);
    if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return [];
    return [{ kind: 'files', name: readlinkSync(path), bytes: readFileSync(path) }];
  });
}

export interface Wiretap {
  readonly url: string;
  /** What is between: to be said before anybody connects. */
  target(port: number): void;
  /** All that went either way so far; frames of WebSockets as they were before their masks. */
  heard(): Haystack[];
  close(): Promise<void>;
}

/** A port on loopback that passes everything on and keeps it. */
export async function startWiretap(kind: Kind): Promise<Wiretap> {
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
        { kind, name: `${i}, up`, bytes: unmasked(Buffer.concat(up)) },
        { kind, name: `${i}, down`, bytes: Buffer.concat(down) },
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
