/**
 * From what a lender wrote, chose and agreed to before to a consent: the preset first, then single figures, then yes or
 * no. With a yes beforehand nobody is asked. Nothing is written here, and nothing is started.
 */
import { existsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { NO_PAUSE_RULES, type LendingSettings } from '@idlewild/agent';
import { openDataFolder, readLending, type LenderChoice } from '@idlewild/agent/node';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { terminalOf } from './ask.ts';
import type { LendingFlags } from './commands/lending-options.ts';
import { askConsent, askPreset } from './consent-screen.ts';
import { choiceOfConsent, choiceOfPreset, chosen, settingsAfter, settingsOf } from './lending-flags.ts';

export interface Asked {
  readonly flags: LendingFlags;
  /** Its owner has said yes. */
  readonly yes: boolean;
  readonly json: boolean;
  readonly address: string | undefined;
  readonly invite: string | undefined;
  readonly name: string | undefined;
  readonly data: string;
}

export interface Agreed {
  readonly choice: LenderChoice;
  /** Of the lender alone; absent: as they were. */
  readonly settings: LendingSettings | undefined;
}

/** Throws `consent_refused` at a no, `usage` for what cannot be read and where nobody can be asked. */
export async function agree({ flags, yes, json, data, ...about }: Asked): Promise<Agreed> {
  const terminal = yes ? undefined : terminalOf(json, 'lending a machine');
  const machine = { memoryBytes: totalmem() };
  const kept = await keptChoice(data);
  const told = { ...flags };
  if (kept === undefined) told.preset ??= terminal === undefined ? 'balanced' : await askPreset(terminal);
  const { preset } = told;
  const choice = chosen(told, kept ?? choiceOfPreset(preset ?? 'balanced', machine), machine);
  const before = await readLending(data);
  const settings = settingsAfter(told, before);
  if (terminal !== undefined) await askConsent({ ...about, data, choice, preset }, terminal);
  if (flags.neverPause === undefined) return { choice, settings };
  return { choice, settings: { ...(settings ?? before ?? settingsOf('balanced', before)), rules: NO_PAUSE_RULES } };
}

/** What was agreed to in this folder. */
async function keptChoice(data: string): Promise<LenderChoice | undefined> {
  if (!existsSync(join(data, 'consent.json'))) return undefined;
  const folder = await openDataFolder(data, { clock: systemClock, random: nodeRandom, crypto: nodeCrypto });
  try {
    const signed = await folder.consent();
    return signed === undefined ? undefined : await choiceOfConsent(signed, folder.identity, nodeCrypto);
  } finally {
    folder.close();
  }
}
