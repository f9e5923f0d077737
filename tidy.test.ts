/**
 * Reads every source file of the repository and holds it to the rules of the house: what may import what, how long
 * things may be, what core code may call. The rules themselves stand in scripts/tidy/.
 *
 * An exemption names a file, a rule and the reason; one that nothing needs any more fails too.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { circles, lawBreaches } from './scripts/tidy/import-law.ts';
import type { DeclaredDependencies } from './scripts/tidy/import-law.ts';
import { findings } from './scripts/tidy/rules.ts';
import type { Finding } from './scripts/tidy/rules.ts';
import { readSource } from './scripts/tidy/source.ts';

interface Exemption {
  readonly path: string;
  readonly rule: string;
  readonly why: string;
}

const exemptions: readonly Exemption[] = [
  {
    path: 'packages/protocol/fixtures/make-fixtures.ts',
    rule: 'function-lines',
    why: 'a handshake is one transcript, read from top to bottom',
  },
  {
    path: 'packages/protocol/fixtures/make-fixtures.ts',
    rule: 'line-length',
    why: 'texts that the append-only fixtures hold as they are',
  },
  { path: 'packages/protocol/src/identity/invite.test.ts', rule: 'line-length', why: 'an invite is one word' },
  { path: 'vitest.config.ts', rule: 'default-export', why: 'vitest reads its configuration from the default export' },
  {
    path: 'packages/protocol/src/testing/yield-to-node.ts',
    rule: 'banned-call',
    why: "the one place where tests on a stepped clock take a turn of Node's event loop",
  },
  {
    path: 'packages/client/src/index.ts',
    rule: 'banned-call',
    why: 'the one place where the platform gives its fetch',
  },
];

const root = import.meta.dirname;

const paths = sourcePaths();
const sources = paths.map((path) => readSource(path, readFileSync(join(root, path), 'utf8')));
const dependencies = declared();
const all = [
  ...sources.flatMap((source) => [...findings(source), ...lawBreaches(source, dependencies)]),
  ...circles(sources),
];

test.each([
  ['imports follow the import law', ['import-law']],
  ['no files import in a circle', ['circle']],
  ['files have at most 500 lines', ['file-lines']],
  ['functions have at most 70 lines', ['function-lines']],
  ['lines have at most 120 characters', ['line-length']],
  ['core code is handed time, chance, the network and its configuration', ['banned-call']],
  ['modules export by name', ['export-star', 'default-export']],
  ['TypeScript is erasable', ['enum', 'namespace', 'parameter-property']],
  ['files and folders are named for what they are', ['file-name', 'folder-name']],
  ['every file opens by saying what it is', ['header']],
  ['nothing is left unfinished', ['unfinished']],
])('%s', (_, rules) => {
  const broken = all.filter((finding) => rules.includes(finding.rule) && !isExempt(finding));
  expect(broken.map(({ path, line, message }) => `${path}:${line} ${message}`).sort()).toEqual([]);
});

test('every exemption is still needed', () => {
  const idle = exemptions.filter(({ path, rule }) => !all.some((found) => found.path === path && found.rule === rule));
  expect(idle).toEqual([]);
});

test('the scan sees the sources', () => {
  expect(paths).toContain('tidy.test.ts');
  expect(paths).toContain('packages/protocol/src/index.ts');
});

function isExempt(finding: Finding): boolean {
  return exemptions.some(({ path, rule }) => path === finding.path && rule === finding.rule);
}

/** Tracked files and new ones that git does not ignore; without git, everything outside node_modules. */
function sourcePaths(): string[] {
  // AssemblyScript has the ending of TypeScript and a syntax of its own.
  const isSource = (path: string): boolean => /\.(ts|tsx|mjs)$/.test(path) && !/\.(d|as)\.ts$/.test(path);
  if (!existsSync(join(root, '.git'))) {
    const inside = (path: string): boolean => path.split('/').includes('node_modules');
    return globSync('**/*', { cwd: root, exclude: inside }).filter(isSource).sort();
  }
  // The owner of a checkout in a build machine is often another user, at which git otherwise balks.
  const listing = ['-c', 'safe.directory=*', 'ls-files', '--cached', '--others', '--exclude-standard', '-z'];
  const listed = execFileSync('git', listing, { cwd: root, encoding: 'utf8' }).split('\0');
  return [...new Set(listed)].filter((path) => isSource(path) && existsSync(join(root, path))).sort();
}

function declared(): DeclaredDependencies {
  const read = (path: string): string[] => {
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Record<string, Record<string, string> | undefined>;
    const kinds = [manifest.dependencies, manifest.optionalDependencies, manifest.devDependencies];
    return kinds.flatMap((kind) => Object.keys(kind ?? {}));
  };
  const rooms = globSync('packages/*/package.json', { cwd: root });
  return {
    root: read(join(root, 'package.json')),
    ...Object.fromEntries(rooms.map((path) => [path.split('/')[1] ?? '', read(join(root, path))])),
  };
}
