/**
 * `consent.json` in a device's folder: what its lender agreed to, to be read by people, and the signed bytes, which
 * alone count.
 *
 * What people read has to be what was signed. The device itself reads it as its own: its key has signed it. Whoever
 * looks while the device runs reads it without the folder's lock; then the key has to be the one that it names.
 */
import { join } from 'node:path';
import {
  IdlewildError,
  asIdlewildError,
  consentSchema,
  equalBytes,
  hex,
  openStatement,
  type Consent,
  type Crypto,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { z } from 'zod';
import { openConsent } from '../core/consent.ts';
import { hoursText } from '../core/lending/terms/hours.ts';
import { corrupt, readJson, writeJson } from './whole-file.ts';

const schema = z.object({ consent: z.record(z.string(), z.unknown()), signed: z.base64() });
const REMEDY = 'remove it and give the consent again by joining';

const pathIn = (folder: string): string => join(folder, 'consent.json');

export interface KeptConsent {
  readonly consent: Consent;
  readonly signed: Uint8Array;
  /** The same for people. */
  readonly readable: Readonly<Record<string, unknown>>;
}

/** `undefined` before anything was agreed to. Throws `data_corrupt`, also where both parts differ. */
export function readConsent(folder: string): Promise<KeptConsent | undefined> {
  return read(folder, async (signed) => {
    const { statement, key } = await openStatement('consent', signed, consentSchema, nodeCrypto);
    if (!equalBytes(key, statement.device)) {
      throw new IdlewildError('signature_invalid', 'another device signed it');
    }
    return statement;
  });
}

/** As its device does, whose key is `device`. */
export const readOwnConsent = (folder: string, device: Uint8Array, crypto: Crypto): Promise<KeptConsent | undefined> =>
  read(folder, (signed) => openConsent(signed, device, crypto));

async function read(folder: string, open: (signed: Uint8Array) => Promise<Consent>): Promise<KeptConsent | undefined> {
  const path = pathIn(folder);
  const kept = await readJson(path, schema, REMEDY);
  if (kept === undefined) return undefined;
  const signed = new Uint8Array(Buffer.from(kept.signed, 'base64'));
  const consent = await open(signed).catch((thrown: unknown) => {
    throw corrupt(path, asIdlewildError(thrown, 'reading it').message, REMEDY);
  });
  // Who changed what people read would be shown what nobody agreed to.
  if (JSON.stringify(readableOf(consent)) !== JSON.stringify(kept.consent)) {
    throw corrupt(path, 'its readable part differs from the signed one', REMEDY);
  }
  return { consent, signed, readable: kept.consent };
}

export const keepConsent = (folder: string, consent: Consent, signed: Uint8Array): Promise<void> =>
  writeJson(pathIn(folder), { consent: readableOf(consent), signed: Buffer.from(signed).toString('base64') });

/** The same fields in the same order whoever wrote them: keys as hexadecimal, hours as people say them. */
function readableOf(consent: Consent): Record<string, unknown> {
  const { territories, kinds, presence, classes, causes, refused, hours, gpu, issuedAtMs } = consent;
  const { tokensPerSecondMax, diskBytesMax, uploadBytesPerSecondMax } = consent;
  const { cpuShareMax, memoryBytesMax, downloadBytesPerSecondMax, celsiusMax, wattHoursPerDayMax } = consent;
  const limits = { tokensPerSecondMax, diskBytesMax, uploadBytesPerSecondMax };
  const whole = { territories: territories.map(hex), kinds, presence };
  const issuedAt = new Date(issuedAtMs).toISOString();
  if (consent.v === 1) return { ...whole, ...limits, issuedAt };
  return {
    version: 2,
    ...whole,
    classes,
    causes,
    refused,
    hours: hours === undefined ? 'always' : hoursText(hours),
    cpuShareMax,
    memoryBytesMax,
    ...limits,
    downloadBytesPerSecondMax,
    gpu,
    celsiusMax,
    wattHoursPerDayMax,
    issuedAt,
  };
}
