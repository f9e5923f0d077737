/** `idlewild policy` and the switch of a model, against a real hub: what they print, and how they end. */
import { writeFileSync } from 'node:fs';
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
