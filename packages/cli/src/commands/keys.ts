/** `idlewild keys`: who may call, and as what. */
import { Option, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addKeyCommands(program: Command): void {
  const keys = program
    .command('keys')
    .summary('make, list and revoke keys')
    .description('Make, list and revoke the keys with which callers and stewards ask.');

  keys
    .command('create')
    .summary('make a key')
    .description('Make a key. Its text is shown this once; the hub keeps only its hash.')
    .addOption(new Option('--role <role>', 'what the key may do').choices(['caller', 'steward']).default('caller'))
    .option('--name <name>', 'whom or what it is for')
    .option(
      '--expires <duration>',
      'how long it lasts, like 90m, 24h or 30d (default: until revoked)',
      parseDurationSeconds,
    )
    .addHelpText('after', '\nExample:\n  $ idlewild keys create --name "Ada\'s notebook" --expires 30d')
    .action(async (options: { role: string; name?: string; expires?: number }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { role, name, expires: expiresInSeconds } = options;
      const made = await client.keys.create({ role, name, expiresInSeconds });
      context.note(
        `a ${role}'s key${made.expiresAt === null ? '' : `, good until ${made.expiresAt}`}; it is not shown again`,
      );
      context.show({ id: made.id, key: made.key, role: made.role, expiresAt: made.expiresAt }, () => [made.key]);
    });

  keys
    .command('list')
    .summary('list the keys, without their texts')
    .description('List the keys, without their texts.')
    .addHelpText('after', '\nExample:\n  $ idlewild keys list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).keys.list();
      const nowMs = Date.now();
      context.show(all, () =>
        tableLines(
          [
            { title: 'NAME' },
            { title: 'ROLE' },
            { title: 'MADE' },
            { title: 'EXPIRES' },
            { title: 'REVOKED' },
            { title: 'ID' },
          ],
          all.map((key) => [
            key.name ?? '–',
            key.role,
            whenText(key.createdAt, nowMs),
            whenText(key.expiresAt, nowMs),
            whenText(key.revokedAt, nowMs),
            key.id,
          ]),
        ),
      );
    });

  keys
    .command('revoke')
    .summary('revoke a key')
    .description('Revoke a key: from this moment on nothing is answered to it.')
    .argument('<key>', 'its id, the beginning of its id, or its name')
    .addHelpText('after', '\nExample:\n  $ idlewild keys revoke "Ada\'s notebook"')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { pick } = await import('../pick.ts');
      const live = (await client.keys.list()).filter((key) => key.revokedAt === null);
      const key = pick(live, wanted, 'key');
      await client.keys.revoke(key.id);
      context.show({ id: key.id, revoked: true }, () => [`revoked ${key.name ?? key.id}`]);
    });
}
