/**
 * Holds the documents to the code: the table of errors, a line for every dependency, links that lead somewhere, code
 * blocks that parse, scripts that exist, and decisions that have a page and a number each.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';

import { ERRORS } from '@idlewild/protocol';
import { expect, test } from 'vitest';

import { errorsDocument } from '../scripts/errors-document.ts';

const root = dirname(import.meta.dirname);
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const documents = ['*.md', 'docs/**/*.md', 'examples/**/*.md', 'models/*/*.md', 'packages/*/*.md']
  .flatMap((pattern) => globSync(pattern, { cwd: root }))
  .sort();

interface Block {
  readonly path: string;
  readonly line: number;
  readonly language: string;
  readonly code: string;
}

const blocks = documents.flatMap(codeBlocks);

test('docs/errors.md is the table of errors', () => {
  expect(read('docs/errors.md'), 'run `npm run docs:errors`').toBe(errorsDocument(ERRORS));
});

test('docs/dependencies.md has one line for each direct dependency and for nothing else', () => {
  const manifests = ['package.json', ...globSync('packages/*/package.json', { cwd: root })];
  const wanted = new Set(
    manifests.flatMap((path) => {
      const { dependencies, devDependencies, optionalDependencies } = JSON.parse(read(path)) as Record<string, object>;
      return Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
    }),
  );
  const listed = [...read('docs/dependencies.md').matchAll(/^\| `([^`]+)` \|/gm)].map(([, name = '']) => name);
  const external = [...wanted].filter((name) => !name.startsWith('@idlewild/'));
  expect(new Set(listed)).toEqual(new Set(external));
  expect(listed.length).toBe(external.length);
});

test('every link to a file leads to one', () => {
  const dead = documents.flatMap((path) =>
    [
      ...read(path)
        .replace(/```[\s\S]*?```/g, '')
        .matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)[^)]*\)/g),
    ]
      .filter(([, target = '']) => !existsSync(join(root, dirname(path), target)))
      .map(([, target]) => `${path}: ${target}`),
  );
  expect(dead).toEqual([]);
});

test("docs/risks.md answers for each of AI 600-1's twelve risks", () => {
  const sections = read('docs/risks.md').split(/^## /m).slice(1);
  expect(sections.map((section) => section.slice(0, section.indexOf('\n')))).toEqual([
    '1. CBRN information or capabilities',
    '2. Confabulation',
    '3. Dangerous, violent or hateful content',
    '4. Data privacy',
    '5. Environmental impacts',
    '6. Harmful bias and homogenization',
    '7. Human-AI configuration',
    '8. Information integrity',
    '9. Information security',
    '10. Intellectual property',
    '11. Obscene, degrading or abusive content',
    '12. Value chain and component integration',
  ]);
  for (const section of sections) {
    expect(section).toMatch(/- \*\*Feature\.\*\* \S[\s\S]*- \*\*Shown by\*\*[\s\S]*\]\([\s\S]*- \*\*Remains\.\*\* \S/);
  }
});

test('docs/attacks.md names a test for each attack, and each of them is there', () => {
  const rows = [...read('docs/attacks.md').matchAll(/^\| (?!Attack |-)([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$/gm)];
  // None is passed over for how it is written.
  expect(rows.length).toBe(read('docs/attacks.md').split('\n| ').length - 2);
  expect([...new Set(rows.map(([, attack]) => attack))]).toEqual([
    'Key guessing',
    'Session fixation',
    'Cross-site requests',
    'Replayed device handshakes',
    'Relayed device handshakes',
    'Stolen invites',
    'Reused invites',
    'Privilege escalation by editing roles',
    'Ids of another community',
    'SQL injection',
    'Header injection',
    'Oversized bodies',
    'Texts that are bombs',
    'Slow bodies',
    'Floods of connections',
    'SSRF through hf: addresses',
    'SSRF through OpenID addresses',
    'SSRF through a hub',
    'Path traversal',
    'Log injection',
    'Terminal injection',
    'A device that lies about its tier',
    'More than one may have',
    "A hub that substitutes a device's key",
    'A device that answers falsely',
    'A hub that shows older rules',
    "Others' prompts by their time",
    'A revoked key in mid-stream',
  ]);
  const unknown = rows.flatMap(([, attack = '', , , tests = '']) =>
    tests
      .split('; [')
      .filter((named) => !isTest(named))
      .map((named) => `${attack}: ${named}`),
  );
  expect(unknown).toEqual([]);
});

/** Whether "[`file`](path) › title" is a test, by its title as it is written. */
function isTest(named: string): boolean {
  const [, path = '', title = ''] = /`[\w.-]+\.test\.ts`\]\(\.\.\/([^)]+)\) › (.+)$/.exec(named) ?? [];
  if (!path.endsWith('.test.ts') || !existsSync(join(root, path))) return false;
  const text = read(path);
  if (["'", '"', '`'].some((quote) => text.includes(`(${quote}${title}${quote},`))) return true;
  // As the formatter puts a long one.
  return text.split('\n').some((line) => /^\s+(['"`])(.*)\1,$/.exec(line)?.[2] === title);
}

test('TypeScript blocks parse', () => {
  const written = blocks.filter(({ language }) => /^(ts|typescript)\b/.test(language));
  const broken = written.filter(({ code }) => !parses(code));
  expect(broken.map(({ path, line }) => `${path}:${line}`)).toEqual([]);
});

test('shell blocks parse', () => {
  const broken = blocks
    .filter(({ language }) => /^(sh|bash|shell)\b/.test(language))
    .filter(({ code }) => spawnSync('bash', ['-n'], { input: code }).status !== 0);
  expect(broken.map(({ path, line }) => `${path}:${line}`)).toEqual([]);
});

test('every npm script that a document names exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const unknown = documents.flatMap((path) =>
    [...read(path).matchAll(/\bnpm run ([a-z][\w:-]*)/g)]
      .filter(([, name = '']) => !(name in scripts))
      .map(([, name]) => `${path}: npm run ${name}`),
  );
  expect(unknown).toEqual([]);
});

test('decisions are numbered without gaps and fit a page each', () => {
  const paths = documents.filter((path) => path.startsWith('docs/decisions/'));
  const numbers = paths.map((path) => Number(/\/(\d{4})-[a-z0-9-]+\.md$/.exec(path)?.[1] ?? -1));
  expect(numbers).toEqual(numbers.map((_, index) => index));
  for (const path of paths) {
    const text = read(path);
    const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    expect([path, headings]).toEqual([path, ['Context', 'Options', 'Choice', 'Consequences']]);
    expect([path, text.split('\n').length <= 60]).toEqual([path, true]);
  }
});

function codeBlocks(path: string): Block[] {
  const found: Block[] = [];
  const text = read(path);
  for (const match of text.matchAll(/^```([^\n`]*)\n([\s\S]*?)^```$/gm)) {
    const line = text.slice(0, match.index).split('\n').length;
    found.push({ path, line, language: match[1] ?? '', code: match[2] ?? '' });
  }
  return found;
}

function parses(code: string): boolean {
  try {
    stripTypeScriptTypes(code);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_INVALID_TYPESCRIPT_SYNTAX') return false;
    throw error;
  }
}
