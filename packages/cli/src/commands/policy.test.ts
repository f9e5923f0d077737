/** `idlewild policy` and the switch of a model, against a real hub: what they print, and how they end. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, test, vi } from 'vitest';
import { EXIT } from '../exit-codes.ts';
import { besideHub } from '../testing/called.ts';

const world = besideHub();
function file(name: string, text: string): string {
  writeFileSync(world.file(name), text);
  return world.file(name);
}
let out = '';
let said = '';
async function call(words: string): Promise<number> {
  const called = await world.call(...words.split(' '));
  ({ out, said } = called);
  return called.code;
}

const QUIET = `@id("no-secrets") forbid (principal, action == Action::"answer", resource)
when { context has dataClass && context.dataClass == DataClass::"confidential" };
`;
const CASES = [
  { name: 'no secrets', as: 'role:caller', action: 'answer', class: 'confidential', on: 'any', expect: 'deny' },
  { name: 'staff see devices', as: 'role:staff', action: 'listDevices', expect: 'allow', by: 'role:staff' },
];

test('a policy is tried on cases and by a dry run, applied, shown, explained and taken away', async () => {
  const quiet = file('quiet.cedar', QUIET);
  const cases = file('cases.json', JSON.stringify([CASES[0]]));
  expect(await call(`policy test ${cases}`)).toBe(EXIT.failed);
  expect(out).toMatch(/WRONG {2}no secrets: expected deny\n.*permitted by "role:caller"/);
  expect(await call(`policy test ${cases} --policies ${quiet}`)).toBe(EXIT.ok);
  expect(await call(`policy apply ${quiet} --dry-run`)).toBe(EXIT.ok);
  expect(out).toMatch(/would change: quiet\n(.*\n)*role:caller +answer \(confidential\) +refused/);
  expect(await call(`policy apply ${quiet} --why shared`)).toBe(EXIT.ok);
  expect(await call(`policy test ${cases} --json`)).toBe(EXIT.ok);
  expect(JSON.parse(out)).toMatchObject([{ isAsExpected: true, decidedBy: ['quiet/no-secrets'] }]);
  expect(await call('policy show')).toBe(EXIT.ok);
  expect(out).toMatch(/quiet\/no-secrets +of the community/);
  expect(await call('policy show quiet')).toBe(EXIT.ok);
  expect(out).toBe(QUIET);
  expect(await call('policy explain --action answer --on any --class confidential')).toBe(EXIT.ok);
  expect(out).toContain('"quiet/no-secrets" forbids it; a steward can show and change it: idlewild policy show quiet');
  expect(await call('policy remove quiet')).toBe(EXIT.ok);
  expect(await call('policy history quiet')).toBe(EXIT.ok);
  expect(out).toMatch(/2 .*removed\n *1 .*shared/);
  expect(await call('policy remove quiet')).toBe(EXIT.notFound);
});

const WITHIN = { timeout: 30_000 };
/** As it could be before such a policy was refused, or by a change of groups. */
function lockOut(territory: string, text: string): void {
  const database = new DatabaseSync(join(world.file('hub'), 'hub.db'), { timeout: 5_000 });
  database
    .prepare(
      'INSERT INTO policies (territory_id, name, text, version, changed_at_ms, changed_by) ' +
        "VALUES (?, 'shut', ?, 1, 0, 'test')",
    )
    .run(territory, text);
  database.prepare('UPDATE versions SET version = version + 1 WHERE territory_id = ?').run(territory);
  database.close();
}

test('a dry run names what holds under circumstances, on one thing or for some only', async () => {
  const text = `@id("no-games") forbid (principal, action == Action::"answer", resource)
when { context has purpose && context.purpose == "games" };
@id("choir") permit (principal in Group::"choir", action == Action::"listKeys", resource);
@id("all") forbid (principal in Role::"caller", action == Action::"listModels", resource);`;
  expect(await call(`policy apply ${file('fine.cedar', text)} --dry-run`)).toBe(EXIT.ok);
  expect(out).toMatch(/role:caller +listModels +refused/);
  expect(out).toMatch(/and under circumstances, .*: fine\/no-games, fine\/choir\n/);
});

test('a policy that lets nobody in is taken away over the data of a hub that runs', async () => {
  const territory = world.hub.territory.id;
  const text = '@id("all") forbid (principal, action, resource);';
  const shut = file('shut.cedar', text);
  expect(await call(`policy apply ${shut}`)).toBe(EXIT.failed);
  expect(said).toContain('"shut/all" would take readPolicy and changePolicy from every lasting steward');
  lockOut(territory, text);
  await vi.waitFor(async () => expect(await call('policy show')).toBe(EXIT.refused), WITHIN);
  expect(await call('policy remove shut')).toBe(EXIT.refused);
  const data = world.file('hub');
  expect(await call(`policy remove other --data ${data}`)).toBe(EXIT.notFound);
  expect(said).toContain('it has: shut');
  expect(await call(`policy remove shut --data ${data} --why locked`)).toBe(EXIT.ok);
  expect(out).toContain(`removed: shut, of ${world.hub.territory.name} (${territory})`);
  await vi.waitFor(async () => expect(await call('policy history shut --json')).toBe(EXIT.ok), WITHIN);
  expect(JSON.parse(out)).toMatchObject([{ version: 1, text: null, why: 'locked', changedBy: 'command line' }]);
  expect(await call('audit list --json')).toBe(EXIT.ok);
  expect(out).toMatch(/"command line".*"removePolicy"|"removePolicy".*"command line"/s);
});

test('cases are tried without a hub; a policy that does not hold is told with its place', async () => {
  vi.stubEnv('IDLEWILD_HUB', 'http://127.0.0.1:9');
  const cases = file('alone.json', JSON.stringify({ cases: CASES, roles: { staff: ['listDevices'] } }));
  expect(await call(`policy test ${cases} --offline --policies ${file('quiet.cedar', QUIET)}`)).toBe(EXIT.ok);
  expect(out).toContain('2 cases, all as expected');
  const bad = file('bad.cedar', '\n@id("x") permit (principal, action == Action::"fly", resource);');
  expect(await call(`policy test ${cases} --offline --policies ${bad}`)).toBe(EXIT.failed);
  expect(said).toMatch(/the policy "bad" does not hold.*line 2, column 39/);
  const odd = file('odd.json', JSON.stringify([{ as: 'role:caller', action: 'fly', expect: 'deny' }]));
  expect(await call(`policy test ${odd} --offline`)).toBe(EXIT.usage);
});

test('a model that there is not cannot be stopped', async () => {
  expect(await call('models stop nothing --why bad')).toBe(EXIT.notFound);
  expect(await call('models allow nothing')).toBe(EXIT.notFound);
});
