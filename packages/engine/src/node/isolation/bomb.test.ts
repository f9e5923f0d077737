/** What makes processes without end behind each kind of wall that can be built here, as a user who is not root. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, realpathSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { countsByNamespace, surveyIsolation } from './here.ts';
import { viewOf } from './view.ts';
import { behind } from './walls.ts';

const SLEEP = '/bin/sleep';
const TASKS_MAX = 48;
const TRIES = 200;
const NOBODY = '65534';
/** A thread first: those stay allowed. */
const BOMB = `const { spawn } = require('node:child_process');
const { Worker } = require('node:worker_threads');
const tried = async () => {
  await new Promise((resolve) => new Worker('', { eval: true }).once('exit', resolve));
  for (let made = 0; made < ${TRIES}; made++) {
    const error = await new Promise((resolve) => {
      try {
        spawn(process.argv[1], ['60'], { stdio: 'ignore' }).once('error', resolve).once('spawn', resolve);
      } catch (thrown) {
        resolve(thrown);
      }
    });
    if (error !== undefined) return { made, code: error.code };
  }
  return { made: ${TRIES} };
};
tried().then((came) => process.stdout.write(JSON.stringify(came), () => process.exit(0)));`;

const expected = {
  bubblewrap: /^\{"made":0,"code":"EPERM"\}$/,
  unshare: /^\{"made":\d\d?,"code":"EAGAIN"\}$/,
} as const;

for (const builder of ['bubblewrap', 'unshare'] as const) {
  const { wall } = await surveyIsolation({ builders: [builder] });
  const isBounded = wall.by === builder && (wall.filter ?? wall.tasksMax) !== undefined;
  // Whoever is root is held to no number of tasks.
  const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));
  const other = ['--reuid', NOBODY, '--regid', NOBODY, '--clear-groups', '--'];
  const isRoot = process.getuid?.() === 0;
  test.skipIf(!isBounded || !existsSync(SLEEP) || (isRoot && setpriv === undefined))(
    `behind ${builder} processes come to an end, and threads can be made`,
    async () => {
      const node = realpathSync(process.execPath);
      const sleep = realpathSync(SLEEP);
      const view = viewOf([], node, wall.libraries);
      const shown = { ...view, readable: [...view.readable, sleep] };
      const bounded = wall.tasksMax === undefined ? wall : { ...wall, tasksMax: TASKS_MAX };
      const { words, filter } = behind(bounded, shown, [node, '-e', BOMB, sleep]);
      const [file, ...rest] = [...(isRoot ? [setpriv as string, ...other] : []), ...words];
      const child = spawn(file as string, rest, {
        env: {},
        stdio: ['ignore', 'pipe', 'pipe', 'ignore', filter === undefined ? 'ignore' : 'pipe'],
        detached: true,
      });
      let [printed, complaint] = ['', ''];
      child.stdout?.on('data', (text: Buffer) => (printed += text.toString()));
      child.stderr?.on('data', (text: Buffer) => (complaint += text.toString()));
      (child.stdio[4] as Writable | null)?.end(filter);
      await once(child, 'close');
      expect([printed, complaint]).toEqual([expect.stringMatching(expected[builder]), '']);
    },
  );
}

test('tasks are bounded where the kernel counts them for each namespace', () => {
  const kernels = ['6.18.44-fc', '5.14.0-503.el9', '5.13.19', '5.4.0-200-generic', '4.19.0', ''];
  expect(kernels.map(countsByNamespace)).toEqual([true, true, false, false, false, false]);
});
