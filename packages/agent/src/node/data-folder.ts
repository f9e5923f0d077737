/**
 * What a device keeps between its runs, in a folder that one process holds at a time:
 *
 *   device.key     the identity's seed, hexadecimal, 0600: whoever has it is this device
 *   device.json    where its hub is, whom it trusts, its name, and whether it has been enrolled
 *   consent.json   the lender's consent, to be read by people, with the signed bytes that alone count
 *   blobs/ models/ the store and its folders; other modules own what is in them
 *
 * Every file is written whole beside its place, flushed, and moved there: after a power cut it is the old or the new
 * one. A damaged file is never guessed at: `data_corrupt` says which one and what to do.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  fromHex,
  hex,
  type Clock,
  type Consent,
  type Crypto,
  type KeyPair,
  type Random,
} from '@idlewild/protocol';
import { lockFolder } from '@idlewild/protocol/node';
import { openConsent, signConsent, type ConsentChoice } from '../core/consent.ts';
import { NODE_LIMITS } from './limits.ts';

const hex32 = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits');
const placeSchema = z.object({ url: z.url(), pin: hex32.optional(), session: z.literal(true).optional() });
const settingsSchema = placeSchema.extend({
  territory: hex32,
  movedFrom: z.url().optional(),
  before: placeSchema.optional(),
  name: z.string().min(1).max(LIMITS.nameCharactersMax),
  enrolled: z.boolean(),
});
const consentFileSchema = z.object({ consent: z.record(z.string(), z.unknown()), signed: z.base64() });

export interface KeptPlace {
  readonly url: string;
  readonly pin?: Uint8Array | undefined;
  /** The hub is behind something that ends TLS, and has to seal its sessions. */
  readonly session?: true | undefined;
}

export interface DeviceSettings extends KeptPlace {
  readonly territory: Uint8Array;
  /** The address that its lender told, if the device has been led elsewhere since. */
  readonly movedFrom?: string | undefined;
  /** Where its hub was before, to be tried when it does not answer for long. */
  readonly before?: KeptPlace | undefined;
  readonly name: string;
  readonly enrolled: boolean;
}

export interface DataFolder {
  readonly folder: string;
  readonly identity: KeyPair;
  /** `undefined` before the device has joined. */
  settings(): Promise<DeviceSettings | undefined>;
  saveSettings(settings: DeviceSettings): Promise<void>;
  /** The signed statement; `undefined` before the lender has consented. Throws `data_corrupt` for a changed one. */
  consent(): Promise<Uint8Array | undefined>;
  /** Signs and keeps what the lender chose. */
  giveConsent(choice: ConsentChoice): Promise<Uint8Array>;
  /** Lets another process have the folder; again does nothing. */
  close(): void;
}

interface Ports {
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
}

/** Makes the folder and the identity if need be. Throws `data_locked`, `data_corrupt`, `usage`. */
export async function openDataFolder(folder: string, ports: Ports): Promise<DataFolder> {
  const lock = lockFolder(folder, 'device');
  try {
    const identity = await readIdentity(join(folder, 'device.key'), ports);
    let isHeld = true;
    return folderOver(folder, identity, ports, () => {
      if (isHeld) lock.release();
      isHeld = false;
    });
  } catch (error) {
    lock.release();
    throw error;
  }
}

function folderOver(folder: string, identity: KeyPair, { clock, crypto }: Ports, close: () => void): DataFolder {
  const settingsPath = join(folder, 'device.json');
  const consentPath = join(folder, 'consent.json');
  return {
    folder,
    identity,
    close,
    async settings() {
      const saved = await readJson(settingsPath, settingsSchema, 'remove it and join again with a new invite');
      if (saved === undefined) return undefined;
      const { territory, name, enrolled, movedFrom, before } = saved;
      return {
        ...placeRead(saved),
        territory: fromHex(territory),
        name,
        enrolled,
        ...(movedFrom === undefined ? {} : { movedFrom }),
        ...(before === undefined ? {} : { before: placeRead(before) }),
      };
    },
    saveSettings: ({ territory, name, enrolled, movedFrom, before, ...place }) =>
      writeJson(settingsPath, {
        ...placeWritten(place),
        territory: hex(territory),
        movedFrom,
        before: before === undefined ? undefined : placeWritten(before),
        name,
        enrolled,
      }),
    async consent() {
      const remedy = 'remove it and give the consent again by joining';
      const saved = await readJson(consentPath, consentFileSchema, remedy);
      if (saved === undefined) return undefined;
      const signed = new Uint8Array(Buffer.from(saved.signed, 'base64'));
      const statement = await openConsent(signed, identity.publicKey, crypto).catch((thrown: unknown) => {
        throw corrupt(consentPath, asIdlewildError(thrown, 'reading it').message, remedy);
      });
      if (JSON.stringify(readable(statement)) !== JSON.stringify(saved.consent)) {
        throw corrupt(consentPath, 'its readable part differs from the signed one', remedy);
      }
      return signed;
    },
    async giveConsent(choice) {
      const signed = await signConsent(choice, identity, clock, crypto);
      const consent = readable(await openConsent(signed, identity.publicKey, crypto));
      await writeJson(consentPath, { consent, signed: Buffer.from(signed).toString('base64') });
      return signed;
    },
  };
}

const placeRead = ({ url, pin, session }: z.infer<typeof placeSchema>): KeptPlace => ({
  url,
  ...(pin === undefined ? {} : { pin: fromHex(pin) }),
  ...(session === undefined ? {} : { session }),
});
const placeWritten = ({ url, pin, session }: KeptPlace): z.infer<typeof placeSchema> => ({
  url,
  pin: pin === undefined ? undefined : hex(pin),
  session,
});

/** The same fields in the same order whoever wrote them, keys as hexadecimal. */
function readable(consent: Consent): Record<string, unknown> {
  const { territories, kinds, presence, tokensPerSecondMax, diskBytesMax, uploadBytesPerSecondMax, issuedAtMs } =
    consent;
  return {
    territories: territories.map(hex),
    kinds,
    presence,
    ...(tokensPerSecondMax === undefined ? {} : { tokensPerSecondMax }),
    ...(diskBytesMax === undefined ? {} : { diskBytesMax }),
    ...(uploadBytesPerSecondMax === undefined ? {} : { uploadBytesPerSecondMax }),
    issuedAt: new Date(issuedAtMs).toISOString(),
  };
}

async function readIdentity(path: string, { random, crypto }: Ports): Promise<KeyPair> {
  const saved = await readText(path);
  if (saved === undefined) {
    const seed = random.bytes(32);
    await writeWhole(path, `${hex(seed)}\n`);
    return crypto.signingKey(seed);
  }
  const text = saved.trim();
  if (!hex32.safeParse(text).success) {
    throw corrupt(path, 'it does not hold a key', 'put it back from a copy, or remove it and join as a new device');
  }
  return crypto.signingKey(fromHex(text));
}

const corrupt = (path: string, seen: string, remedy: string): IdlewildError =>
  new IdlewildError('data_corrupt', `${path} is damaged: ${seen}; ${remedy}`);

async function readText(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > NODE_LIMITS.settingsBytesMax) throw corrupt(path, `it has ${size} bytes`, 'remove it');
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function readJson<Schema extends z.ZodType>(
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

const writeJson = (path: string, value: unknown): Promise<void> =>
  writeWhole(path, `${JSON.stringify(value, undefined, 2)}\n`);

async function writeWhole(path: string, text: string): Promise<void> {
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
