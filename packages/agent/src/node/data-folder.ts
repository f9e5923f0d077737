/**
 * What a device keeps between its runs, in a folder that one process holds at a time:
 *
 *   device.key     the identity's seed, hexadecimal, 0600: whoever has it is this device
 *   device.json    where its hub is, whom it trusts, its name, and whether it has been enrolled
 *   consent.json   the lender's consent: `kept-consent.ts`
 *   lending.json   what is the lender's own business: `lending-file.ts`
 *   blobs/ models/ the store and its folders; other modules own what is in them
 *
 * After a power cut each file is the old or the new one, and a damaged one is named and never guessed at.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { LIMITS, fromHex, hex, type Clock, type Crypto, type KeyPair, type Random } from '@idlewild/protocol';
import { lockFolder } from '@idlewild/protocol/node';
import { openConsent, signConsent, type ConsentChoice } from '../core/consent.ts';
import { keepConsent, readOwnConsent } from './kept-consent.ts';
import { corrupt, readJson, readText, writeJson, writeWhole } from './whole-file.ts';

const hex32 = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits');
const placeSchema = z.object({ url: z.url(), pin: hex32.optional(), session: z.literal(true).optional() });
const settingsSchema = placeSchema.extend({
  territory: hex32,
  movedFrom: z.url().optional(),
  before: placeSchema.optional(),
  name: z.string().min(1).max(LIMITS.nameCharactersMax),
  enrolled: z.boolean(),
});

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
    consent: async () => (await readOwnConsent(folder, identity.publicKey, crypto))?.signed,
    async giveConsent(choice) {
      const signed = await signConsent(choice, identity, clock, crypto);
      await keepConsent(folder, await openConsent(signed, identity.publicKey, crypto), signed);
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
