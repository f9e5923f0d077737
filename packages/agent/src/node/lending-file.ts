/**
 * `lending.json` in a device's folder: the lender's own settings, to be read and edited by people. It holds no secret
 * and nothing that was promised to anybody, so whoever may write the folder may change it; what was promised is signed,
 * in `consent.json` beside it. It is read without the folder's lock.
 */
import { join } from 'node:path';
import { lendingSettingsSchema, type LendingSettings } from '../core/lending/terms/settings.ts';
import { readJson, writeJson } from './whole-file.ts';

const pathIn = (folder: string): string => join(folder, 'lending.json');

/** `undefined` where the lender chose nothing. Throws `data_corrupt`, naming the file and the field. */
export const readLending = (folder: string): Promise<LendingSettings | undefined> =>
  readJson(pathIn(folder), lendingSettingsSchema, 'correct it, or remove it and join again with --preset');

export const writeLending = (folder: string, settings: LendingSettings): Promise<void> =>
  writeJson(pathIn(folder), settings);
