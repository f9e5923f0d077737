/** `idlewild roles bind|unbind|bindings`: who has which role, on what, and until when. */
import type { Binding, Client, Scope, SubjectKind } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { scopeText } from '../text/roles.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addBindingCommands(roles: Command): void {
  addBind(roles);
  addUnbind(roles);
  addBindings(roles);
}

interface SubjectOptions {
  readonly person?: string | undefined;
  readonly group?: string | undefined;
  readonly key?: string | undefined;
}

/** `--key` is what the command asks with. */
interface BindOptions extends Omit<SubjectOptions, 'key'> {
  readonly toKey?: string;
  readonly project?: string;
  readonly model?: string;
  readonly pool?: string;
  readonly expires?: number;
}

function addBind(roles: Command): void {
  roles
    .command('bind')
    .summary('give a role to a person, group or key')
    .description(
      'Give a role to a person, group or key; without a project, model or pool it holds in the whole community. It ' +
        'takes holding everything that the role permits, there and as long.',
    )
    .argument('<role>', 'its name')
    .option('--person <member>', 'name or id of a member')
    .option('--group <group>', 'name or id of a group')
    .option('--to-key <key>', 'name or id of a key')
    .option('--project <project>', 'only on this project, by its name or id')
    .option('--model <model>', 'only on this model')
    .option('--pool <pool>', 'only on the devices of this pool, also where they answer')
    .option('--expires <duration>', 'how long it lasts, like 24h or 30d (default: until taken)', parseDurationSeconds)
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild roles bind member --person Ada\n' +
        '  $ idlewild roles bind shift-lead --group night --pool lab --expires 12h',
    )
    .action(async (role: string, { expires, toKey, ...options }: BindOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const subject = await subjectMeant(
        client,
        { person: options.person, group: options.group, key: toKey },
        'bindRole',
      );
      const scope = await scopeMeant(client, options);
      const made = await client.people.bindings.create({ subject, role, scope, expiresInSeconds: expires });
      context.show(made, () => [`${made.subject.name ?? made.subject.id} has the role ${role} on ${scopeText(scope)}`]);
    });
}

async function subjectMeant(
  client: Client,
  { person, group, key }: SubjectOptions,
  action: string,
): Promise<{ readonly kind: SubjectKind; readonly id: string }> {
  const named = [person, group, key].filter((each) => each !== undefined);
  if (named.length !== 1) {
    const { IdlewildError } = await import('@idlewild/protocol');
    throw new IdlewildError('usage', 'say to whom: one of --person, --group and --to-key');
  }
  const { groupMeant, keyMeant, memberMeant } = await import('../meant.ts');
  if (person !== undefined) return { kind: 'person', id: (await memberMeant(client, person, action)).id };
  if (group !== undefined) return { kind: 'group', id: (await groupMeant(client, group, action)).id };
  return { kind: 'key', id: (await keyMeant(client, key ?? '', action)).id };
}

async function scopeMeant(client: Client, { project, model, pool }: BindOptions): Promise<Scope> {
  if ([project, model, pool].filter((each) => each !== undefined).length > 1) {
    const { IdlewildError } = await import('@idlewild/protocol');
    throw new IdlewildError('usage', 'a role is bound on one thing: a project, a model or a pool');
  }
  if (project !== undefined) {
    const { projectMeant } = await import('../meant.ts');
    return { kind: 'project', id: await projectMeant(client, project) };
  }
  if (model !== undefined) return { kind: 'model', id: (await client.models.get(model)).cid };
  return pool === undefined ? { kind: 'territory', id: '' } : { kind: 'pool', id: pool };
}

function addUnbind(roles: Command): void {
  roles
    .command('unbind')
    .summary('take a role away')
    .description('Take a role away from whom it was bound to. The last steward stays one.')
    .argument('<binding>', 'its id or the beginning of its id, as `idlewild roles bindings` lists them')
    .addHelpText('after', '\nExample:\n  $ idlewild roles unbind bnd_k3x')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { pick } = await import('../pick.ts');
      const all = (await client.people.bindings.list()).map((each) => ({ ...each, name: null }));
      const { id, role, subject } = pick(all, wanted, 'binding');
      await client.people.bindings.remove(id);
      context.show({ id, removed: true }, () => [`took the role ${role} from ${subject.name ?? subject.id}`]);
    });
}

function addBindings(roles: Command): void {
  roles
    .command('bindings')
    .summary('list who has which role')
    .description('List who has which role, on what, until when, and who gave it.')
    .option('--role <role>', 'only of this role')
    .option('--person <member>', 'only of this member')
    .option('--group <group>', 'only of this group')
    .addHelpText('after', '\nExample:\n  $ idlewild roles bindings --role steward')
    .action(async ({ role, ...options }: Omit<SubjectOptions, 'key'> & { role?: string }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const isOfOne = options.person !== undefined || options.group !== undefined;
      const subject = isOfOne ? (await subjectMeant(client, options, 'readPeople')).id : undefined;
      const all = await client.people.bindings.list({ role, subject });
      context.show(all, () => (all.length === 0 ? ['nothing is bound'] : table(all)));
    });
}

function table(all: readonly Binding[]): string[] {
  const nowMs = Date.now();
  return tableLines(
    ['WHO', 'ROLE', 'ON', 'UNTIL', 'BY', 'ID'].map((title) => ({ title })),
    all.map(({ subject, role, scope, expiresAt, createdBy, id }) => [
      `${subject.name ?? subject.id}${subject.kind === 'person' ? '' : ` (${subject.kind})`}`,
      role,
      scopeText(scope),
      expiresAt === null ? '–' : whenText(expiresAt, nowMs),
      createdBy.name ?? createdBy.id,
      id,
    ]),
  );
}
