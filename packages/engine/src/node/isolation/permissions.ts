/**
 * What holds an engine process on every system: an empty environment, and Node's permission flags.
 *
 * Under the flags it may read the packages and the model's folder and load native addons (the runtime is one). It may
 * not write files, start processes or workers. The flags bind JavaScript, not native code, and do not stop sockets:
 * that is what the walls of this folder are for, where a system has them.
 */
import { realpathSync } from 'node:fs';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const SELF = fileURLToPath(import.meta.url);
const PACKAGES = [
  '@idlewild/protocol',
  '@idlewild/graph',
  'onnxruntime-node',
  'onnxruntime-common',
  '@huggingface/tokenizers',
  '@huggingface/jinja',
  '@mlc-ai/web-xgrammar',
] as const;

/**
 * ONNX Runtime 1.30 reports its use to its maker from Linux too, with a database under the user's home, unless it finds
 * this in its environment when it is loaded.
 */
const NO_TELEMETRY = { ORT_DISABLE_TELEMETRY: '1' } as const;

/** Nothing else, but for what Windows cannot start a program without. */
export function engineEnvironment(): NodeJS.ProcessEnv {
  const systemRoot = process.env['SystemRoot'];
  return process.platform === 'win32' && systemRoot !== undefined
    ? { ...NO_TELEMETRY, SystemRoot: systemRoot }
    : { ...NO_TELEMETRY };
}

/**
 * Flags under which a process may read `readable`, this package and what it imports, and do nothing else that Node can
 * forbid.
 */
export const permissionFlags = (readable: readonly string[]): string[] => [
  '--permission',
  '--allow-addons',
  '--disable-warning=SecurityWarning',
  ...readableFolders(readable).map((folder) => `--allow-fs-read=${folder}`),
];

/** `readable`, and the folders of this package and of what it imports. */
export function readableFolders(readable: readonly string[]): string[] {
  const folders = new Set<string>([packageRoot(SELF)]);
  for (const name of PACKAGES) {
    const path = fileURLToPath(import.meta.resolve(name));
    folders.add(packageRoot(path));
    // Dependencies of these, and the links through which packages of a workspace are found.
    for (const modules of modulesFolders(path)) folders.add(modules);
  }
  return [...folders, ...readable];
}

/**
 * The folder of the package that a file belongs to: the last one under `node_modules`, or the one above `src` or
 * `dist`.
 */
function packageRoot(file: string): string {
  const real = realpathSync(file);
  const parts = real.split(sep);
  const modules = parts.lastIndexOf('node_modules');
  if (modules >= 0) return parts.slice(0, modules + (parts[modules + 1]?.startsWith('@') === true ? 3 : 2)).join(sep);
  const source = Math.max(parts.lastIndexOf('src'), parts.lastIndexOf('dist'));
  return parts.slice(0, source).join(sep);
}

function modulesFolders(file: string): string[] {
  const parts = file.split(sep);
  return parts.flatMap((part, i) => (part === 'node_modules' ? [parts.slice(0, i + 1).join(sep)] : []));
}
