/**
 * Which room may import which, after the import law of ARCHITECTURE.md, and that no files import in a circle.
 *
 * It sees the paths and imports of all sources at once and nothing of their contents. Packages are reached by
 * name, files within one by relative path. Type-only imports count: a circle of types is a circle of ideas.
 */

import { builtinModules } from 'node:module';
import { posix } from 'node:path';

import { isTest } from './rules.ts';
import type { Finding } from './rules.ts';
import type { ImportedName, Source } from './source.ts';

type Allowed = readonly string[] | 'anything';

/** Room → packages of ours that it may import. A room that is not named here may import none. */
const mayImport: Readonly<Record<string, Allowed>> = {
  protocol: [],
  graph: ['protocol'],
  engine: ['protocol', 'graph'],
  agent: ['protocol', 'engine'],
  hub: ['protocol', 'graph'],
  client: ['protocol'],
  cli: ['protocol', 'graph', 'client', 'hub', 'agent'],
  dashboard: ['protocol', 'client'],
  operator: ['protocol', 'client'],
  sim: 'anything',
  test: 'anything',
  bench: 'anything',
  scripts: ['protocol'],
  docs: ['protocol'],
  examples: [],
  root: ['protocol'],
};

/** Room → names of npm packages that it declares. 'root' are the root's development dependencies. */
export type DeclaredDependencies = Readonly<Record<string, readonly string[]>>;

/** Cores compile without Node's types, so they may not name its modules either. */
const core = /^packages\/(protocol\/src\/(?!node\/)|graph\/src\/|(engine|agent)\/src\/core\/)/;

export const lawBreaches = (source: Source, declared: DeclaredDependencies): Finding[] =>
  source.imports.flatMap((imported) => {
    const message = breach(source.path, imported.specifier, declared);
    return message === null ? [] : [{ rule: 'import-law', path: source.path, line: imported.line, message }];
  });

const breach = (path: string, specifier: string, declared: DeclaredDependencies): string | null => {
  const room = roomOf(path);
  if (specifier.startsWith('.')) {
    const other = roomOf(posix.join(posix.dirname(path), specifier));
    return other === room || isRootRoom(other) ? null : `'${specifier}' reaches into ${other}; import it by name`;
  }
  if (specifier.startsWith('@idlewild/')) return packageBreach(path, room, specifier);
  if (specifier.startsWith('node:')) {
    return core.test(path) && !forTestsOnly(path) ? `core code must not know Node: '${specifier}'` : null;
  }
  if (builtinModules.includes(specifier)) return `write 'node:${specifier}'`;
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  // What only tests and compilers load is not shipped, so any declaration in the repository will do.
  const names =
    forTestsOnly(path) || compilesOnly(path) || isRootRoom(room)
      ? Object.values(declared).flat()
      : (declared[room] ?? []);
  return names.includes(name) ? null : `'${name}' is not among the dependencies of ${room}`;
};

const packageBreach = (path: string, room: string, specifier: string): string | null => {
  const [, other = '', subpath] = specifier.split('/');
  if (other === room) return `'${specifier}' is this package; import its files by relative path`;
  if (subpath === 'testing' && !forTestsOnly(path)) return `'${specifier}' is for tests only`;
  const allowed = mayImport[room] ?? [];
  return allowed === 'anything' || allowed.includes(other) ? null : `${room} must not import ${other}`;
};

const forTestsOnly = (path: string): boolean =>
  isTest(path) || /\/testing\//.test(path) || /^(test|bench|packages\/sim)\//.test(path);

/** Programs that turn a kernel's source into the module that is kept. */
const compilesOnly = (path: string): boolean => /^packages\/[^/]+\/kernels\//.test(path);

const isRootRoom = (room: string): boolean => ['root', 'scripts', 'docs', 'examples', 'test', 'bench'].includes(room);

/** 'packages/hub/src/x.ts' is in hub; 'bench/main.ts' in bench; 'tidy.test.ts' in root. */
export const roomOf = (path: string): string => {
  const [first = '', second] = path.split('/');
  if (first === 'packages') return second ?? '';
  return second === undefined ? 'root' : first;
};

/** One finding for each circle of files, naming it from its first file round to itself again. */
export const circles = (sources: readonly Source[]): Finding[] => {
  const known = new Map(sources.map((source) => [source.path, source]));
  const state = new Map<string, 'open' | 'done'>();
  const found: Finding[] = [];
  const visit = (source: Source, trail: readonly string[]): void => {
    state.set(source.path, 'open');
    const here = [...trail, source.path];
    for (const imported of source.imports) {
      const next = known.get(resolveRelative(source.path, imported));
      if (next === undefined || state.get(next.path) === 'done') continue;
      if (state.get(next.path) === 'open') {
        const circle = [...here.slice(here.indexOf(next.path)), next.path].join(' → ');
        found.push({ rule: 'circle', path: source.path, line: imported.line, message: circle });
      } else visit(next, here);
    }
    state.set(source.path, 'done');
  };
  for (const source of sources) if (!state.has(source.path)) visit(source, []);
  return found;
};

const resolveRelative = (path: string, imported: ImportedName): string =>
  imported.specifier.startsWith('.') ? posix.join(posix.dirname(path), imported.specifier) : '';
