/**
 * The rules of the house that one file can break by itself: sizes, names, headers, and what core code may call.
 *
 * Each rule is a function from a source to findings and knows no exemptions: those stand, with their reasons, in
 * tidy.test.ts. What a file may import is import-law.ts's matter.
 */

import { isNode, walk } from './source.ts';
import type { Source, SyntaxNode } from './source.ts';

export interface Finding {
  readonly rule: string;
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

const fileLinesMax = 500;
const functionLinesMax = 70;
const lineCharactersMax = 120;
const headerLinesMax = 12;

const functionTypes = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);

/** Everything that `source` breaks, in no particular order. */
export const findings = (source: Source): Finding[] => [
  ...sizes(source),
  ...header(source),
  ...names(source),
  ...syntax(source),
  ...functionLengths(source),
  ...(mayTouchTheWorld(source.path) ? [] : bannedCalls(source)),
];

const sizes = (source: Source): Finding[] => {
  const found: Finding[] = [];
  const count = source.text.endsWith('\n') ? source.lines.length - 1 : source.lines.length;
  if (count > fileLinesMax) found.push(finding(source, 'file-lines', 1, `${count} lines; at most ${fileLinesMax}`));
  source.lines.forEach((line, index) => {
    if (line.length > lineCharactersMax) {
      found.push(finding(source, 'line-length', index + 1, `${line.length} characters; at most ${lineCharactersMax}`));
    }
    // Spelled with braces so that this file does not find itself.
    if (/\b(TO{1}DO|FIX{1}ME)\b/.test(line)) found.push(finding(source, 'unfinished', index + 1, line.trim()));
  });
  return found;
};

const header = (source: Source): Finding[] => {
  const text = source.text.replace(/^#!.*\n/, '');
  const comment = /^\s*(\/\*[\s\S]*?\*\/|(?:\/\/.*\n?)+)/.exec(text)?.[1];
  if (comment === undefined) {
    // A test beside the file that it tests is introduced by that file.
    return isTest(source.path) && source.path.startsWith('packages/')
      ? []
      : [finding(source, 'header', 1, 'opens without saying what it is, its invariants, what it refuses to know')];
  }
  const lines = comment.split('\n').filter((line) => line.replace(/^\s*(\/\/|\/\*+|\*+\/?)/, '').trim() !== '').length;
  // What takes one line to say is said in one: a rule that asks for more gets filler.
  if (lines >= 1 && lines <= headerLinesMax) return [];
  return [finding(source, 'header', 1, `the header has ${lines} lines; 1 to ${headerLinesMax}`)];
};

const names = (source: Source): Finding[] => {
  const folders = source.path.split('/');
  const file = folders.pop() ?? '';
  const found: Finding[] = [];
  const kind = folders.find((folder) => /^(utils?|helpers?|types|interfaces|classes|common|misc)$/.test(folder));
  if (kind !== undefined) found.push(finding(source, 'folder-name', 1, `folder '${kind}' names a kind, not a noun`));
  const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)+$/;
  if (!kebab.test(file)) found.push(finding(source, 'file-name', 1, `${file} is not kebab-case`));
  return found;
};

const syntax = (source: Source): Finding[] => {
  const found: Finding[] = [];
  const add = (node: SyntaxNode, rule: string, message: string): void => {
    found.push(finding(source, rule, source.lineAt(node.start), message));
  };
  walk(source.program, (node) => {
    if (node.type === 'ExportAllDeclaration' && node.exported === null) add(node, 'export-star', 'export by name');
    if (node.type === 'ExportDefaultDeclaration') add(node, 'default-export', 'use a named export');
    if (node.type === 'TSEnumDeclaration') add(node, 'enum', 'use a union of string literals');
    // `declare module 'fastify'` adds to a library's own types and is named by a string; that is erased, too.
    const named = isNode(node.id) && node.id.type !== 'Literal';
    if (node.type === 'TSModuleDeclaration' && node.kind !== 'global' && named) add(node, 'namespace', 'use a module');
    if (node.type === 'TSParameterProperty') add(node, 'parameter-property', 'assign the field in the body');
  });
  return found;
};

/**
 * A factory is the scope of a module (style rule 6), so what counts is a function's own lines: those of the functions
 * inside it are theirs, and held to the same limit.
 */
const functionLengths = (source: Source): Finding[] => {
  const found: Finding[] = [];
  const linesOf = (node: SyntaxNode): number => source.lineAt(node.end) - source.lineAt(node.start) + 1;
  walk(source.program, (node, parents) => {
    if (!functionTypes.has(node.type) || linesOf(node) <= functionLinesMax) return;
    let inner = 0;
    walk(node, (below, between) => {
      const outermost = between.length > 0 && !between.slice(1).some(({ type }) => functionTypes.has(type));
      if (functionTypes.has(below.type) && outermost) inner += Math.max(0, linesOf(below) - 1);
    });
    const own = linesOf(node) - inner;
    if (own <= functionLinesMax) return;
    const message = `${functionName(node, parents.at(-1))} has ${own} lines of its own; at most ${functionLinesMax}`;
    found.push(finding(source, 'function-lines', source.lineAt(node.start), message));
  });
  return found;
};

const functionName = (node: SyntaxNode, parent: SyntaxNode | undefined): string => {
  for (const owner of [node.id, parent?.id, parent?.key]) {
    if (isNode(owner) && typeof owner.name === 'string') return owner.name;
  }
  return 'a function without a name';
};

/** Rule 7's list: what would let core code see real time, chance, the network or the environment. */
const bannedMembers = new Set(['Date.now', 'Math.random', 'process.env', 'performance.now']);
const bannedGlobals = new Set(['setTimeout', 'setInterval', 'setImmediate', 'fetch']);

const bannedCalls = (source: Source): Finding[] => {
  const found: Finding[] = [];
  const ban = (node: SyntaxNode, what: string): void => {
    found.push(finding(source, 'banned-call', source.lineAt(node.start), `${what}: be handed it instead (rule 7)`));
  };
  const declared = declaredNames(source.program);
  walk(source.program, (node, parents) => {
    if (node.type === 'MemberExpression' && isNode(node.object) && isNode(node.property) && node.computed !== true) {
      const path = `${String(node.object.name)}.${String(node.property.name)}`;
      if (bannedMembers.has(path) && !declared.has(String(node.object.name))) ban(node, path);
      if (node.object.name === 'globalThis' && bannedGlobals.has(String(node.property.name))) ban(node, path);
    }
    if (node.type === 'NewExpression' && isNode(node.callee) && node.callee.name === 'Date') {
      if (Array.isArray(node.arguments) && node.arguments.length === 0) ban(node, 'new Date()');
    }
    const name = String(node.name);
    if (node.type === 'Identifier' && bannedGlobals.has(name) && !declared.has(name) && isReference(node, parents)) {
      ban(node, name);
    }
  });
  for (const { specifier, line } of source.imports) {
    if (/^(node:)?timers(\/promises)?$/.test(specifier)) {
      found.push(finding(source, 'banned-call', line, `${specifier}: be handed a Clock instead (rule 7)`));
    }
  }
  return found;
};

/** Names that the file binds itself, so that a `fetch` that was handed in is not taken for the global one. */
const declaredNames = (program: SyntaxNode): Set<string> => {
  const bound = new Set<string>();
  const bind = (pattern: unknown): void => {
    if (!isNode(pattern)) return;
    if (pattern.type === 'Identifier') bound.add(String(pattern.name));
    for (const part of [pattern.argument, pattern.left, pattern.value, pattern.properties, pattern.elements].flat()) {
      bind(part);
    }
  };
  walk(program, (node) => {
    if (node.type === 'VariableDeclarator' || node.type === 'FunctionDeclaration') bind(node.id);
    if (functionTypes.has(node.type)) [node.params].flat().forEach(bind);
    if (/^Import\w*Specifier$/.test(node.type)) bind(node.local);
  });
  return bound;
};

/** Whether an identifier is read as a value, rather than naming a property or standing in a type. */
const isReference = (node: SyntaxNode, parents: readonly SyntaxNode[]): boolean => {
  const parent = parents.at(-1);
  if (parent === undefined) return false;
  if (/^TS(As|NonNull|Satisfies)Expression$/.test(parent.type)) return true;
  if (parent.type.startsWith('TS') || parent.type === 'ImportSpecifier') return false;
  if (parent.computed === true) return true;
  return !(parent.property === node || (parent.key === node && parent.value !== node));
};

/** The shells, where real time, chance and sockets belong; everything else is handed them. */
const mayTouchTheWorld = (path: string): boolean =>
  isTest(path) || /^packages\/([^/]+\/src\/node|cli)\//.test(path) || !path.startsWith('packages/');

export const isTest = (path: string): boolean => /\.test\.tsx?$/.test(path);

const finding = (source: Source, rule: string, line: number, message: string): Finding => ({
  rule,
  path: source.path,
  line,
  message,
});
