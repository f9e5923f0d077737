/** Holds the Dockerfile, and what docs/replicas.md says of Kubernetes, to the repository and its command line. */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { expect, test } from 'vitest';

const root = dirname(import.meta.dirname);
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const dockerfile = read('Dockerfile');
const deployment = /^```yaml\n([\s\S]*?)^```$/m.exec(read('docs/replicas.md'))?.[1] ?? '';
const flagsIn = (text: string): string[] => [...text.matchAll(/(--[a-z][a-z-]+)/g)].map(([, flag = '']) => flag);

test('every stage is of the Node that the project asks for', () => {
  const { engines } = JSON.parse(read('package.json')) as { engines: { node: string } };
  const majors = [...dockerfile.matchAll(/^FROM node:(\d+)/gm)].map(([, major]) => `>=${major}`);
  expect(majors).toEqual([engines.node, engines.node]);
});

test('what is copied is there, and let through to the build', () => {
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, from = '']) => from.split(' '));
  expect(copied.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  const passing = [...read('.dockerignore').matchAll(/^!(.+)$/gm)].map(([, path]) => path);
  expect([...copied].sort()).toEqual(passing.sort());
});

test('the container starts, as its image and as a replica, with options that there are', () => {
  const up = spawnSync(process.execPath, [join(root, 'packages/cli/bin/idlewild.mjs'), 'up', '--help'], {
    encoding: 'utf8',
  });
  const known = new Set(flagsIn(up.stdout));
  const command = /^CMD (\["up".*)$/m.exec(dockerfile)?.[1] ?? '';
  const args = /^ +args:\n((?: +- .*\n)+)/m.exec(deployment)?.[1] ?? '';
  const given = [...flagsIn(command), ...flagsIn(args)];
  expect(given).toContain('--secrets-key');
  expect(given.filter((flag) => !known.has(flag))).toEqual([]);
});

test('nobody is root, and the probes ask the port and the user that the image has', () => {
  const [, user] = /^USER (\d+):\1$/m.exec(dockerfile) ?? [];
  const [, port] = /^EXPOSE (\d+)$/m.exec(dockerfile) ?? [];
  expect(Number(user)).toBeGreaterThan(0);
  expect(deployment).toContain(`runAsUser: ${user},`);
  expect(dockerfile).toContain(`https://127.0.0.1:${port}/healthz`);
  expect([...deployment.matchAll(/port: (\d+)/g)].map(([, each]) => each)).toEqual([port, port]);
});
