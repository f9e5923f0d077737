/** The audit log goes where its territory goes: a restored or moved one goes on from the same entries and heads. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { copyLines, openAuditHead, verifyCopy, type AuditRecord, type KnownLog } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, expect, test } from 'vitest';
import { sharedPostgres } from '../testing/shared-postgres.ts';
import { backUp } from './back-up.ts';
import { restore } from './restore.ts';
import { QUOTA_BYTES, makePlace, startIn, type HubInPlace, type PlaceKind } from './testing/places.ts';

const home = mkdtempSync(join(tmpdir(), 'idlewild-audit-log-'));
const postgres = await sharedPostgres();
afterAll(async () => {
  await postgres?.stop();
  rmSync(home, { recursive: true, force: true });
});
const common = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom, signal: new AbortController().signal };
const elsewhere: PlaceKind = postgres === undefined ? 'folder' : 'PostgreSQL';

async function* entriesOf({ door: { hub } }: HubInPlace): AsyncGenerator<AuditRecord> {
  for (let afterSeq = 0; ;) {
    const page = await hub.audit.records({ territory: hub.territory.id, afterSeq });
    yield* page;
    if (page.length === 0) return;
    afterSeq += page.length;
  }
}
async function verified(place: HubInPlace, older?: KnownLog) {
  const { territory, auditDesk } = place.door.hub;
  await auditDesk.heads.write();
  const owner = { id: territory.id, key: territory.publicKey };
  const lines = copyLines({ owner, heads: await auditDesk.heads.list(), entries: entriesOf(place) });
  return verifyCopy(lines, nodeCrypto, { older, keep: true });
}
async function signer({ door: { hub } }: HubInPlace) {
  const newest = await hub.auditDesk.heads.newest();
  if (newest === undefined) throw new Error('no head is signed');
  return openAuditHead(newest, hub.territory.publicKey, nodeCrypto);
}
async function act({ door: { hub } }: HubInPlace, count: number): Promise<void> {
  const event = { territory: hub.territory.id, actor: 'test', action: 'touch', subject: 'something' };
  const events = Array.from({ length: count }, () => event);
  await hub.db.transaction().execute((transaction) => hub.audit.appendAll(transaction, events));
}

test.each(['backup', 'territory'] as const)(
  'a %s takes entries and heads along, and they go on there',
  async (kind) => {
    const from = await startIn(await makePlace('folder', home, postgres));
    await act(from, 300);
    const before = await verified(from);
    expect(before).toMatchObject({ intact: true, heads: expect.any(Number) });
    const hubBefore = await signer(from);
    const file = join(home, `${kind}.idlewild`);
    await backUp({ ...common, place: from.place, file, kind });
    await from.close();

    const place = await makePlace(elsewhere, home, postgres);
    await restore({ ...common, place, file, kind, quotaBytes: QUOTA_BYTES });
    const to = await startIn(place);
    await act(to, 300);
    const after = await verified(to, before.known);
    expect(after.findings).toEqual([]);
    expect(after.entries).toBeGreaterThanOrEqual(before.entries + 300);
    const hubAfter = await signer(to);
    expect(hubAfter.size).toBe(after.entries);
    expect(hubAfter.epoch).toBeGreaterThan(hubBefore.epoch);
    // A territory that moved has another hub, for which it vouches as well.
    expect(Buffer.from(hubAfter.hub).equals(hubBefore.hub)).toBe(kind === 'backup');
    await to.close();
  },
);
