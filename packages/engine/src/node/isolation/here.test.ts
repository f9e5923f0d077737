/**
 * What walls hold by themselves: a probe without Node's permission flags, behind each kind of wall that can be built
 * here, tries to get out.
 */
import { spawnSync } from 'node:child_process';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LAYERS, ask, createSurvey, surveyIsolation, type Layer, type Survey } from './here.ts';
import type { Attempts, Managed } from './probe.ts';
import { NO_WALL } from './walls.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-walls-'));
const file = join(folder, 'secret.txt');
const socket = process.platform === 'linux' ? `\0idlewild-walls-${process.pid}` : undefined;
const servers: Server[] = [];
let attempts: Attempts;

const listening = (at: { port: number; host: string } | { path: string }): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer((client) => client.end());
    servers.push(server.listen(at, () => resolve(server)));
  });

beforeAll(async () => {
  writeFileSync(file, 'secret');
  const { port } = (await listening({ port: 0, host: '127.0.0.1' })).address() as AddressInfo;
  if (socket !== undefined) await listening({ path: socket });
  attempts = { port, socket, files: [file, '/etc/passwd'], folders: [folder, tmpdir()], pid: process.pid };
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true, force: true });
});

const nothing = {
  connected: [],
  read: [],
  written: [],
  seen: [],
  capabilities: expect.stringMatching(/^0+$/) as string,
  gains: false,
};

const holding = ({ isolation }: Survey): string[] =>
  isolation.layers.filter(({ holds }) => holds).map(({ name }) => name);
const layer = ({ isolation }: Survey, name: string): Layer | undefined =>
  isolation.layers.find((each) => each.name === name);

test.skipIf(process.platform !== 'linux')(
  'without walls and flags the probe gets everywhere: it can tell',
  async () => {
    expect(await ask(NO_WALL, attempts, false)).toMatchObject({
      connected: ['tcp', 'unix'],
      listened: true,
      read: attempts.files,
      written: attempts.folders,
      seen: expect.arrayContaining([process.pid]) as number[],
      spawned: true,
    });
  },
);

test("Node's flags alone stop what scripts do with files and programs, and not sockets", async () => {
  const managed = (await ask(NO_WALL, attempts, true)) as Managed;
  expect(managed).toMatchObject({ read: [], written: [], spawned: false });
  expect(managed.connected).toContain('tcp');
});

// What can be built is asked of the machine, not of the code under test.
const surveys = {
  bubblewrap: await surveyIsolation({ builders: ['bubblewrap'] }),
  unshare: await surveyIsolation({ builders: ['unshare'] }),
};

for (const builder of ['bubblewrap', 'unshare'] as const) {
  const { wall, missing } = surveys[builder];
  test.skipIf(wall.by !== builder)(
    `behind ${builder} nothing outside is reached, read, seen or written${missing === '' ? '' : ` (here: ${missing})`}`,
    async () => {
      const managed = await ask(wall, attempts, false);
      expect(managed).toMatchObject(nothing);
      // Only bubblewrap loads a filter; sockets that can be made lead nowhere.
      if (wall.filter !== undefined) expect(managed).toMatchObject({ spawned: false, listened: false });
      const all = LAYERS.filter((name) => name !== 'system-calls' || wall.filter !== undefined);
      expect(holding(surveys[builder])).toEqual(all);
    },
  );
}

test('the best walls of a machine are taken, and where there are none that is said', async () => {
  const [here, none] = [await surveyIsolation(), await surveyIsolation({ builders: [] })];
  const best = (['bubblewrap', 'unshare'] as const).find((builder) => surveys[builder].wall.by === builder);
  expect(here.wall.by).toBe(best ?? 'none');
  expect(none.isolation.by).toBe('none');
  expect(holding(none)).toEqual(['environment', 'permissions']);
  expect(layer(none, 'network')).toMatchObject({ holds: false, why: expect.stringMatching(/no walls here/) as string });
});

/** A bubblewrap that leaves words out or puts some before, found before the real one while `act` runs. */
async function withBroken<Result>(
  drop: readonly string[],
  add: readonly string[],
  act: () => Promise<Result>,
): Promise<Result> {
  const path = process.env['PATH'] ?? '';
  const words = drop.length === 0 ? "''" : drop.join('|');
  const script = `#!/bin/sh
left=$#
while [ $left -gt 0 ]; do
  word=$1; shift; left=$((left - 1))
  case $word in ${words}) ;; --seccomp) shift; left=$((left - 1)) ;; *) set -- "$@" "$word" ;; esac
done
exec ${surveys.bubblewrap.wall.tool} ${add.join(' ')} "$@"
`;
  writeFileSync(join(folder, 'bwrap'), script, { mode: 0o755 });
  process.env['PATH'] = `${folder}:${path}`;
  try {
    return await act();
  } finally {
    process.env['PATH'] = path;
    rmSync(join(folder, 'bwrap'));
  }
}

test.skipIf(surveys.bubblewrap.wall.by === 'none').for([
  ['network', ['--unshare-net'], []],
  ['processes', ['--unshare-pid', '--as-pid-1'], []],
  ['files', [], [`--ro-bind ${tmpdir()} ${tmpdir()}`]],
  ['writing', [], [`--bind ${tmpdir()} ${tmpdir()}`]],
] as const)('a wall with a hole is told by its layer: %s', async ([name, drop, add]) => {
  const survey = await withBroken(drop, add, () => surveyIsolation({ builders: ['bubblewrap'] }));
  expect(survey.isolation.by).toBe('bubblewrap');
  expect(layer(survey, name)).toMatchObject({ holds: false, why: expect.stringMatching(/does not hold/) as string });
  expect(layer(survey, 'privileges')).toMatchObject({ holds: true });
});

const NOBODY = 65_534;

test.skipIf(process.getuid?.() !== 0)('a user without rights has the same walls as root', ({ skip }) => {
  const script = `
    import { surveyIsolation } from ${JSON.stringify(new URL('./here.ts', import.meta.url).href)};
    const held = async (builder) => (await surveyIsolation({ builders: [builder] })).isolation;
    console.log(JSON.stringify([await held('bubblewrap'), await held('unshare')]));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
    uid: NOBODY,
    gid: NOBODY,
    cwd: '/',
    env: { PATH: process.env['PATH'], TMPDIR: '/tmp' },
    encoding: 'utf8',
  });
  if (/EACCES|MODULE_NOT_FOUND/.test(stderr)) skip('nobody may not read this checkout');
  const held = JSON.parse(stdout) as Survey['isolation'][];
  expect(held.map((isolation) => holding({ ...surveys.unshare, isolation }))).toEqual([
    holding(surveys.bubblewrap),
    holding(surveys.unshare),
  ]);
});

test('a survey that failed is made again: a disk that was full for a moment costs no more than that', async () => {
  const survey = createSurvey();
  const place = process.env['TMPDIR'];
  process.env['TMPDIR'] = join(folder, 'nowhere');
  try {
    await expect(survey()).rejects.toThrow('ENOENT');
  } finally {
    if (place === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = place;
  }
  const found = await survey();
  expect(found.isolation.layers.map(({ name }) => name)).toEqual([...LAYERS]);
  expect(await survey()).toBe(found);
});
