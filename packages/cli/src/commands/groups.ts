/** `idlewild groups`: people who are given roles together. */
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

const GROUP = ['<group>', 'name, id, or the beginning of the id'] as const;

export function addGroupCommands(program: Command): void {
  const groups = program
    .command('groups')
    .summary('make groups of members, and put members into them')
    .description(
      'Make groups of members, and put members into them. Whoever is in a group has every role that is bound to it, ' +
        'so it takes somebody who holds all of them to put anybody in.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild groups add reading-room Ada');
  addList(groups);
  addShow(groups);
  addCreate(groups);
  addRename(groups);
  addDelete(groups);
  addMembership(groups);
}

function addList(groups: Command): void {
  groups
    .command('list')
    .summary('list the groups')
    .description('List the groups, and how many members each has.')
    .addHelpText('after', '\nExample:\n  $ idlewild groups list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).people.groups.list();
      const nowMs = Date.now();
      context.show(all, () =>
        all.length === 0
          ? ['there is no group yet; `idlewild groups create` makes one']
          : tableLines(
              [{ title: 'NAME' }, { title: 'MEMBERS', align: 'right' }, { title: 'MADE' }, { title: 'ID' }],
              all.map((each) => [each.name, String(each.members), whenText(each.createdAt, nowMs), each.id]),
            ),
      );
    });
}

function addShow(groups: Command): void {
  groups
    .command('show')
    .summary('show who is in a group')
    .description('Show who is in a group.')
    .argument(...GROUP)
    .addHelpText('after', '\nExample:\n  $ idlewild groups show reading-room')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { groupMeant } = await import('../meant.ts');
      const group = await groupMeant(client, wanted, 'readPeople');
      const members = await client.people.groups.members(group.id);
      context.show({ ...group, members }, () =>
        members.length === 0
          ? [`nobody is in ${group.name}`]
          : tableLines(
              [{ title: 'NAME' }, { title: 'ID' }],
              members.map(({ name, id }) => [name, id]),
            ),
      );
    });
}

function addCreate(groups: Command): void {
  groups
    .command('create')
    .summary('make a group')
    .description('Make a group. Nobody is in it, and nothing is bound to it.')
    .argument('<name>', 'small letters, digits and hyphens')
    .addHelpText('after', '\nExample:\n  $ idlewild groups create reading-room')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const made = await (await context.client()).people.groups.create(name);
      context.show(made, () => [`made the group ${made.name}`]);
    });
}

function addRename(groups: Command): void {
  groups
    .command('rename')
    .summary('call a group something else')
    .description('Call a group something else. Policies that name it no longer mean it.')
    .argument(...GROUP)
    .argument('<name>', 'small letters, digits and hyphens')
    .addHelpText('after', '\nExample:\n  $ idlewild groups rename reading-room readers')
    .action(async (wanted: string, name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { groupMeant } = await import('../meant.ts');
      const renamed = await client.people.groups.rename((await groupMeant(client, wanted, 'manageGroups')).id, name);
      context.show(renamed, () => [`${wanted} is called ${renamed.name}`]);
    });
}

function addDelete(groups: Command): void {
  groups
    .command('delete')
    .summary('remove a group, and what was bound to it')
    .description('Remove a group. Its members stay members, and lose the roles that they had through it.')
    .argument(...GROUP)
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  $ idlewild groups delete reading-room')
    .action(async (wanted: string, { yes = false }: { yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { groupMeant } = await import('../meant.ts');
      const { isSure } = await import('../sure.ts');
      const group = await groupMeant(client, wanted, 'manageGroups');
      const size = group.members === undefined ? '' : `, which has ${group.members} members`;
      const question = `Remove the group ${group.name}${size}?`;
      if (!(await isSure(context, yes, `removing the group ${group.name}`, question))) return;
      await client.people.groups.remove(group.id);
      context.show({ id: group.id, removed: true }, () => [`removed the group ${group.name}`]);
    });
}

function addMembership(groups: Command): void {
  const verbs = [
    ['add', 'put a member into a group', 'Put a member into a group.', 'is in'],
    ['remove', 'take a member out of a group', 'Take a member out of a group.', 'is no longer in'],
  ] as const;
  for (const [verb, summary, description, outcome] of verbs) {
    groups
      .command(verb)
      .summary(summary)
      .description(description)
      .argument(...GROUP)
      .argument('<member>', 'name, id, or the beginning of the id')
      .addHelpText('after', `\nExample:\n  $ idlewild groups ${verb} reading-room Ada`)
      .action(async (wanted: string, who: string, _: unknown, command: Command) => {
        const context = contextOf(command);
        const client = await context.client();
        const { groupMeant, memberMeant } = await import('../meant.ts');
        const group = await groupMeant(client, wanted, 'manageGroups');
        const member = await memberMeant(client, who, 'manageGroups');
        await client.people.groups[verb === 'add' ? 'add' : 'take'](group.id, member.id);
        context.show({ group: group.id, member: member.id, isIn: verb === 'add' }, () => [
          `${member.name} ${outcome} ${group.name}`,
        ]);
      });
  }
}
