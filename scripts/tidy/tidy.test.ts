// The tidy test's own rules, each shown to find what it is for and to leave its neighbours alone.

import { expect, test } from 'vitest';

import { circles, lawBreaches } from './import-law.ts';
import { findings } from './rules.ts';
import { readSource } from './source.ts';

const header = '// What it is.\n// Its invariants.\n// What it refuses to know.\n';
const rulesOf = (code: string, path = 'packages/hub/src/x.ts'): string[] =>
  findings(readSource(path, header + code)).map(({ rule }) => rule);

test('core code may not read the clock, chance, the network or the environment', () => {
  const banned = [
    'Date.now()',
    'new Date()',
    'performance.now()',
    'Math.random()',
    'process.env.HOME',
    'setTimeout(f, 1)',
    'const { later = setInterval } = options',
    'await fetch(url)',
    'globalThis.fetch(url)',
    'go({ fetch })',
    "import { setTimeout as sleep } from 'node:timers/promises'",
  ];
  for (const code of banned) expect([code, rulesOf(code)]).toEqual([code, ['banned-call']]);
});

test('what is handed in, named alike, or only typed is not a banned call', () => {
  const allowed = [
    'clock.now()',
    'new Date(0)',
    'const f = ({ fetch }) => fetch(1)',
    'store.fetch(1)',
    'type F = typeof fetch',
    'const o = { setTimeout: 1, fetch() {} }',
    'interface C { setTimeout(ms: number): void }',
    "'Date.now()'",
    '`Math.random() ${1}`',
    '// Date.now()',
    '/fetch(x)/',
    'type F = (fetch: number) => void',
  ];
  for (const code of allowed) expect([code, rulesOf(code)]).toEqual([code, []]);
});

test('shells and tests may touch the world', () => {
  const shells = ['packages/hub/src/node/x.ts', 'packages/hub/src/x.test.ts', 'packages/cli/src/x.ts', 'bench/x.ts'];
  for (const path of shells) expect([path, rulesOf('Date.now()', path)]).toEqual([path, []]);
});

test('a function of 71 lines is too long, whatever braces its strings hold', () => {
  const body = (lines: number): string => `{\n${"const s = '}';\n".repeat(lines)}}`;
  expect(rulesOf(`const f = () => ${body(68)}`)).toEqual([]);
  expect(rulesOf(`function f () ${body(69)}`)).toEqual(['function-lines']);
  expect(rulesOf(`class A { m() ${body(69)} }`)).toEqual(['function-lines']);
});

test('files over 500 lines and lines over 120 characters are found', () => {
  expect(rulesOf('f();\n'.repeat(497))).toEqual([]);
  expect(rulesOf('f();\n'.repeat(498))).toEqual(['file-lines']);
  expect(rulesOf(`f('${'a'.repeat(115)}')`)).toEqual([]);
  expect(rulesOf(`f('${'a'.repeat(116)}')`)).toEqual(['line-length']);
});

test('star exports, defaults, enums, namespaces and unfinished work are found', () => {
  expect(rulesOf("export * from './a.ts'")).toEqual(['export-star']);
  expect(rulesOf('export default 1')).toEqual(['default-export']);
  expect(rulesOf('enum E { A }')).toEqual(['enum']);
  expect(rulesOf('namespace N { f() }')).toEqual(['namespace']);
  expect(rulesOf("declare module 'fastify' { interface A {} }")).toEqual([]);
  expect(rulesOf('declare global { interface A {} }')).toEqual([]);
  expect(rulesOf('class A { constructor(private a: number) {} }')).toEqual(['parameter-property']);
  expect(rulesOf(['//', 'TO', 'DO'].join(''))).toEqual(['unfinished']);
});

test('a file opens by saying what it is: in 1 to 12 lines', () => {
  const ruleOf = (text: string, path = 'bench/x.ts'): string[] =>
    findings(readSource(path, text)).map(({ rule }) => rule);
  expect(ruleOf('f();\n')).toEqual(['header']);
  expect(ruleOf('f();\n', 'packages/hub/src/x.test.ts')).toEqual([]);
  expect(ruleOf('// One line.\nf();\n')).toEqual([]);
  expect(ruleOf('/**\n * What.\n *\n * Invariants.\n * Refusals.\n */\nf();\n')).toEqual([]);
  expect(ruleOf(`#!/usr/bin/env node\n${header}f();\n`)).toEqual([]);
  expect(ruleOf(`/*\n${'a\n'.repeat(13)}*/\n`)).toEqual(['header']);
});

test('files are kebab-case, in folders named for nouns of the domain', () => {
  expect(rulesOf('', 'packages/hub/src/answerQueue.ts')).toEqual(['file-name']);
  expect(rulesOf('', 'packages/hub/src/utils/answer-queue.ts')).toEqual(['folder-name']);
  expect(rulesOf('', 'packages/hub/src/scheduler/answer-queue.node.test.ts')).toEqual([]);
});

test('imports follow the law', () => {
  const declared = { hub: ['fastify'], root: ['openai'] };
  const breaches = (path: string, specifier: string): number =>
    lawBreaches(readSource(path, `import { a } from '${specifier}'`), declared).length;
  const hub = 'packages/hub/src/a.ts';
  const legal: [string, string][] = [
    [hub, '@idlewild/graph'],
    [hub, './b.ts'],
    [hub, 'fastify'],
    [hub, 'node:fs'],
    ['packages/hub/src/a.test.ts', '@idlewild/protocol/testing'],
    ['packages/hub/src/a.test.ts', 'openai'],
    ['packages/hub/kernels/a.ts', 'openai'],
    ['packages/protocol/src/node/a.ts', 'node:fs'],
    ['packages/cli/src/a.ts', '@idlewild/hub'],
    ['test/a.test.ts', '@idlewild/agent'],
    ['packages/sim/src/a.ts', '@idlewild/hub'],
  ];
  for (const [path, name] of legal) expect([path, name, breaches(path, name)]).toEqual([path, name, 0]);
  const illegal: [string, string][] = [
    [hub, '@idlewild/agent'],
    [hub, '@idlewild/hub'],
    [hub, '../../graph/src/b.ts'],
    [hub, 'fs'],
    [hub, 'kysely'],
    [hub, '@idlewild/protocol/testing'],
    [hub, 'openai'],
    ['packages/agent/src/a.ts', '@idlewild/hub'],
    ['packages/protocol/src/a.ts', '@idlewild/graph'],
    ['packages/protocol/src/a.ts', 'node:fs'],
    ['packages/agent/src/core/a.ts', 'node:fs'],
    ['test/a.test.ts', '../packages/hub/src/b.ts'],
  ];
  for (const [path, name] of illegal) expect([path, name, breaches(path, name)]).toEqual([path, name, 1]);
});

test('type imports, re-exports and dynamic imports count as imports', () => {
  const code = [
    "import type { A } from './a.ts';",
    "export { b } from './b.ts';",
    "const c = await import('./c.ts');",
    "type D = import('./d.ts').D;",
  ];
  const { imports } = readSource('x.ts', code.join('\n'));
  const expected = ['./a.ts', './b.ts', './c.ts', './d.ts'];
  expect(imports).toEqual(expected.map((specifier, index) => ({ specifier, line: index + 1 })));
});

test('a circle of files is named from end to end, once', () => {
  const source = (name: string, imported: string) =>
    readSource(`packages/hub/src/${name}.ts`, `import { x } from './${imported}.ts'`);
  const found = circles([source('start', 'a'), source('a', 'b'), source('b', 'c'), source('c', 'a')]);
  expect(found.map(({ message }) => message)).toEqual([
    'packages/hub/src/a.ts → packages/hub/src/b.ts → packages/hub/src/c.ts → packages/hub/src/a.ts',
  ]);
});
