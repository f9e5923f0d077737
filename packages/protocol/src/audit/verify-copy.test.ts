/** What can be done to a copy of an audit log, one thing after the other, and what is said of it. */
import { beforeAll, describe, expect, test } from 'vitest';
import { hex } from '../bytes.ts';
import { signStatement } from '../identity/signed.ts';
import { idOfKey } from '../ids.ts';
import { nodeCrypto } from '../node/index.ts';
import type { KeyPair } from '../ports.ts';
import { createSeededRandom } from '../testing/index.ts';
import { copyLines, type AuditOwner, type PlacedHead } from './copy.ts';
import { auditGenesis, auditHash, type AuditRecord } from './entry.ts';
import { openAuditHead, signAuditHead, type AuditHead } from './head.ts';
import { createFrontier, leafHash, proveInclusion, type ReadSubtree, nodeHash } from './merkle.ts';
import { entryProofJson, verifyEntryProof } from './proof.ts';
import { verifyCopy, type KnownLog } from './verify-copy.ts';

const START_MS = 1_800_000_000_000;
const seeds = createSeededRandom(7);
let territory: KeyPair;
let hub: KeyPair;
let stranger: KeyPair;
let owner: AuditOwner;
let certificate: Uint8Array;

const certify = (of: KeyPair, by: KeyPair, expiresAtMs = START_MS + 1_000_000): Promise<Uint8Array> =>
  signStatement(
    'hub-certificate',
    { v: 1, territory: by.publicKey, hub: of.publicKey, issuedAtMs: START_MS, expiresAtMs },
    by,
    nodeCrypto,
  );

beforeAll(async () => {
  territory = await nodeCrypto.signingKey(seeds.bytes(32));
  hub = await nodeCrypto.signingKey(seeds.bytes(32));
  stranger = await nodeCrypto.signingKey(seeds.bytes(32));
  owner = { id: await idOfKey('ter', territory.publicKey, nodeCrypto), key: territory.publicKey };
  certificate = await certify(hub, territory);
});

type Facts = Pick<AuditRecord, 'subject'>;

/** A log of so many entries; `change` makes another of it from there on. */
async function logOf(count: number, change: (seq: number) => Partial<Facts> = () => ({})): Promise<AuditRecord[]> {
  const entries: AuditRecord[] = [];
  let previous = await auditGenesis(owner.id, nodeCrypto);
  for (let seq = 1; seq <= count; seq++) {
    const facts = { seq, atMs: START_MS + seq, actor: 'key_s', action: 'revokeKey', subject: `key_${seq}` };
    const entry = { ...facts, details: '{"name":"ada"}', ...change(seq), previous };
    previous = await auditHash(entry, nodeCrypto);
    entries.push({ ...entry, hash: previous });
  }
  return entries;
}

async function headOf(
  entries: readonly AuditRecord[],
  more: Partial<AuditHead> = {},
  signer: KeyPair = hub,
  by: Uint8Array = certificate,
): Promise<PlacedHead> {
  const frontier = createFrontier(nodeCrypto);
  for (const { hash } of entries) await frontier.push(await leafHash(hash, nodeCrypto));
  const size = entries.length;
  const lastHash = (entries.at(-1) as AuditRecord).hash;
  const head = { territory: owner.key, size, root: await frontier.root(), lastHash, atMs: START_MS + size, epoch: 1 };
  return { size, statement: await signAuditHead({ ...head, ...more }, signer, nodeCrypto), certificate: by };
}

async function* each<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items;
}
async function collect(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all;
}
const linesOf = (entries: readonly AuditRecord[], heads: readonly PlacedHead[]): Promise<string[]> =>
  collect(copyLines({ owner, heads, entries: each(entries) }));
/** Of ten entries, with heads after the fourth and the last. */
async function copyOf(entries: readonly AuditRecord[]): Promise<string[]> {
  return linesOf(entries, [await headOf(entries.slice(0, 4)), await headOf(entries, { epoch: 2 })]);
}
const findings = async (lines: readonly string[], older?: KnownLog) =>
  (await verifyCopy(lines, nodeCrypto, { older })).findings.map(({ kind, seq }) => [kind, seq]);
const known = async (lines: readonly string[]): Promise<KnownLog> => {
  const verdict = await verifyCopy(lines, nodeCrypto, { keep: true });
  expect(verdict.findings).toEqual([]);
  return verdict.known as KnownLog;
};
const entryAt = (lines: readonly string[], seq: number): number =>
  lines.findIndex((line) => line.startsWith(`{"t":"entry","seq":${seq},`));
const without = (lines: readonly string[], seq: number): string[] => lines.toSpliced(entryAt(lines, seq), 1);
/** The last line made to fit what is there. */
function recount(lines: readonly string[]): string[] {
  const count = (t: string): number => lines.filter((line) => line.startsWith(`{"t":"${t}"`)).length;
  return [...lines.slice(0, -1), JSON.stringify({ t: 'end', entries: count('entry'), heads: count('head') })];
}

test('a copy holds, says whose it is and up to where its hub signed', async () => {
  const lines = await copyOf(await logOf(10));
  const verdict = await verifyCopy(lines, nodeCrypto, { community: owner.id });
  expect(verdict).toMatchObject({ intact: true, findings: [], entries: 10, heads: 2, owner: { id: owner.id } });
  expect(verdict.head).toMatchObject({ size: 10, epoch: 2 });
  const other = await verifyCopy(lines, nodeCrypto, { community: 'ter_other' });
  expect(other.findings[0]).toMatchObject({ kind: 'malformed', why: expect.stringContaining('ter_other') });
});

test('entries after the last head are chained, and known to be signed by nobody yet', async () => {
  const entries = await logOf(6);
  const verdict = await verifyCopy(await linesOf(entries, [await headOf(entries.slice(0, 4))]), nodeCrypto);
  expect(verdict).toMatchObject({ intact: true, entries: 6, head: { size: 4 } });
});

describe('an entry', () => {
  test.each(['seq', 'atMs', 'actor', 'action', 'subject', 'details', 'previous', 'hash'] as const)(
    'whose %s was changed is named',
    async (field) => {
      const lines = await copyOf(await logOf(10));
      const at = entryAt(lines, 7);
      const line = JSON.parse(lines[at] as string) as Record<string, string | number>;
      const was = line[field] as string | number;
      const is = typeof was === 'number' ? was + 100 : was.replace(/./, (first) => (first === 'a' ? 'b' : 'a'));
      lines[at] = JSON.stringify({ ...line, [field]: is });
      const found = await findings(lines);
      const named = field === 'seq' ? ['changed', 107] : ['changed', 7];
      expect(found).toContainEqual(named);
    },
  );

  test('that was removed, moved, doubled or put in from elsewhere is named', async () => {
    const lines = await copyOf(await logOf(10));
    expect(await findings(recount(without(lines, 7)))).toEqual([['removed', 7]]);
    expect(await findings(recount(without(without(lines, 7), 8)))).toEqual([['removed', 7]]);
    expect(await findings(without(lines, 7))).toEqual([
      ['cut', undefined],
      ['removed', 7],
    ]);
    const [five, six] = [entryAt(lines, 5), entryAt(lines, 6)];
    const swapped = lines.with(five, lines[six] as string).with(six, lines[five] as string);
    expect(await findings(swapped)).toContainEqual(['reordered', 5]);
    const doubled = recount(lines.toSpliced(six, 0, lines[five] as string));
    expect(await findings(doubled)).toEqual([['duplicated', 5]]);
    const foreign = await copyOf(await logOf(10, (seq) => (seq < 6 ? {} : { subject: 'key_x' })));
    const put = lines.with(entryAt(lines, 7), foreign[entryAt(foreign, 7)] as string);
    expect(await findings(put)).toEqual([
      ['unlinked', 7],
      ['unlinked', 8],
    ]);
    expect(await findings(lines.toSpliced(entryAt(lines, 1), 1))).toContainEqual(['removed', 1]);
  });

  test('that was changed, and all after it made to fit, is found by the next head', async () => {
    const entries = await logOf(10);
    const rewritten = await logOf(10, (seq) => (seq === 3 ? { subject: 'key_x' } : {}));
    const heads = [await headOf(entries.slice(0, 2)), await headOf(entries.slice(0, 4)), await headOf(entries)];
    expect(await findings(await linesOf(rewritten, heads))).toEqual([
      ['rewritten', 3],
      ['rewritten', 3],
    ]);
  });
});

test('a copy that was cut off is found by its last line, by a head, and by an older copy', async () => {
  const entries = await logOf(10);
  const lines = await copyOf(entries);
  expect(await findings(lines.slice(0, -1))).toEqual([['cut', undefined]]);
  const short = recount(lines.filter((_, at) => at < entryAt(lines, 9) || at >= lines.length - 2));
  expect(await findings(short)).toEqual([['cut', 9]]);
  const fewer = await linesOf(entries.slice(0, 6), [await headOf(entries.slice(0, 4))]);
  expect(await findings(fewer)).toEqual([]);
  expect(await findings(fewer, await known(lines))).toEqual([
    ['cut', 7],
    ['cut', 7],
  ]);
});

test('a log that its own hub rewrote is found by an older copy, and by an older head alone', async () => {
  const entries = await logOf(10);
  const older = await copyOf(entries);
  const grown = await copyOf(await logOf(14));
  expect(await findings(grown, await known(older))).toEqual([]);
  const rewritten = await copyOf(await logOf(14, (seq) => (seq === 8 ? { subject: 'key_x' } : {})));
  expect(await findings(rewritten)).toEqual([]);
  expect(await findings(rewritten, await known(older))).toEqual([['forked', 8]]);
  const head = await collect(copyLines({ owner, heads: [await headOf(entries)] }));
  expect(await findings(grown, await known(head))).toEqual([]);
  expect(await findings(rewritten, await known(head))).toEqual([['forked', 5]]);
});

test('two heads of one size that differ show a fork, whichever of the logs is here', async () => {
  const entries = await logOf(10);
  const other = await logOf(10, (seq) => (seq === 8 ? { subject: 'key_x' } : {}));
  const lines = await linesOf(entries, [await headOf(entries), await headOf(other)]);
  const kinds = (await findings(lines)).map(([kind]) => kind);
  expect(kinds).toEqual(['forked', 'rewritten']);
});

describe('a head', () => {
  test('by a wrong key, under a wrong certificate or of another community counts for nothing', async () => {
    const entries = await logOf(4);
    const wrong = [
      headOf(entries, {}, stranger),
      headOf(entries, {}, stranger, await certify(stranger, stranger)),
      headOf(entries, { territory: stranger.publicKey }),
      headOf(entries, {}, hub, await certify(hub, territory, START_MS + 1)),
    ];
    for (const head of await Promise.all(wrong)) {
      const verdict = await verifyCopy(await linesOf(entries, [head]), nodeCrypto);
      expect(verdict.findings.map(({ kind }) => kind)).toEqual(['head']);
      expect(verdict.head).toBeUndefined();
      await expect(openAuditHead(head, owner.key, nodeCrypto)).rejects.toMatchObject({ code: 'signature_invalid' });
    }
  });

  test('by an older epoch, or out of its place, is blamed', async () => {
    const entries = await logOf(6);
    const stale = [await headOf(entries.slice(0, 4), { epoch: 3 }), await headOf(entries, { epoch: 2 })];
    expect(await findings(await linesOf(entries, stale))).toEqual([['head', undefined]]);
    const [first, second] = [await headOf(entries.slice(0, 2)), await headOf(entries.slice(0, 4))];
    const lines = await linesOf(entries, [first, second]);
    const at = lines.findIndex((line) => line.startsWith('{"t":"head"'));
    expect(
      await findings([...lines.toSpliced(at, 1).slice(0, -1), lines[at] as string, lines.at(-1) as string]),
    ).toEqual([
      ['head', undefined],
      ['head', undefined],
    ]);
  });

  test('signed by a later hub of the territory goes on from the one before', async () => {
    const entries = await logOf(6);
    const next = await headOf(entries, { epoch: 2 }, stranger, await certify(stranger, territory));
    expect(await findings(await linesOf(entries, [await headOf(entries.slice(0, 4)), next]))).toEqual([]);
  });
});

test('what is no copy is refused in words', async () => {
  const lines = await copyOf(await logOf(2 + 8));
  const kinds = async (of: readonly string[]): Promise<unknown> => (await findings(of)).map(([kind]) => kind);
  expect(await kinds([])).toEqual(['malformed']);
  expect(await kinds(['{}', 'x', '[1'])).toEqual(['malformed', 'malformed', 'malformed', 'malformed']);
  expect(await kinds([lines[0] as string, ...lines])).toEqual(['malformed']);
  expect(await kinds([...lines, lines[1] as string])).toEqual(['malformed']);
  expect(await kinds([(lines[0] as string).replace(owner.id, `${owner.id}x`), ...lines.slice(1)])).toEqual([
    'malformed',
  ]);
  const many = await verifyCopy(
    Array.from({ length: 100 }, () => 'x'),
    nodeCrypto,
  );
  expect(many.findings).toHaveLength(32);
});

test('one entry can be proved alone, and nothing that was changed in it or around it', async () => {
  const entries = await logOf(9);
  const head = await headOf(entries);
  const read: ReadSubtree = async ({ level, index }) =>
    level === 0
      ? leafHash((entries[index] as AuditRecord).hash, nodeCrypto)
      : nodeHash(
          await read({ level: level - 1, index: 2 * index }),
          await read({ level: level - 1, index: 2 * index + 1 }),
          nodeCrypto,
        );
  const entry = entries[5] as AuditRecord;
  const proof = { owner, entry, head, path: await proveInclusion(5, 9, read, nodeCrypto) };
  const json = JSON.parse(JSON.stringify(entryProofJson(proof))) as Record<string, unknown>;
  const proved = await verifyEntryProof(json, nodeCrypto, owner.id);
  expect(proved).toMatchObject({ entry: { seq: 6, subject: 'key_6' }, head: { size: 9 }, owner: { id: owner.id } });
  const forged = { ...(json.entry as object), subject: 'key_x' } as AuditRecord & Record<string, unknown>;
  const refitted = { ...entry, subject: 'key_x' };
  const wrong = [
    { entry: forged },
    { entry: { ...forged, hash: hex(await auditHash(refitted, nodeCrypto)) } },
    { path: [] },
    { head: entryProofJson({ ...proof, head: await headOf(entries, {}, stranger) }).head },
    { territory: { id: owner.id, key: hex(stranger.publicKey) } },
    { t: 'entry' },
  ];
  for (const change of wrong) {
    await expect(verifyEntryProof({ ...json, ...change }, nodeCrypto)).rejects.toMatchObject({ code: 'audit_broken' });
  }
  await expect(verifyEntryProof(json, nodeCrypto, 'ter_other')).rejects.toMatchObject({ code: 'audit_broken' });
});
