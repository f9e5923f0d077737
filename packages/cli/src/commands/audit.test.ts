/** `idlewild audit` against a real hub: what it prints, what it finds, and what it remembers of a hub. */
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { createClient } from '@idlewild/client';
import { expect, test, vi } from 'vitest';
import { EXIT } from '../exit-codes.ts';
import { run } from '../run.ts';
import { besideHub } from '../testing/called.ts';

const world = besideHub();
const { file, call } = world;
async function json<Body>(...words: string[]): Promise<Body> {
  const called = await call('audit', ...words, '--json');
  expect(called, called.said).toMatchObject({ code: EXIT.ok });
  return JSON.parse(called.out) as Body;
}
const act = (name: string): Promise<unknown> =>
  createClient({ hub: world.hub.url, key: world.key }).keys.create({ role: 'caller', name });

test('list shows what was done, newest first, without the text of a key', async () => {
  await act('ada');
  const { code, out: printed } = await call('audit', 'list');
  expect(code).toBe(EXIT.ok);
  expect(printed).toMatch(/NUMBER +WHEN +ACTOR/);
  expect(printed).toMatch(/ first steward +createKey +ada +.*name=ada/);
  expect(printed).not.toContain('iw_');
});

test('list finds entries by who, what, on what and when, by the names that people have', async () => {
  const client = createClient({ hub: world.hub.url, key: world.key });
  const key = await client.keys.create({ role: 'caller', name: 'Kay' });
  await client.keys.revoke(key.id);
  await createClient({ hub: world.hub.url, key: 'iw_unknown' })
    .status()
    .catch(() => {});
  interface Listed {
    readonly entries: readonly { readonly seq: number; readonly actor: string; readonly action: string }[];
    readonly next: number | null;
  }
  const actions = async (...words: string[]): Promise<string[]> =>
    (await json<Listed>('list', ...words)).entries.map(({ action }) => action);
  expect(await actions('--subject', 'Kay')).toEqual(['revokeKey', 'createKey']);
  expect(await actions('--subject', key.id, '--oldest', '--limit', '1')).toEqual(['createKey']);
  expect(await actions('--subject', 'Kay', '--action', 'revoke*', 'no*', '--since', '1h')).toEqual(['revokeKey']);
  expect(await actions('--subject', 'Kay', '--until', '1h')).toEqual([]);
  expect(await actions('--subject', 'Kay', '--since', '2100-01-01')).toEqual([]);
  await expect.poll(() => actions('--denied', '--actor', 'stranger')).toContain('denied');
  expect(new Set(await actions('--denied', '--limit', '3'))).toEqual(new Set(['denied']));

  // The page of a hub has 200.
  for (let at = 0; at < 3; at++) await act(`many${at}`);
  const all = await json<Listed>('list', '--limit', '10000');
  const some = await json<Listed>('list', '--limit', '2');
  expect(some.next).toBe(some.entries[1]?.seq);
  expect(all.next).toBeNull();
  const { out, said } = await call('audit', 'list', '--subject', 'Kay', '--limit', '1');
  expect(out).toMatch(
    /^NUMBER +WHEN +ACTOR +ACTION .*\n +\d+ +\d{4}-\d\d-\d\d \d\d:\d\d +first steward +revokeKey +Kay\n$/,
  );
  expect(said).toMatch(/1 entry; older ones: --before \d+/);
  const none = await call('audit', 'list', '--action', 'key.');
  expect(none).toMatchObject({ code: EXIT.ok, out: 'no entries\n' });
  expect(none.said).toMatch(/no entry has such an action; those that there are: .*createKey, .*revokeKey/);
  for (const wrong of [
    ['--since', 'soon'],
    ['--limit', '0'],
    ['--denied', '--action', 'used'],
    ['--until', '2026-13-01'],
  ])
    expect([wrong, (await call('audit', 'list', ...wrong)).code]).toEqual([wrong, EXIT.usage]);
});

test('a person is named with the keys that are hers, and --follow goes on with what comes', async () => {
  const steward = createClient({ hub: world.hub.url, key: world.key });
  const { code } = await steward.signIn.invitations.create({ name: 'Ada', role: 'member' });
  const { token } = await createClient({ hub: world.hub.url }).signIn.withCode({ code, label: 'her notebook' });
  const ada = createClient({ hub: world.hub.url, key: token });
  const own = await ada.people.own.createKey({ role: 'member', name: 'her script' });
  await createClient({ hub: world.hub.url, key: own.key }).modelNames();
  const { id } = (await steward.people.members.named('Ada')) ?? {};
  const actors = async () => {
    const { entries } = await json<{ entries: { actor: string }[] }>('list', '--actor', 'Ada');
    return new Set(entries.map(({ actor }) => actor));
  };
  await expect.poll(actors).toEqual(new Set([id, own.id]));
  const { out } = await call('audit', 'list', '--actor', 'Ada', '--action', 'create*');
  expect(out).toMatch(/ Ada +createKey +her script /);

  const lines: string[] = [];
  vi.mocked(process.stdout.write).mockImplementation((text) => lines.push(String(text)) > 0);
  const following = run(['audit', 'list', '--action', 'createKey', '--since', '1h', '--follow', '--json']);
  const namesSeen = () => lines.map((line) => (JSON.parse(line) as { details: { name?: string } }).details.name);
  await expect.poll(namesSeen).toContain('Kay');
  await steward.keys.create({ role: 'caller', name: 'Flo' });
  await expect.poll(namesSeen).toContain('Flo');
  expect(namesSeen().filter((name) => name === 'Flo')).toHaveLength(1);
  process.emit('SIGINT');
  expect(await following).toBe(EXIT.ok);
}, 20_000);

test('a copy verifies without the hub, and every tampering with it is found and named', async () => {
  const copy = file('copy.jsonl');
  await act('bea');
  const exported = await json<{ entries: number; territory: string }>('export', copy);
  expect(exported).toMatchObject({ territory: world.hub.territory.id });
  vi.stubEnv('IDLEWILD_HUB', 'http://127.0.0.1:1');
  expect(await json('verify', copy, '--territory', world.hub.territory.id)).toMatchObject({
    intact: true,
    entries: exported.entries,
    findings: [],
  });
  const whole = readFileSync(copy, 'utf8');
  writeFileSync(copy, whole.replace(String.raw`\"bea\"`, String.raw`\"eve\"`));
  const changed = await call('audit', 'verify', copy);
  expect(changed).toMatchObject({ code: EXIT.broken, said: expect.stringMatching(/entry \d+ was changed/) });
  expect(changed.out).toContain('changed: entry');
  writeFileSync(copy, whole.split('\n').toSpliced(3, 1).join('\n'));
  const removed = await call('audit', 'verify', copy, '--json');
  expect(removed.code).toBe(EXIT.broken);
  expect(JSON.parse(removed.out)).toMatchObject({ intact: false });
  expect(JSON.parse(removed.said)).toMatchObject({ error: { code: 'audit_broken' } });
  writeFileSync(copy, whole);
  expect((await call('audit', 'verify', copy, '--territory', 'ter_other')).code).toBe(EXIT.broken);
  expect((await call('audit', 'verify', file('none.jsonl'))).code).toBe(EXIT.usage);
  expect((await call('audit', 'verify', copy, '--quick')).code).toBe(EXIT.usage);
});

test('a later copy is held against an older one', async () => {
  const [older, newer] = [file('older.jsonl'), file('newer.jsonl')];
  await json('export', older);
  await act('cyd');
  await json('export', newer);
  const good = await call('audit', 'verify', newer, '--against', older);
  expect(good.out).toMatch(/it says itself; --territory/);
  expect(good).toMatchObject({ code: EXIT.ok, out: expect.stringContaining('it goes on from') });
  const cut = await call('audit', 'verify', older, '--against', newer);
  expect(cut).toMatchObject({ code: EXIT.broken, said: expect.stringContaining('are missing') });
  expect(cut.out).not.toContain('it goes on from');
});

test('one entry is proved, and its proof verifies alone', async () => {
  const proof = await call('audit', 'prove', '2');
  expect(proof.code).toBe(EXIT.ok);
  writeFileSync(file('entry.json'), proof.out);
  vi.stubEnv('IDLEWILD_HUB', 'http://127.0.0.1:1');
  const good = await call('audit', 'verify-entry', file('entry.json'), '--territory', world.hub.territory.id);
  expect(good).toMatchObject({ code: EXIT.ok, out: expect.stringContaining('good: entry 2') });
  writeFileSync(file('entry.json'), proof.out.replace('"seq":2', '"seq":1'));
  expect((await call('audit', 'verify-entry', file('entry.json'))).code).toBe(EXIT.broken);
  vi.stubEnv('IDLEWILD_HUB', world.hub.url);
  expect((await call('audit', 'prove', '100000')).code).toBe(EXIT.notFound);
  expect((await call('audit', 'prove', '0')).code).toBe(EXIT.usage);
});

test('a report is for people, for publishing and for scripts', async () => {
  const { out: printed } = await call('audit', 'report');
  expect(printed).toContain('Denied at the door');
  expect(printed).toMatch(/\d+ {2}keys made/);
  const { out: markdown } = await call('audit', 'report', '--from', '2026-01-01', '--to', '2026-01-31', '--markdown');
  expect(markdown).toMatch(/^# Transparency report: /);
  expect(markdown).toContain('2026-01-01 to 2026-01-31, UTC');
  expect(markdown).toContain('| keys made | 0 |');
  expect(await json('report')).toMatchObject({ keys: { created: expect.any(Number) } });
  expect((await call('audit', 'report', '--from', '2026-13-01')).code).toBe(EXIT.usage);
});

test('a hub whose log goes on is trusted as it was seen first, and one that was rewritten is not', async () => {
  rmSync(file('idlewild'), { recursive: true, force: true });
  expect((await call('audit', 'verify', '--quick')).code).toBe(EXIT.usage);
  expect((await call('audit', 'verify')).out).toContain('seen for the first time');
  await act('dot');
  expect(await call('audit', 'verify')).toMatchObject({
    code: EXIT.ok,
    out: expect.stringContaining('it goes on from'),
  });
  await act('eve');
  expect(await call('audit', 'verify', '--quick')).toMatchObject({ code: EXIT.ok });
  const kept = readdirSync(file('idlewild/audit-seen'));
  expect(kept.filter((name) => name.endsWith('.jsonl'))).toEqual([`${world.hub.territory.id}.jsonl`]);

  // Whoever has the hub's folder has its key, too: they drop the log, and the hub signs what comes after.
  await world.restart((data) => {
    const database = new DatabaseSync(join(data, 'hub.db'));
    for (const table of ['audit', 'audit_heads', 'audit_nodes']) database.exec(`delete from ${table}`);
    database.close();
  });
  for (let at = 0; at < 60; at++) await act(`k${at}`);
  const rewritten = await call('audit', 'verify');
  expect(rewritten).toMatchObject({ code: EXIT.broken, said: expect.stringContaining('the older copy') });
  expect(rewritten.out).not.toContain('it goes on from');
  expect(await call('audit', 'verify', '--quick')).toMatchObject({
    code: EXIT.broken,
    said: expect.stringContaining('rewritten'),
  });
  // A log of its own that is good in itself is still not the one that was here.
  expect((await call('audit', 'verify')).code).toBe(EXIT.broken);
});
