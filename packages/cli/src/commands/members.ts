/** `idlewild members`: the people of a community. */
import type { ListedMember, MemberDetails } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { heldRoleRows } from '../text/roles.ts';
import { factLines, tableLines } from '../text/table.ts';
import { countText, whenText } from '../text/units.ts';
import { addInvitationCommands } from './invitations.ts';

const MEMBER = ['<member>', 'name, id, or the beginning of the id'] as const;

export function addMemberCommands(program: Command): void {
  const members = program
    .command('members')
    .summary('see, suspend and remove the people of a community')
    .description(
      'See, rename, suspend, resume and remove the people of a community. What they may do is said by roles, ' +
        'which `idlewild roles` binds.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild members list');
  addList(members);
  addShow(members);
  addRename(members);
  addStates(members);
  addRemove(members);
  addLeave(members);
  addInvitationCommands(members);
}

function addList(members: Command): void {
  members
    .command('list')
    .summary('list the members')
    .description('List the members with the roles that they have in the whole community.')
    .addHelpText('after', '\nExample:\n  $ idlewild members list --json')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).people.members.list();
      context.show(all, () =>
        all.length === 0 ? ['nobody is a member yet; keys of the community ask without being anybody'] : table(all),
      );
    });
}

function table(all: readonly ListedMember[]): string[] {
  const nowMs = Date.now();
  return tableLines(
    ['NAME', 'STATE', 'ROLES', 'JOINED', 'ID'].map((title) => ({ title })),
    all.map((each) => [each.name, each.state, each.roles.join(', ') || '–', whenText(each.joinedAt, nowMs), each.id]),
  );
}

function addShow(members: Command): void {
  members
    .command('show')
    .summary('show one member')
    .description('Show one member: roles and where they hold, groups, devices, keys.')
    .argument(...MEMBER)
    .addHelpText('after', '\nExample:\n  $ idlewild members show Ada')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { memberMeant } = await import('../meant.ts');
      const member = await client.people.members.get((await memberMeant(client, wanted, 'readPeople')).id);
      context.show(member, () => detailLines(member));
    });
}

function detailLines(member: MemberDetails): string[] {
  const nowMs = Date.now();
  return [
    ...factLines([
      ['name', member.name],
      ['id', member.id],
      ['state', member.state],
      ['joined', whenText(member.joinedAt, nowMs)],
      ['groups', member.groups.map(({ name }) => name).join(', ') || '–'],
      ['lends', countText(member.devices, 'device')],
      ['has', countText(member.keys, 'key')],
    ]),
    '',
    ...heldRoleRows(member.roles, nowMs),
  ];
}

function addRename(members: Command): void {
  members
    .command('rename')
    .summary('call a member something else')
    .description('Call a member something else. Only this community calls them so.')
    .argument(...MEMBER)
    .argument('<name>', 'the new name')
    .addHelpText('after', '\nExample:\n  $ idlewild members rename Ada "Ada Lovelace"')
    .action(async (wanted: string, name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { memberMeant } = await import('../meant.ts');
      const renamed = await client.people.members.rename((await memberMeant(client, wanted, 'manageMembers')).id, name);
      context.show(renamed, () => [`${wanted} is called ${renamed.name}`]);
    });
}

function addStates(members: Command): void {
  const states = [
    [
      'suspend',
      'take everything from a member until they are resumed',
      'Take everything from a member until they are resumed: within a second neither they nor their own keys may do ' +
        'anything but take back what they lend. Their devices stay, and count as nobody’s.',
      'is suspended',
    ],
    [
      'resume',
      'give a suspended member back what is theirs',
      'Give a suspended member back everything that is bound to them. It takes somebody who holds all of that, too.',
      'is active again',
    ],
  ] as const;
  for (const [verb, summary, description, outcome] of states) {
    members
      .command(verb)
      .summary(summary)
      .description(description)
      .argument(...MEMBER)
      .addHelpText('after', `\nExample:\n  $ idlewild members ${verb} Ada`)
      .action(async (wanted: string, _: unknown, command: Command) => {
        const context = contextOf(command);
        const client = await context.client();
        const { memberMeant } = await import('../meant.ts');
        const member = await client.people.members[verb]((await memberMeant(client, wanted, 'manageMembers')).id);
        context.show(member, () => [`${member.name} ${outcome}`]);
      });
  }
}

function addRemove(members: Command): void {
  members
    .command('remove')
    .summary('remove a member for good')
    .description(
      'Remove a member for good: their sessions end, their own keys are revoked, their roles and groups are gone, ' +
        'and the devices that they lend are handed back. Keys of the community that they made stay; revoke those ' +
        'they know.',
    )
    .argument(...MEMBER)
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  $ idlewild members remove Ada')
    .action(async (wanted: string, { yes = false }: { yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { memberMeant } = await import('../meant.ts');
      const { isSure } = await import('../sure.ts');
      const member = await memberMeant(client, wanted, 'manageMembers');
      if (!(await isSure(context, yes, `removing ${member.name}`, `Remove ${member.name} for good?`))) return;
      const removed = await client.people.members.remove(member.id);
      const [devices, keys] = [countText(removed.devices.length, 'device'), countText(removed.keys, 'key')];
      context.show(removed, () => [`removed ${removed.name}: ${devices} handed back, ${keys} revoked`]);
    });
}

function addLeave(members: Command): void {
  members
    .command('leave')
    .summary('leave the community yourself')
    .description(
      'Leave the community yourself, for good: your sessions and ways to sign in here end, your own keys are ' +
        'revoked, your devices are handed back. In other communities of the hub you stay.',
    )
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  $ idlewild members leave --hub https://hub.example/t/ter_…')
    .action(async ({ yes = false }: { yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { isSure } = await import('../sure.ts');
      const { name, territory } = await client.people.self();
      const what = `leaving ${territory.name} as ${name}`;
      if (!(await isSure(context, yes, what, `Leave ${territory.name} for good, as ${name}?`))) return;
      const left = await client.people.leave(name);
      const { address } = await context.stranger();
      const { forgetSession, keptSession } = await import('../kept-sessions.ts');
      if (keptSession(address)?.person === left.id) forgetSession(address);
      const [devices, keys] = [countText(left.devices.length, 'device'), countText(left.keys, 'key')];
      context.show(left, () => [`left ${territory.name}: ${devices} handed back, ${keys} revoked`]);
    });
}
