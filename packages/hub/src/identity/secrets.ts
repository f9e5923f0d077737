/**
 * Where a hub keeps its few secrets: 32-byte seeds and its certificates, by name.
 *
 * On disk each is a file of its owner alone (mode 0600): a line that says what it is, then base64. Writing is all or
 * nothing, also across a power cut. Replicas keep theirs in the database (`database-secrets.ts`). The first territory
 * of a hub has the plain names; those of a further one are in `territories/ID/`. It knows no meaning of what it keeps.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { IdlewildError, isId, type MaybePromise } from '@idlewild/protocol';

export const KEY_BYTES = 32;

export const SECRET_NAMES = [
  'territory.key',
  'hub.key',
  'hub.certificate',
  'journal.key',
  'scope.key',
  'sign-in.key',
  'bus.key',
  'moved.address',
] as const;
export type SecretName = (typeof SECRET_NAMES)[number];

/** Of one of the further territories of a hub. */
type FurtherName = `territories/${string}/${SecretName}`;
export type KeptName = SecretName | FurtherName;

export interface Secrets {
  /** Throws `data_corrupt` for something that was not written by `write`. */
  read(name: KeptName): MaybePromise<Uint8Array | undefined>;
  /**
   * `header` is one line for the person who opens the file. In a database that replicas share, a key that is there is
   * never replaced: the first one's stays.
   */
  write(name: KeptName, bytes: Uint8Array, header: string): MaybePromise<void>;
}

/** These are of the process, whatever territories it serves. */
export const SHARED_SECRETS: ReadonlySet<SecretName> = new Set(['hub.key', 'bus.key']);

export const furtherName = (territory: string, name: SecretName): FurtherName => {
  if (!isId(territory, 'ter')) throw new Error(`secrets of "${territory}", which is no id of a territory`);
  return `territories/${territory}/${name}`;
};

/** The secrets of one of the further territories, under the names that a hub of one has for them. */
export function secretsOf(secrets: Secrets, territory: string): Secrets {
  const nameOf = (name: KeptName): KeptName =>
    SHARED_SECRETS.has(name as SecretName) ? name : furtherName(territory, name as SecretName);
  return {
    read: (name) => secrets.read(nameOf(name)),
    write: (name, bytes, header) => secrets.write(nameOf(name), bytes, header),
  };
}

/** What is kept under `name`, or else what `make` gives, kept from now on: the same for all who ask at once. */
export async function ensureSecret(
  secrets: Secrets,
  name: SecretName,
  make: () => Uint8Array,
  header: string,
): Promise<Uint8Array> {
  const kept = await secrets.read(name);
  if (kept !== undefined) return kept;
  const made = make();
  await secrets.write(name, made, header);
  // Where replicas write at once, the first one's is kept.
  return (await secrets.read(name)) ?? made;
}

export function createMemorySecrets(): Secrets {
  const kept = new Map<KeptName, Uint8Array>();
  return {
    read: (name) => kept.get(name)?.slice(),
    write: (name, bytes) => {
      kept.set(name, bytes.slice());
    },
  };
}

export function createDiskSecrets(folder: string): Secrets {
  return {
    read(name) {
      const file = join(folder, name);
      const text = readIfThere(file);
      if (text === undefined) return undefined;
      const [header = '', body = '', ...rest] = text.split('\n');
      if (header.startsWith('#') && /^[A-Za-z0-9+/]+={0,2}$/.test(body) && rest.join('') === '') {
        const bytes = new Uint8Array(Buffer.from(body, 'base64'));
        // Base64 that was cut short is base64 still; a key has one length.
        if (!name.endsWith('.key') || bytes.length === KEY_BYTES) return bytes;
      }
      throw new IdlewildError(
        'data_corrupt',
        `${file} is damaged: it should hold a line that begins with # and one of ` +
          'base64. Put a backup of it in its place',
      );
    },
    write(name, bytes, header) {
      const file = join(folder, name);
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      const next = `${file}.next`;
      withFile(next, 'w', (descriptor) => {
        writeSync(descriptor, `# ${header}\n${Buffer.from(bytes).toString('base64')}\n`);
      });
      renameSync(next, file);
      // The new name is durable once the folder is.
      withFile(dirname(file), 'r', () => {});
    },
  };
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function withFile(path: string, flags: string, act: (descriptor: number) => void): void {
  const descriptor = openSync(path, flags, 0o600);
  try {
    act(descriptor);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
