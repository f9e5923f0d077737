/**
 * Holds a copy of an audit log against itself, against the heads that its hub signed, and against an older copy.
 *
 * Three things are looked at. The chain: each entry must hold the hash of the one before, which finds what was changed,
 * removed, added twice or moved, and names it. The heads: where somebody changed an entry and made all later ones fit,
 * the tree's root at the next head is another than the hub signed; and where the end was cut off, a head has more
 * entries than there are. The older copy: what it has must be here unchanged, which finds a log that was rewritten by
 * somebody who holds the hub's key, and names the first entry that is another. Nothing is believed that is not signed
 * under the territory's key; entries after the last head are chained, and nobody vouches for them yet.
 *
 * It reads a copy once, line by line, and keeps 32 bytes of each entry only where they are asked for.
 */
import { equalBytes, hex } from '../bytes.ts';
import { messageOf } from '../errors.ts';
import { idOfKey } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto } from '../ports.ts';
import { parseCopyLine, type AuditOwner, type CopyLine } from './copy.ts';
import { auditGenesis, auditHash, type AuditRecord } from './entry.ts';
import { openAuditHead, type AuditHead, type CarriedHead } from './head.ts';
import { createFrontier, leafHash } from './merkle.ts';

export const FINDINGS = [
  'malformed',
  'changed',
  'removed',
  'reordered',
  'duplicated',
  'unlinked',
  'rewritten',
  'forked',
  'cut',
  'head',
] as const;
export type FindingKind = (typeof FINDINGS)[number];

export interface Finding {
  readonly kind: FindingKind;
  /** The entry in question, where it is one. */
  readonly seq?: number;
  readonly why: string;
}

/** What a copy is held against later. */
export interface KnownLog {
  readonly owner: AuditOwner;
  readonly entries: number;
  /** Hash of entry `seq`; `undefined` for one that it does not have. */
  hashOf(seq: number): Uint8Array | undefined;
  readonly heads: readonly AuditHead[];
}

export interface CopyVerdict {
  readonly intact: boolean;
  /** The first ones, at most `LIMITS.auditFindingsMax`. */
  readonly findings: readonly Finding[];
  readonly owner: AuditOwner | undefined;
  readonly entries: number;
  readonly heads: number;
  /** The verified head with the most entries. */
  readonly head: (AuditHead & CarriedHead) | undefined;
  readonly known: KnownLog | undefined;
}

export interface VerifyOptions {
  /** Whose log it must be. */
  readonly community?: string | undefined;
  readonly older?: KnownLog | undefined;
  /** Whether hashes are kept for `known`. */
  readonly keep?: boolean;
}

type Lines = AsyncIterable<string> | Iterable<string>;

export async function verifyCopy(lines: Lines, crypto: Crypto, options: VerifyOptions = {}): Promise<CopyVerdict> {
  const findings: Finding[] = [];
  const blame = (kind: FindingKind, why: string, seq?: number): void => {
    if (findings.length < LIMITS.auditFindingsMax) findings.push({ kind, why, ...(seq === undefined ? {} : { seq }) });
  };
  const copy = createReading(crypto, options, blame);
  let number = 0;
  for await (const text of lines) {
    number++;
    if (text.trim() === '') continue;
    const line = readLine(text, number, blame);
    if (line !== undefined) await copy.read(line, number);
  }
  return { ...(await copy.finish()), intact: findings.length === 0, findings };
}

type Blame = (kind: FindingKind, why: string, seq?: number) => void;

function readLine(text: string, number: number, blame: Blame): CopyLine | undefined {
  try {
    return parseCopyLine(text);
  } catch (error) {
    blame('malformed', `line ${number} cannot be read: ${messageOf(error)}`);
    return undefined;
  }
}

function createReading(crypto: Crypto, { community, older, keep = false }: VerifyOptions, blame: Blame) {
  let owner: AuditOwner | undefined;
  let ended: Extract<CopyLine, { t: 'end' }> | undefined;
  let heads = 0;
  const hashes = keep ? createHashes() : undefined;
  const chain = createChain(crypto, blame, older, hashes);
  const vouched = createHeads(crypto, blame, chain);

  async function readOwner(line: Extract<CopyLine, { t: 'territory' }>): Promise<void> {
    if (owner !== undefined) return blame('malformed', 'it names a community twice');
    const id = await idOfKey('ter', line.key, crypto);
    if (id !== line.id) blame('malformed', `its community is named ${line.id}, and its key is that of ${id}`);
    if (community !== undefined && community !== id) blame('malformed', `it is the log of ${id}, not of ${community}`);
    if (older !== undefined && older.owner.id !== id) {
      blame('malformed', `it is the log of ${id}, and the older copy is one of ${older.owner.id}`);
    }
    owner = { id, key: line.key };
    await chain.begin(id);
    for (const head of older?.heads ?? []) vouched.expect(head, 'the older copy');
  }

  return {
    async read(line: CopyLine, number: number): Promise<void> {
      if (line.t === 'territory') return readOwner(line);
      if (owner === undefined) return blame('malformed', `line ${number} stands before the name of the community`);
      if (ended !== undefined) return blame('malformed', `line ${number} stands after the end`);
      if (line.t === 'end') {
        ended = line;
      } else if (line.t === 'head') {
        heads++;
        await vouched.read(line, owner.key, number);
      } else {
        await chain.read(line);
        await vouched.atSize(line.seq);
      }
    },
    async finish(): Promise<Omit<CopyVerdict, 'intact' | 'findings'>> {
      const entries = chain.count();
      if (owner === undefined) blame('malformed', 'it is no copy of an audit log: it names no community');
      else if (ended === undefined) blame('cut', `it breaks off after entry ${chain.last()}: its last line is missing`);
      else if (ended.entries !== entries || ended.heads !== heads) {
        blame(
          'cut',
          `it says that it has ${ended.entries} entries and ${ended.heads} heads: ${entries} and ${heads} are there`,
        );
      }
      chain.finish();
      if (entries > 0 || older !== undefined) vouched.finish(older);
      const known: KnownLog | undefined = owner && {
        owner,
        entries,
        hashOf: (seq) => hashes?.at(seq),
        heads: vouched.verified(),
      };
      return { owner, entries, heads, head: vouched.newest(), known };
    },
  };
}

/** The entries as they come, each held against the one before, and the tree over those that follow without a break. */
function createChain(crypto: Crypto, blame: Blame, older: KnownLog | undefined, hashes: Hashes | undefined) {
  const frontier = createFrontier(crypto);
  let previous: Uint8Array | undefined;
  let last = 0;
  let count = 0;
  let isWhole = true;
  let isForked = false;
  /** Entries that were passed over, as first and last of a gap; most of them show up later or never. */
  const gaps: { from: number; to: number }[] = [];

  const broken: Blame = (kind, why, seq) => {
    isWhole = false;
    blame(kind, why, seq);
  };

  function outOfOrder({ seq }: AuditRecord): void {
    const gap = gaps.findIndex(({ from, to }) => seq >= from && seq <= to);
    const { from, to } = gaps[gap] ?? { from: 0, to: -1 };
    if (gap === -1) return broken('duplicated', `entry ${seq} is there twice`, seq);
    broken('reordered', `entry ${seq} stands after entry ${last}`, seq);
    gaps.splice(
      gap,
      1,
      ...[
        { from, to: seq - 1 },
        { from: seq + 1, to },
      ].filter((rest) => rest.from <= rest.to),
    );
  }

  async function follows(entry: AuditRecord): Promise<void> {
    const { seq } = entry;
    if (seq > last + 1) {
      isWhole = false;
      gaps.push({ from: last + 1, to: seq - 1 });
    } else if (previous !== undefined && !equalBytes(entry.previous, previous)) {
      const before = seq === 1 ? 'the id of its community' : `entry ${last}`;
      broken('unlinked', `entry ${seq} does not follow from ${before}: the one or the other was put in its place`, seq);
    }
    last = seq;
    previous = entry.hash;
    if (isWhole) await frontier.push(await leafHash(entry.hash, crypto));
  }

  function compare({ seq, hash }: AuditRecord): void {
    const known = older?.hashOf(seq);
    if (isForked || known === undefined || equalBytes(known, hash)) return;
    isForked = true;
    blame('forked', `entry ${seq} is another than in the older copy: the log was rewritten from there on`, seq);
  }

  return {
    async begin(territory: string): Promise<void> {
      previous = await auditGenesis(territory, crypto);
    },
    async read(entry: AuditRecord): Promise<void> {
      count++;
      if (!equalBytes(entry.hash, await auditHash(entry, crypto))) {
        broken('changed', `entry ${entry.seq} was changed: its hash is another than it says`, entry.seq);
      }
      compare(entry);
      if (entry.seq <= last) outOfOrder(entry);
      else await follows(entry);
      hashes?.add(entry.seq, entry.hash);
    },
    finish(): void {
      for (const { from, to } of gaps) {
        blame('removed', from === to ? `entry ${from} is missing` : `entries ${from} to ${to} are missing`, from);
      }
    },
    count: () => count,
    last: () => last,
    isForked: () => isForked,
    lastHash: () => previous,
    /** Where the tree stands; `undefined` once the chain is broken, which is blamed already. */
    frontier: () => (isWhole ? frontier : undefined),
  };
}
type Chain = ReturnType<typeof createChain>;

/** The heads: who signed them, and whether the tree had the root that they say, at the size that they say. */
function createHeads(crypto: Crypto, blame: Blame, chain: Chain) {
  /** By size; those that are beyond what was read so far wait. */
  const waiting = new Map<number, { readonly head: AuditHead; readonly from: string }[]>();
  const bySize = new Map<number, AuditHead>();
  const verified: AuditHead[] = [];
  let newest: (AuditHead & CarriedHead) | undefined;
  /** What the last head that holds vouches for. */
  let heldTo = 0;

  function expect(head: AuditHead, from: string): void {
    const other = bySize.get(head.size);
    if (other !== undefined && !equalBytes(other.root, head.root)) {
      blame(
        'forked',
        `two heads of ${head.size} entries differ: the hub signed two logs (${said(other)}; ${said(head)})`,
      );
    }
    bySize.set(head.size, head);
    const group = waiting.get(head.size) ?? [];
    group.push({ head, from });
    waiting.set(head.size, group);
  }

  async function check(head: AuditHead, from: string): Promise<void> {
    const frontier = chain.frontier();
    if (frontier === undefined || frontier.size !== head.size) return;
    const holds = equalBytes(await frontier.root(), head.root);
    if (holds && equalBytes(head.lastHash, chain.lastHash() as Uint8Array)) {
      heldTo = Math.max(heldTo, head.size);
    } else if (!chain.isForked()) {
      const kind = from === 'it' ? 'rewritten' : 'forked';
      const where = `one of the entries ${heldTo + 1} to ${head.size} is not what the hub signed`;
      blame(kind, `${where} (${said(head)}, in ${from === 'it' ? 'this copy' : from})`, heldTo + 1);
    }
  }

  return {
    expect,
    async read(line: CarriedHead, territory: Uint8Array, number: number): Promise<void> {
      let head: AuditHead;
      try {
        head = await openAuditHead(line, territory, crypto);
      } catch (error) {
        return blame('head', `the head in line ${number} is not of this community: ${messageOf(error)}`);
      }
      const before = verified.at(-1);
      verified.push(head);
      if (before !== undefined && head.size < before.size) {
        blame('head', `the head in line ${number} has ${head.size} entries, and stands after one of ${before.size}`);
      } else if (before !== undefined && head.epoch < before.epoch) {
        const words = `was signed in epoch ${head.epoch}, after one of epoch ${before.epoch}`;
        blame('head', `the head in line ${number} ${words}: its hub had lost the right to sign`);
      }
      if (newest === undefined || head.size >= newest.size) newest = { ...head, ...line };
      expect(head, 'it');
      if (head.size <= chain.last()) await this.atSize(chain.last());
    },
    /** The chain has come to entry `seq`. */
    async atSize(seq: number): Promise<void> {
      const due = waiting.get(seq);
      if (due === undefined) return;
      waiting.delete(seq);
      for (const { head, from } of due) await check(head, from);
    },
    finish(older: KnownLog | undefined): void {
      const last = chain.last();
      for (const group of waiting.values()) {
        for (const { head, from } of group) {
          if (head.size <= last) {
            if (chain.frontier() === undefined) continue;
            blame('head', `a head of ${head.size} entries does not stand after the entry that it ends with`);
          } else {
            const kept = from === 'it' ? 'a head' : `a head of ${from}`;
            const missing = `entries ${last + 1} to ${head.size} are missing`;
            blame('cut', `${missing}: ${kept} vouches for ${head.size} (${said(head)})`, last + 1);
          }
        }
      }
      const entries = older?.entries ?? 0;
      if (entries > last)
        blame('cut', `entries ${last + 1} to ${entries} are missing: the older copy has them`, last + 1);
    },
    verified: () => verified,
    newest: () => newest,
  };
}

const said = ({ atMs, root }: AuditHead): string =>
  `signed ${new Date(atMs).toISOString()}, root ${hex(root).slice(0, 16)}…`;

interface Hashes {
  add(seq: number, hash: Uint8Array): void;
  at(seq: number): Uint8Array | undefined;
}

const HASH_BYTES = 32;

/** Of entries 1 to n, in one piece: an array of a million arrays would take four times as much. */
function createHashes(): Hashes {
  let bytes = new Uint8Array(HASH_BYTES * 1_024);
  let count = 0;
  return {
    add(seq, hash) {
      // What is out of its order is blamed elsewhere; a number out of the blue must not cost memory here.
      if (seq !== count + 1) return;
      if (seq * HASH_BYTES > bytes.length) {
        const larger = new Uint8Array(bytes.length * 2);
        larger.set(bytes);
        bytes = larger;
      }
      bytes.set(hash, count * HASH_BYTES);
      count = seq;
    },
    at: (seq) => (seq <= count ? bytes.slice((seq - 1) * HASH_BYTES, seq * HASH_BYTES) : undefined),
  };
}
