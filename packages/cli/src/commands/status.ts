/** `idlewild status`: a hub at a glance. */
import type { HubReplica } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { signatureText } from '../text/signature.ts';
import { factLines, tableLines } from '../text/table.ts';
import { countText, spanText, whenText } from '../text/units.ts';

export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .summary('the hub at a glance')
    .description('The hub at a glance: its devices, models and answers.')
    .addHelpText('after', '\nExample:\n  $ idlewild status')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const status = await client.status();
      const devices = Object.entries(status.devices)
        .filter(([, count]) => count > 0)
        .map(([state, count]) => `${count} ${state}`);
      context.show(status, () => [
        ...factLines([
          ['hub', `${client.hub}, up for ${spanText(status.uptimeSeconds)}, version ${status.version}`],
          ['community', `${status.territory.name} (${status.territory.id})`],
          ['devices', devices.join(', ') || 'none yet; `idlewild invite` lets one in'],
          ['models', String(status.models)],
          ['answers', `${countText(status.answers.open, 'answer')} open, ${status.answers.queued} waiting`],
        ]),
        ...replicaLines(status.replicas ?? []),
      ]);
      // Of rules that look at no text nobody needs a signature.
      if (status.use === undefined || status.use.signature === 'none') return;
      const { text, isFine } = signatureText(status.use, Date.now());
      if (!isFine) context.note(`rules of use: ${text}`);
    });
}

/** Nothing where there is one: the hub's own line says it all. */
function replicaLines(replicas: readonly HubReplica[]): string[] {
  if (replicas.length < 2) return [];
  const nowMs = Date.now();
  const rows = replicas.map((replica) => [
    replica.address,
    replica.state === 'silent' ? `silent for ${spanText(replica.seenSecondsAgo)}` : replica.state,
    String(replica.devices),
    String(replica.answers),
    replica.version,
    whenText(replica.startedAt, nowMs),
    replica.id,
  ]);
  const columns = [
    { title: 'REPLICA' },
    { title: 'STATE' },
    { title: 'DEVICES', align: 'right' },
    { title: 'ANSWERS', align: 'right' },
    { title: 'VERSION' },
    { title: 'STARTED' },
    { title: 'ID' },
  ] as const;
  return ['', ...tableLines(columns, rows)];
}
