/** `idlewild roles`: what people, groups and keys may do, on what, and until when. */
import type { Role } from '@idlewild/client';
import { InvalidArgumentError, type Command } from 'commander';
import { contextOf } from '../context.ts';
import { permissionsText } from '../text/roles.ts';
import { factLines, tableLines } from '../text/table.ts';
import { addBindingCommands } from './bindings.ts';

const PERMISSIONS_HELP = 'actions of the policy with commas between them, as `idlewild roles show steward` lists them';

export function addRoleCommands(program: Command): void {
  const roles = program
    .command('roles')
    .summary('make roles, and give them to people, groups and keys')
    .description(
      'Make roles of permissions, and give them to people, groups and keys: in the whole community, or on one ' +
        'project, model or pool of devices, and until a moment. Nobody gives what they do not hold themselves, there ' +
        'and as long; stewards hold everything.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild roles bind member --person Ada');
  addList(roles);
  addShow(roles);
  addCreate(roles);
  addChange(roles);
  addDelete(roles);
  addBindingCommands(roles);
}

function addList(roles: Command): void {
  roles
    .command('list')
    .summary('list the roles')
    .description('List the roles, the built-in ones first, with what each permits.')
    .addHelpText('after', '\nExample:\n  $ idlewild roles list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).people.roles.list();
      context.show(all, () =>
        tableLines(
          ['NAME', 'BUILT IN', 'PERMITS'].map((title) => ({ title })),
          all.map((role) => [role.name, role.isBuiltIn ? 'yes' : 'no', permissionsText(role)]),
        ),
      );
    });
}

function addShow(roles: Command): void {
  roles
    .command('show')
    .summary('show one role')
    .description('Show one role, and what it permits.')
    .argument('<role>', 'its name')
    .addHelpText('after', '\nExample:\n  $ idlewild roles show member')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const role = await (await context.client()).people.roles.get(name);
      context.show(role, () => roleLines(role));
    });
}

const roleLines = (role: Role): string[] =>
  factLines([
    ['role', role.name],
    ['built in', role.isBuiltIn ? 'yes, and stays as it is' : 'no'],
    ['permits', permissionsText(role)],
  ]);

function addCreate(roles: Command): void {
  roles
    .command('create')
    .summary('make a role')
    .description('Make a role of permissions that you hold yourself. Nobody has it until it is bound.')
    .argument('<name>', 'small letters, digits and hyphens, unlike those of built-in roles')
    .requiredOption('--permissions <actions>', PERMISSIONS_HELP, parseList)
    .addHelpText('after', '\nExample:\n  $ idlewild roles create shift-lead --permissions listDevices,drainDevice')
    .action(async (name: string, { permissions }: { permissions: string[] }, command: Command) => {
      const context = contextOf(command);
      const made = await (await context.client()).people.roles.create({ name, permissions });
      context.show(made, () => roleLines(made));
    });
}

interface ChangeOptions {
  readonly permissions?: string[];
  readonly add?: string[];
  readonly take?: string[];
}

function addChange(roles: Command): void {
  roles
    .command('change')
    .summary('change what a role permits')
    .description(
      'Change what a role permits, at once and for everybody who has it. To add a permission takes holding it ' +
        'wherever the role is bound.',
    )
    .argument('<role>', 'its name')
    .option('--permissions <actions>', `all that it permits from now on: ${PERMISSIONS_HELP}`, parseList)
    .option('--add <actions>', 'what it permits besides', parseList)
    .option('--take <actions>', 'what it permits no longer', parseList)
    .addHelpText('after', '\nExample:\n  $ idlewild roles change shift-lead --add readAudit')
    .action(async (name: string, { permissions, add = [], take = [] }: ChangeOptions, command: Command) => {
      const context = contextOf(command);
      const { roles: all } = (await context.client()).people;
      if (permissions === undefined && add.length + take.length === 0) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError('usage', 'say what changes: --permissions, --add or --take');
      }
      const role = await all.get(name);
      const before = permissions ?? (role.permissions === 'all' ? [] : role.permissions);
      const wanted = [...new Set([...before, ...add])].filter((action) => !take.includes(action));
      const changed = await all.change(name, wanted);
      context.show(changed, () => roleLines(changed));
    });
}

function addDelete(roles: Command): void {
  roles
    .command('delete')
    .summary('remove a role')
    .description(
      'Remove a role that nobody has. With --force it is taken from whoever has it, keys that were made with it are ' +
        'revoked, and open invitations that give it are withdrawn.',
    )
    .argument('<role>', 'its name')
    .option('--force', 'also from whoever has it')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  $ idlewild roles delete shift-lead')
    .action(async (name: string, options: { force?: boolean; yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      const { force = false, yes = false } = options;
      const { isSure } = await import('../sure.ts');
      const question = force ? `Remove the role ${name}, also from whoever has it?` : `Remove the role ${name}?`;
      if (!(await isSure(context, yes, `removing the role ${name}`, question))) return;
      await (await context.client()).people.roles.remove(name, { force });
      context.show({ name, removed: true }, () => [`removed the role ${name}`]);
    });
}

function parseList(text: string): string[] {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (items.length === 0) throw new InvalidArgumentError('Name at least one, with commas between several.');
  return items;
}
