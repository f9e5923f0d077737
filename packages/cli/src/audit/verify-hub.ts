/** The log of a hub, held against itself and against what was seen of it from this machine before. */
import type { Client } from '@idlewild/client';
import {
  IdlewildError,
  openAuditHead,
  verifyConsistency,
  verifyCopy,
  fromHex,
  hex,
  type KnownLog,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { Context } from '../context.ts';
import { defaultDataFolder } from '../data-folder.ts';
import { countText } from '../text/units.ts';
import { createSeenLogs } from './seen.ts';
import { openLog, placedHead } from './source.ts';
import { showVerdict } from './verdict.ts';

interface Wanted {
  readonly territory?: string | undefined;
  readonly against?: string | undefined;
}

/** Reads all of it. Throws `audit_broken`, and then remembers nothing. */
export async function verifyHub(context: Context, client: Client, { territory, against }: Wanted): Promise<void> {
  const seen = createSeenLogs(defaultDataFolder());
  const log = await openLog(client);
  const before = await olderOf(seen, client, log.owner.id, against);
  const lines = log.lines();
  const verdict = await verifyCopy(lines, nodeCrypto, { community: territory, older: before });
  const size = Math.max(before?.entries ?? 0, ...(before?.heads ?? []).map((head) => head.size));
  const beside = [
    before === undefined
      ? 'seen for the first time from here: its newest head is remembered, and a later rewrite will be noticed'
      : `it goes on from the ${countText(size, 'entry', 'entries')} seen before`,
  ];
  if (verdict.intact && verdict.owner !== undefined && verdict.head !== undefined) {
    await seen.remember(client.hub, verdict.owner, verdict.head);
  }
  showVerdict(context, verdict, 'the log', verdict.intact ? beside : []);
}

async function olderOf(
  seen: ReturnType<typeof createSeenLogs>,
  client: Client,
  territory: string,
  against: string | undefined,
): Promise<KnownLog | undefined> {
  if (against === undefined) return seen.of(client.hub, territory);
  const { readKnown } = await import('./files.ts');
  return readKnown(against);
}

/** Asks for no more than a proof: the newest head must go on from the one seen before. */
export async function verifyGrowth(context: Context, client: Client, { territory }: Wanted): Promise<void> {
  const { territory: told } = await client.audit.heads();
  if (territory !== undefined && told.id !== territory) {
    throw new IdlewildError('audit_broken', `the hub shows the log of ${told.id}, not of ${territory}`);
  }
  const seen = createSeenLogs(defaultDataFolder());
  const known = await seen.of(client.hub, told.id);
  const before = known?.heads.at(-1);
  if (known === undefined || before === undefined) {
    throw new IdlewildError(
      'usage',
      'nothing was seen of this log from here before; verify it without --quick, and its newest head is remembered',
    );
  }
  const { head: carried, path } = await client.audit.consistency(before.size);
  const head = await openAuditHead(placedHead(carried), known.owner.key, nodeCrypto).catch((error: unknown) => {
    throw new IdlewildError('audit_broken', `the newest head is not of ${known.owner.id}: ${(error as Error).message}`);
  });
  const claim = { first: before.size, firstRoot: before.root, second: head.size, secondRoot: head.root };
  if (!(await verifyConsistency({ ...claim, path: path.map(fromHex) }, nodeCrypto))) {
    throw new IdlewildError(
      'audit_broken',
      `the log was rewritten: that of ${head.size} entries does not go on from the ${before.size} entries seen before`,
    );
  }
  await seen.remember(client.hub, known.owner, placedHead(carried));
  const result = {
    intact: true,
    territory: known.owner.id,
    from: before.size,
    entries: head.size,
    root: hex(head.root),
  };
  context.show(result, () => [
    `the log goes on from the ${countText(before.size, 'entry', 'entries')} seen before, to ${head.size}`,
  ]);
}
