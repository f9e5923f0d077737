/**
 * What a lender agreed to, read from `consent.json` without the folder's lock: for whoever looks while the device runs.
 * Whose key signed it is checked by the device at its start; here it has to be the key that it names.
 */
import { join } from 'node:path';
import { consentSchema, equalBytes, openStatement, type Consent } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { z } from 'zod';
import { corrupt, readJson } from './whole-file.ts';

const schema = z.object({ consent: z.record(z.string(), z.unknown()), signed: z.base64() });
const REMEDY = 'remove it and give the consent again by joining';

export interface KeptConsent {
  readonly consent: Consent;
  /** The same for people. */
  readonly readable: Readonly<Record<string, unknown>>;
}

/** `undefined` before anything was agreed to. Throws `data_corrupt`. */
export async function readConsent(folder: string): Promise<KeptConsent | undefined> {
  const path = join(folder, 'consent.json');
  const kept = await readJson(path, schema, REMEDY);
  if (kept === undefined) return undefined;
  const signed = new Uint8Array(Buffer.from(kept.signed, 'base64'));
  const opened = await openStatement('consent', signed, consentSchema, nodeCrypto).catch((error: unknown) => {
    throw corrupt(path, (error as Error).message, REMEDY);
  });
  const { statement: consent, key } = opened;
  if (!equalBytes(key, consent.device)) throw corrupt(path, 'another device signed it', REMEDY);
  return { consent, readable: kept.consent };
}
