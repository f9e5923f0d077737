/**
 * Reads one source file for the tidy test: its lines, its syntax tree, and every module that it names.
 *
 * The tree is ESTree with TypeScript's nodes, from the parser that the test runner brings along. Nothing here
 * judges; the rules stand in rules.ts and import-law.ts. A file that does not parse is an error, not a finding.
 */

import { parseAst } from 'vitest/node';

export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

export interface ImportedName {
  /** The module as written: './frame.ts', '@idlewild/protocol', 'node:fs'. */
  readonly specifier: string;
  readonly line: number;
}

export interface Source {
  /** Path from the root of the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly program: SyntaxNode;
  readonly imports: readonly ImportedName[];
  /** Line of an offset into `text`, counted from 1. */
  readonly lineAt: (offset: number) => number;
}

/** Throws what the parser threw, with the path in front, when `text` is not TypeScript or JavaScript. */
export const readSource = (path: string, text: string): Source => {
  const program = parse(path, text);
  const starts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  const lineAt = (offset: number): number => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low + 1;
  };
  return { path, text, lines: text.split('\n'), program, imports: importsOf(program, lineAt), lineAt };
};

/** Calls `visit` for every node, parents first; `parents` runs from the program down to the node's parent. */
export const walk = (
  node: SyntaxNode,
  visit: (node: SyntaxNode, parents: readonly SyntaxNode[]) => void,
  parents: readonly SyntaxNode[] = [],
): void => {
  visit(node, parents);
  const below = [...parents, node];
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) walk(child, visit, below);
    }
  }
};

export const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';

const parse = (path: string, text: string): SyntaxNode => {
  const lang = path.endsWith('.tsx') ? 'tsx' : path.endsWith('.ts') ? 'ts' : 'js';
  try {
    return parseAst(text, { lang }, path) as unknown as SyntaxNode;
  } catch (cause) {
    throw new Error(`${path} does not parse: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
};

const importsOf = (program: SyntaxNode, lineAt: (offset: number) => number): ImportedName[] => {
  const found: ImportedName[] = [];
  walk(program, (node) => {
    if (!/^(Import|ExportNamed|ExportAll)Declaration$|^ImportExpression$|^TSImportType$/.test(node.type)) return;
    const source = node.source;
    if (isNode(source) && typeof source.value === 'string') {
      found.push({ specifier: source.value, line: lineAt(node.start) });
    }
  });
  return found;
};
