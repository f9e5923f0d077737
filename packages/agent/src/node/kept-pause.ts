/** `pause.json` in a device's folder: the lender's own pause, for as long as it holds. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isOver, pausedAgain, type KeptPause } from '../core/lending/control/lender-pause.ts';
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

/** The one that holds, of a device that does not run. Throws as `readKeptPause` does. */
export async function heldPause(folder: string, nowMs: number): Promise<KeptPause | undefined> {
  const kept = await readKeptPause(folder);
  return kept === undefined || isOver(kept, nowMs) ? undefined : kept;
}

/** Of a device that does not run: it will be paused when it does. The folder is held by the caller. */
export async function pauseResting(folder: string, nowMs: number, forMs: number | undefined): Promise<KeptPause> {
  const paused = pausedAgain(await readKeptPause(folder), nowMs, forMs);
  await keepPause(folder, paused);
  return paused;
}

export async function keepPause(folder: string, pause: KeptPause | undefined): Promise<void> {
  const path = join(folder, PAUSE_FILE);
  if (pause === undefined) return rm(path, { force: true });
  const { sinceMs, untilMs } = pause;
  const until = untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() };
  return writeJson(path, { since: new Date(sinceMs).toISOString(), ...until });
}
