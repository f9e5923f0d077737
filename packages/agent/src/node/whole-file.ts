/**
 * Small files that are read and written whole. Each is written beside its place, flushed, and moved there: after a
 * power cut it is the old or the new one. A damaged one is never guessed at: `data_corrupt` says which and what to do.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { IdlewildError } from '@idlewild/protocol';
import { NODE_LIMITS } from './limits.ts';

export const corrupt = (path: string, seen: string, remedy: string): IdlewildError =>
  new IdlewildError('data_corrupt', `${path} is damaged: ${seen}; ${remedy}`);

/** `undefined` where there is no such file. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path);
    // A pipe would be waited for without end.
    if (!found.isFile()) throw corrupt(path, 'it is no file', 'remove it');
    const { size } = found;
    if (size > NODE_LIMITS.settingsBytesMax) throw corrupt(path, `it has ${size} bytes`, 'remove it');
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export async function readJson<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  remedy: string,
): Promise<z.infer<Schema> | undefined> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, (cause as Error).message, remedy);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw corrupt(path, `${issue?.path.join('.') || 'its root'}: ${issue?.message ?? ''}`, remedy);
}

export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, undefined, 2)}\n`);

export async function writeWhole(path: string, text: string): Promise<void> {
  const beside = `${path}.new`;
  const file = await open(beside, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncParent(path);
}

/** A rename is durable once its folder is; Windows neither needs nor allows it. */
async function syncParent(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const parent = await open(join(path, '..'), 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}
