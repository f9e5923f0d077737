/**
 * A territory that loses its hub and goes on at another, by the commands that a steward has. Whoever holds devices (a
 * test with a few real ones, a measurement with thousands of light ones) looks whether they are back.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { startChild } from './processes/child.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');

export interface Doomed {
  readonly data: string;
  /** As a power cut would. */
  kill(): Promise<void>;
}

export type Told = Readonly<Record<string, unknown>>;

/** One call of the command line; what it printed. Throws what it said when it failed. */
export async function idlewild(words: readonly string[]): Promise<Told> {
  const child = startChild<Told>(CLI, [...words, '--json']);
  const { code } = await child.ended;
  if (code !== 0) throw new Error(`idlewild ${words.join(' ')} ended with ${code}: ${child.said()}`);
  return child.lines.at(-1) ?? {};
}

/**
 * Exports the territory from a hub that runs, destroys the hub and its folder, and imports into `data`, where a hub may
 * be started then. Returns what the import told.
 */
export async function destroyAndImport(doomed: Doomed, file: string, data: string): Promise<Told> {
  await idlewild(['territory', 'export', file, '--with-blobs', '--data', doomed.data]);
  await doomed.kill();
  rmSync(doomed.data, { recursive: true });
  return idlewild(['territory', 'import', file, '--data', data]);
}
