/** `pause.json` in a device's folder: the lender's own pause, for as long as it holds. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { KeptPause } from '../core/lending/lender-pause.ts';
import { readJson, writeJson } from './whole-file.ts';

export const PAUSE_FILE = 'pause.json';

const schema = z.object({ since: z.iso.datetime(), until: z.iso.datetime().optional() });

/** Throws `data_corrupt` for a damaged one: nothing runs on a guess of what its lender meant. */
export async function readKeptPause(folder: string): Promise<KeptPause | undefined> {
  const remedy = 'remove it, and pause again if it is to be paused';
  const kept = await readJson(join(folder, PAUSE_FILE), schema, remedy);
  if (kept === undefined) return undefined;
  const { since, until } = kept;
  return { sinceMs: Date.parse(since), ...(until === undefined ? {} : { untilMs: Date.parse(until) }) };
}

export async function keepPause(folder: string, pause: KeptPause | undefined): Promise<void> {
  const path = join(folder, PAUSE_FILE);
  if (pause === undefined) return rm(path, { force: true });
  const { sinceMs, untilMs } = pause;
  const until = untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() };
  return writeJson(path, { since: new Date(sinceMs).toISOString(), ...until });
}
