import { createHash } from 'node:crypto';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import type { OpenDatabase } from '../db/open.ts';
import { testDatabases } from '../testing/databases.ts';
import { createKeys } from './keys.ts';
import { addTerritories } from '../testing/territories.ts';

const territory = 'ter_a';
const actor = 'hub';

describe.each(await testDatabases())('with $kind', ({ open, openShared }) => {
  async function setUp(shared?: OpenDatabase) {
    const clock = createFakeClock(async () => {});
    const { db } = shared ?? (await open(clock));
    await addTerritories(db, territory, 'ter_b');
    const audit = createAudit({ db, crypto: nodeCrypto, clock });
    const keys = createKeys({ db, crypto: nodeCrypto, random: createSeededRandom(1), clock, audit });
    return { clock, db, audit, keys };
  }

  test('a new key is authenticated as who it was made for, again and again', async () => {
    const { keys } = await setUp();
    const { id, key, role } = await keys.create({ territory, role: 'caller', name: 'ada', actor });
    expect(key).toMatch(/^iw_[a-z2-7]{52}$/);
    expect(role).toBe('caller');
    for (let i = 0; i < 2; i++) {
      expect(await keys.authenticate(key)).toEqual({
        kind: 'key',
        keyId: id,
        territory,
        role: 'caller',
        name: 'ada',
        dataClass: 'internal',
      });
    }
  });

  test('the text of a key is nowhere in the database', async () => {
    const { db, keys } = await setUp();
    const { key } = await keys.create({ territory, role: 'steward', actor });
    const rows = [
      await db.selectFrom('keys').selectAll().execute(),
      await db.selectFrom('audit').selectAll().execute(),
    ];
    expect(JSON.stringify(rows)).not.toContain(key.slice(3));
  });

  test('a missing, a malformed and an unknown key are each refused by name', async () => {
    const { keys } = await setUp();
    const refusal = async (key: string | undefined) =>
      keys.authenticate(key).then(
        () => 'let in',
        (error: unknown) => (error as Error).message,
      );
    expect(await refusal(undefined)).toMatch(/no key was sent.*Authorization: Bearer/);
    expect(await refusal('')).toMatch(/no key was sent/);
    expect(await refusal('sk-123')).toMatch(/not a key/);
    expect(await refusal(`iw_${'a'.repeat(52)}`)).toMatch(/unknown here/);
    await expect(keys.authenticate(undefined)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('a key stops at the moment it expires, even when it was used just before', async () => {
    const { clock, keys } = await setUp();
    const { key } = await keys.create({ territory, role: 'caller', expiresInMs: 1_000, actor });
    await clock.advance(999);
    await keys.authenticate(key);
    await clock.advance(1);
    const refusal = { code: 'unauthenticated', message: expect.stringMatching(/expired at 20/) };
    await expect(keys.authenticate(key)).rejects.toMatchObject(refusal);
    await clock.advance(10_000);
    await expect(keys.authenticate(key)).rejects.toThrow(/expired/);
  });

  test('a key revoked here stops at once', async () => {
    const { keys } = await setUp();
    const { id, key } = await keys.create({ territory, role: 'caller', actor });
    await keys.authenticate(key);
    await keys.revoke({ territory, id, actor });
    await expect(keys.authenticate(key)).rejects.toThrow(/was revoked/);
    await keys.revoke({ territory, id, actor });
  });

  test('a key revoked through another process stops within half a second', async () => {
    const [one, other] = await openShared(2);
    const here = await setUp(one);
    const there = await setUp(other);
    const { id, key } = await here.keys.create({ territory, role: 'caller', actor });
    await here.keys.authenticate(key);
    await there.keys.revoke({ territory, id, actor });
    await here.clock.advance(500);
    await expect(here.keys.authenticate(key)).rejects.toThrow(/was revoked/);
  });

  test('a key in use costs no query between two readings', async () => {
    const { clock, db, keys } = await setUp();
    const { key } = await keys.create({ territory, role: 'caller', actor });
    await keys.authenticate(key);
    await db.deleteFrom('keys').execute();
    await clock.advance(499);
    await keys.authenticate(key);
    await clock.advance(1);
    await expect(keys.authenticate(key)).rejects.toThrow(/unknown/);
  });

  test('more keys in use than are remembered are all answered', async () => {
    const { db, keys } = await setUp();
    const { key } = await keys.create({ territory, role: 'caller', actor });
    await keys.authenticate(key);
    const template = await db.selectFrom('keys').selectAll().executeTakeFirstOrThrow();
    const digits = (index: number) => index.toString(4).replaceAll('0', 'a').replaceAll('1', 'b');
    const texts = Array.from({ length: 4_200 }, (_, index) => `iw_${digits(index).padStart(52, 'a')}`);
    const hashes = texts.map((text) => createHash('sha256').update(text).digest('hex'));
    for (let from = 0; from < hashes.length; from += 600) {
      const rows = hashes
        .slice(from, from + 600)
        .map((hash, index) => ({ ...template, id: `key_${from + index}`, hash }));
      await db.insertInto('keys').values(rows).execute();
    }
    for (const text of texts) await keys.authenticate(text);
    expect((await keys.authenticate(key)).keyId).toBe(template.id);
  });

  test("a list shows a territory its own keys only, and nobody revokes another territory's", async () => {
    const { keys } = await setUp();
    const { id } = await keys.create({ territory, role: 'caller', name: 'ada', expiresInMs: 5, actor });
    const other = await keys.create({ territory: 'ter_b', role: 'caller', actor });
    expect(await keys.list(territory)).toEqual([
      {
        id,
        role: 'caller',
        name: 'ada',
        createdAtMs: expect.any(Number),
        expiresAtMs: expect.any(Number),
        dataClass: 'internal',
      },
    ]);
    await expect(keys.revoke({ territory, id: other.id, actor })).rejects.toMatchObject({ code: 'not_found' });
    await keys.authenticate(other.key);
  });

  test('making and revoking a key are in the audit log', async () => {
    const { audit, keys } = await setUp();
    const { id } = await keys.create({ territory, role: 'caller', actor: 'key_s' });
    await keys.revoke({ territory, id, actor: 'key_s' });
    await keys.revoke({ territory, id, actor: 'key_s' });
    const entries = await audit.list({ territory });
    expect(entries.map(({ actor: who, action, subject }) => [who, action, subject])).toEqual([
      ['key_s', 'revokeKey', id],
      ['key_s', 'createKey', id],
    ]);
  });

  test('a key has the limits that it was made with, until a steward gives it others', async () => {
    const { db, keys } = await setUp();
    const { id, key } = await keys.create({ territory, role: 'caller', actor, limits: { requestsPerMinute: 60 } });
    expect(await keys.authenticate(key)).toMatchObject({ requestsPerMinute: 60 });
    await keys.limit({ territory, id, tokensPerMinute: 1_000, actor });
    expect(await keys.authenticate(key)).toMatchObject({ requestsPerMinute: 60, tokensPerMinute: 1_000 });
    await keys.limit({ territory, id, requestsPerMinute: 'default', tokensPerMinute: 'none', actor });
    const principal = await keys.authenticate(key);
    expect(principal).toMatchObject({ tokensPerMinute: 'none' });
    expect(principal).not.toHaveProperty('requestsPerMinute');
    expect((await keys.list(territory))[0]).toMatchObject({ id, tokensPerMinute: 'none' });
    const acts = await db.selectFrom('audit').select(['action', 'subject']).where('action', '=', 'limitKey').execute();
    expect(acts).toEqual([
      { action: 'limitKey', subject: id },
      { action: 'limitKey', subject: id },
    ]);
  });

  test('a key of another territory gets no limit', async () => {
    const { keys } = await setUp();
    const { id } = await keys.create({ territory: 'ter_b', role: 'caller', actor });
    const limiting = keys.limit({ territory, id, requestsPerMinute: 1, actor });
    await expect(limiting).rejects.toMatchObject({ code: 'not_found' });
  });
});
