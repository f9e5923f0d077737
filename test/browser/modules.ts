/**
 * What a web page needs to load sources of ours as they are: every module that it reaches, types stripped and nothing
 * bundled, and an import map for the names of packages, which it resolves as bundlers for browsers do. A module that
 * would need Node is an error that names it.
 */
import { existsSync, readFileSync } from 'node:fs';
import { isBuiltin, stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const CONDITIONS = new Set(['browser', 'import', 'module-sync', 'default']);

export interface PageModules {
  /** Paths below the origin, and what is there. */
  readonly files: ReadonlyMap<string, string>;
  readonly importMap: { readonly scopes: Record<string, Record<string, string>> };
  /** Path of the first one. */
  readonly entry: string;
}

const pathOf = (file: string): string => `/${relative(ROOT, file)}`;
const scopeOf = (folder: string): string => (folder === ROOT ? '/' : `${pathOf(folder)}/`);

export function pageModules(entry: string): PageModules {
  const files = new Map<string, string>();
  const scopes: Record<string, Record<string, string>> = {};
  const waiting = [entry];
  for (const file of waiting) {
    if (files.has(pathOf(file))) continue;
    const source = readFileSync(forBrowsers(file), 'utf8');
    const code = file.endsWith('.ts') ? stripTypeScriptTypes(source) : source;
    files.set(pathOf(file), code);
    for (const specifier of importedBy(code)) {
      if (isBuiltin(specifier)) throw new Error(`${pathOf(file)} needs ${specifier}, which no browser has`);
      if (specifier.startsWith('.')) {
        waiting.push(resolve(dirname(file), specifier));
        continue;
      }
      const target = resolveName(specifier, file);
      (scopes[scopeOf(packageOf(file))] ??= {})[specifier] = pathOf(target);
      waiting.push(target);
    }
  }
  return { files, importMap: { scopes }, entry: pathOf(entry) };
}

const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
const IMPORT = /(?:^|[\s;}])(?:import|export)\b(?:[\w*${},\s]*?\bfrom)?\s*\(?["']([^"'\n]+)["']/g;

const importedBy = (code: string): Set<string> =>
  new Set([...code.replace(COMMENT, '').matchAll(IMPORT)].map(([, specifier = '']) => specifier));

type Target = string | null | { readonly [condition: string]: Target };
interface Package {
  readonly exports?: Target;
  readonly imports?: Readonly<Record<string, Target>>;
  readonly main?: string;
  readonly browser?: string | Readonly<Record<string, unknown>>;
}

const readPackage = (folder: string): Package =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Package;

/** The folder of the nearest package.json that names a package. */
function packageOf(file: string): string {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (folder === ROOT || (existsSync(join(folder, 'package.json')) && 'name' in readPackage(folder))) return folder;
  }
}

/** The file beside it that a package has in its place for browsers, if there is one. */
function forBrowsers(file: string): string {
  const folder = packageOf(file);
  const { browser } = readPackage(folder);
  const instead = typeof browser === 'object' ? browser[`./${relative(folder, file)}`] : undefined;
  return typeof instead === 'string' ? join(folder, instead) : file;
}

function resolveName(specifier: string, from: string): string {
  const [folder, target] = specifier.startsWith('#') ? inside(specifier, from) : outside(specifier, from);
  const found = chosen(target);
  if (found === undefined) throw new Error(`${pathOf(from)} needs ${specifier}, which gives a browser nothing`);
  return join(folder, found);
}

function inside(specifier: string, from: string): [string, Target | undefined] {
  const folder = packageOf(from);
  return [folder, readPackage(folder).imports?.[specifier]];
}

function outside(specifier: string, from: string): [string, Target | undefined] {
  const parts = specifier.split('/');
  const name = parts.splice(0, specifier.startsWith('@') ? 2 : 1).join('/');
  for (let above = dirname(from); above.startsWith(ROOT); above = dirname(above)) {
    const folder = join(above, 'node_modules', name);
    if (!existsSync(join(folder, 'package.json'))) continue;
    const { exports, main } = readPackage(folder);
    if (exports === undefined || exports === null) return [folder, main ?? 'index.js'];
    const subpath = ['.', ...parts].join('/');
    if (typeof exports === 'string') return [folder, subpath === '.' ? exports : undefined];
    const isByPath = Object.keys(exports).some((key) => key.startsWith('.'));
    return [realOf(folder), isByPath ? exports[subpath] : exports];
  }
  throw new Error(`${pathOf(from)} needs ${specifier}, which is not installed`);
}

/** Packages of ours are links, and their files import each other by where they are. */
const realOf = (folder: string): string =>
  folder.includes('/@idlewild/') ? join(ROOT, 'packages', folder.split('/').at(-1) ?? '') : folder;

function chosen(target: Target | undefined): string | undefined {
  if (typeof target === 'string') return target;
  for (const [condition, inner] of Object.entries(target ?? {})) {
    const found = CONDITIONS.has(condition) ? chosen(inner) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}
