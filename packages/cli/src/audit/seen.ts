/**
 * Heads of audit logs that were seen from this machine: trust on first use. A hub that rewrites its log afterwards, or
 * that shows another log than before, contradicts what is kept here.
 *
 * The newest verified head of each community is kept, as a copy with heads alone; and which community each address
 * belonged to, so that a hub cannot get rid of its past by a new name.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  IdlewildError,
  copyLines,
  verifyCopy,
  type AuditOwner,
  type KnownLog,
  type PlacedHead,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';

export interface SeenLogs {
  /** What was seen of this community, or before at this address; `undefined` at the first time. */
  of(hub: string, territory: string): Promise<KnownLog | undefined>;
  remember(hub: string, owner: AuditOwner, head: PlacedHead): Promise<void>;
}

export function createSeenLogs(dataFolder: string): SeenLogs {
  const folder = join(dataFolder, 'audit-seen');
  const ofTerritory = (id: string): string => join(folder, `${id}.jsonl`);
  const ofHub = (hub: string): string =>
    join(folder, `hub-${createHash('sha256').update(hub).digest('hex').slice(0, 32)}`);
  return {
    async of(hub, territory) {
      const before = (await readIfThere(ofHub(hub)))?.trim();
      const path = ofTerritory(before ?? territory);
      const text = await readIfThere(path);
      if (text === undefined) return undefined;
      const { intact, known, findings } = await verifyCopy(text.split('\n'), nodeCrypto);
      if (intact && known !== undefined) return known;
      throw new IdlewildError(
        'data_corrupt',
        `what was seen of this audit log before cannot be read: ${findings[0]?.why}. ` +
          `Move ${path} away to trust what the hub shows now`,
      );
    },
    async remember(hub, owner, head) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const lines: string[] = [];
      for await (const line of copyLines({ owner, heads: [head] })) lines.push(`${line}\n`);
      await writeWhole(ofTerritory(owner.id), lines.join(''));
      await writeWhole(ofHub(hub), `${owner.id}\n`);
    },
  };
}

async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
