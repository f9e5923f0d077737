/** `idlewild members invite|link|invitations|withdraw`: codes that let people in, once. */
import type { SignInLink } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf, type Context } from '../context.ts';
import { several } from '../several.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addInvitationCommands(members: Command): void {
  addInvite(members);
  addLink(members);
  addList(members);
  addWithdraw(members);
}

/** The address on stdout, so that it can be piped into whatever hands it on. */
function showLink(context: Context, link: SignInLink): void {
  const until = whenText(link.expiresAt, Date.now());
  context.note(`it works once, expires ${until} and is not shown again; whoever has it is let in`);
  context.show(link, () => [link.url]);
}

interface InviteOptions {
  readonly role: string;
  readonly group: readonly string[];
  readonly expires?: number;
}

function addInvite(members: Command): void {
  members
    .command('invite')
    .summary('invite a person')
    .description('Make a link with which a person becomes a member, once. Without a name whoever comes chooses one.')
    .argument('[name]', 'what the community will call them')
    .option('--role <role>', 'what they get in the whole community; not more than you have', 'member')
    .option('--group <group>', 'a group that they will be in; several may be given', several, [])
    .option('--expires <duration>', 'how long the link works, like 24h or 7d (default: 7d)', parseDurationSeconds)
    .addHelpText('after', '\nExample:\n  $ idlewild members invite Ada --role member --expires 3d')
    .action(async (name: string | undefined, { role, group, expires }: InviteOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { groupMeant } = await import('../meant.ts');
      const groups: string[] = [];
      for (const wanted of group) groups.push((await groupMeant(client, wanted, 'invitePerson')).id);
      const order = { name, role, groups, expiresInSeconds: expires };
      showLink(context, await client.signIn.invitations.create(order));
    });
}

function addLink(members: Command): void {
  members
    .command('link')
    .summary('let a member in who lost every way to sign in')
    .description('Make a link that signs a member in, once. You can make one only for who may not do more than you.')
    .argument('<member>', 'name, id, or the beginning of the id')
    .option('--expires <duration>', 'how long the link works, like 30m or 24h (default: 1h)', parseDurationSeconds)
    .addHelpText('after', '\nExample:\n  $ idlewild members link Ada')
    .action(async (wanted: string, { expires }: { readonly expires?: number }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { memberMeant } = await import('../meant.ts');
      const { id } = await memberMeant(client, wanted, 'linkMember');
      showLink(context, await client.signIn.invitations.linkFor(id, { expiresInSeconds: expires }));
    });
}

function addList(members: Command): void {
  members
    .command('invitations')
    .summary('list invitations and links that can still be used')
    .description('List invitations and links that can still be used, without their codes.')
    .addHelpText('after', '\nExample:\n  $ idlewild members invitations')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).signIn.invitations.list();
      const nowMs = Date.now();
      context.show(all, () =>
        tableLines(
          ['FOR', 'AS', 'MADE', 'EXPIRES', 'BY', 'ID'].map((title) => ({ title })),
          all.map((one) => [
            one.person ?? (one.name === '' ? 'whoever comes' : one.name),
            one.person === null ? one.role : 'themselves',
            whenText(one.createdAt, nowMs),
            whenText(one.expiresAt, nowMs),
            one.createdBy,
            one.id,
          ]),
        ),
      );
    });
}

function addWithdraw(members: Command): void {
  members
    .command('withdraw')
    .summary('withdraw an invitation or a link')
    .description('Withdraw an invitation or a link: from this moment on it lets nobody in.')
    .argument('<invitation>', 'its id, the beginning of its id, or the name on it')
    .addHelpText('after', '\nExample:\n  $ idlewild members withdraw Ada')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { pick } = await import('../pick.ts');
      const { id } = pick(await client.signIn.invitations.list(), wanted, 'invitation');
      await client.signIn.invitations.withdraw(id);
      context.show({ id, withdrawn: true }, () => [`withdrawn ${id}`]);
    });
}
