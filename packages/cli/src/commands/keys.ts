/** `idlewild keys`: who may call, and as what. */
import type { KeyLimitsRequest } from '@idlewild/client';
import type { DataClass } from '@idlewild/protocol';
import { Option, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { limitText, parseLimitChange, parsePerMinuteOrNone } from '../text/limits.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addKeyCommands(program: Command): void {
  const keys = program
    .command('keys')
    .summary('make, list, limit and revoke keys')
    .description(
      'Make, list, limit and revoke the keys with which programs ask: keys of the community, and with --own keys ' +
        'that are yours and may do what you may.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild keys create --name "Ada\'s notebook"');
  addCreate(keys);
  addList(keys);
  addLimit(keys);
  addRevoke(keys);
}

interface CreateOptions {
  readonly own?: boolean;
  readonly dataClass?: DataClass;
  readonly project?: string;
  readonly role: string;
  readonly name?: string;
  readonly expires?: number;
  readonly requestsPerMinute?: number | 'none';
  readonly tokensPerMinute?: number | 'none';
}

function addCreate(keys: Command): void {
  keys
    .command('create')
    .summary('make a key')
    .description(
      'Make a key. Its text is shown this once; the hub keeps only its hash. Nobody makes one that may do more than ' +
        'they may themselves, or lasts longer.',
    )
    .option('--role <role>', 'what the key may do: a role of the community', 'caller')
    .option('--own', 'a key of yours: it may do what both its role and you may, and goes when you go')
    .option('--name <name>', 'whom or what it is for')
    .option('--project <project>', 'on whose account it asks, by its name or id')
    .addOption(
      new Option('--data-class <class>', 'of what it asks, unless a request says otherwise').choices([
        'public',
        'internal',
        'confidential',
      ]),
    )
    .option(
      '--expires <duration>',
      'how long it lasts, like 90m, 24h or 30d (default: until revoked)',
      parseDurationSeconds,
    )
    .option('--requests-per-minute <count>', 'how often it may ask; none is no limit', parsePerMinuteOrNone)
    .option('--tokens-per-minute <count>', 'how much it may use, prompts and answers', parsePerMinuteOrNone)
    .addHelpText('after', '\nExample:\n  $ idlewild keys create --name "Ada\'s notebook" --expires 30d')
    .action(async (options: CreateOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { expires: expiresInSeconds, own = false, project: wanted, ...rest } = options;
      const { role } = rest;
      const { projectMeant } = await import('../meant.ts');
      const project = wanted === undefined ? undefined : await projectMeant(client, wanted);
      const make = own ? client.people.own.createKey : client.keys.create;
      const made = await make({ ...rest, project, expiresInSeconds }).catch(rolesNamed(role));
      context.note(
        `a ${role}'s key${made.expiresAt === null ? '' : `, good until ${made.expiresAt}`}; it is not shown again`,
      );
      context.show({ id: made.id, key: made.key, role: made.role, expiresAt: made.expiresAt }, () => [made.key]);
    });
}

/** A role that there is not is a slip of the pen. */
const rolesNamed =
  (role: string) =>
  async (error: unknown): Promise<never> => {
    const { IdlewildError, codeOf, messageOf } = await import('@idlewild/protocol');
    if (codeOf(error) !== 'not_found' || !messageOf(error).includes(`role ${role}`)) throw error;
    throw new IdlewildError('usage', `${messageOf(error)}; see: idlewild roles list`, { cause: error });
  };

function addList(keys: Command): void {
  keys
    .command('list')
    .summary('list the keys, without their texts')
    .description('List the keys, without their texts.')
    .option('--own', 'only those that are yours')
    .addHelpText('after', '\nExample:\n  $ idlewild keys list')
    .action(async ({ own = false }: { own?: boolean }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const all = own ? await client.people.own.keys() : await client.keys.list().catch(await ownInstead());
      const nowMs = Date.now();
      context.show(all, () =>
        tableLines(
          [
            { title: 'NAME' },
            { title: 'ROLE' },
            { title: 'OF' },
            { title: 'PROJECT' },
            { title: 'CLASS' },
            { title: 'MADE' },
            { title: 'USED' },
            { title: 'EXPIRES' },
            { title: 'REVOKED' },
            { title: 'REQUESTS/MIN', align: 'right' },
            { title: 'TOKENS/MIN', align: 'right' },
            { title: 'ID' },
          ],
          all.map((key) => [
            key.name ?? '–',
            key.role,
            key.person === null ? '–' : (key.person.name ?? key.person.id),
            key.project ?? '–',
            key.dataClass,
            whenText(key.createdAt, nowMs),
            key.lastUsedDay ?? '–',
            whenText(key.expiresAt, nowMs),
            whenText(key.revokedAt, nowMs),
            limitText(key.requestsPerMinute),
            limitText(key.tokensPerMinute),
            key.id,
          ]),
        ),
      );
    });
}

/** Who may not see everybody's keys may see their own. */
async function ownInstead(): Promise<(error: unknown) => never> {
  const { IdlewildError, messageOf } = await import('@idlewild/protocol');
  return (error) => {
    if ((error as { code?: string }).code !== 'forbidden') throw error;
    const message = `${messageOf(error)}; your own are in: idlewild keys list --own`;
    throw new IdlewildError('forbidden', message, { cause: error });
  };
}

function addLimit(keys: Command): void {
  keys
    .command('limit')
    .summary('limit how fast a key may ask')
    .description('Limit how fast a key may ask, from its next request on. A limit that is not named stays.')
    .argument('<key>', 'its id, the beginning of its id, or its name')
    .option('--requests-per-minute <count>', 'a number, none, or default: what holds for every key', parseLimitChange)
    .option('--tokens-per-minute <count>', 'the same for tokens of prompts and answers', parseLimitChange)
    .addHelpText('after', '\nExample:\n  $ idlewild keys limit "Ada\'s notebook" --tokens-per-minute 20000')
    .action(async (wanted: string, limits: KeyLimitsRequest, command: Command) => {
      const context = contextOf(command);
      if (Object.keys(limits).length === 0) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError('usage', 'name a limit: --requests-per-minute or --tokens-per-minute');
      }
      const client = await context.client();
      const { keyMeant } = await import('../meant.ts');
      const key = await keyMeant(client, wanted, 'limitKey');
      const now = await client.keys.limit(key.id, limits);
      const [requests, tokens] = [limitText(now.requestsPerMinute), limitText(now.tokensPerMinute)];
      const counts = `${requests} requests, ${tokens} tokens per minute`;
      const meaning = counts.includes('–') ? ' (– is what holds for every key)' : '';
      context.show(now, () => [`${key.name ?? key.id}: ${counts}${meaning}`]);
    });
}

function addRevoke(keys: Command): void {
  keys
    .command('revoke')
    .summary('revoke a key')
    .description('Revoke a key: from this moment on nothing is answered to it.')
    .argument('<key>', 'its id, the beginning of its id, or its name')
    .option('--own', 'one that is yours')
    .addHelpText('after', '\nExample:\n  $ idlewild keys revoke "Ada\'s notebook"')
    .action(async (wanted: string, { own = false }: { own?: boolean }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { keyMeant } = await import('../meant.ts');
      const key = await keyMeant(client, wanted, 'revokeKey', own);
      await client.keys.revoke(key.id);
      context.show({ id: key.id, revoked: true }, () => [`revoked ${key.name ?? key.id}`]);
    });
}
