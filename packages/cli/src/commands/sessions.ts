/** `idlewild sessions`: where one is signed in, or where a member is. */
import type { Client, PersonSession } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addSessionCommands(program: Command): void {
  const sessions = program
    .command('sessions')
    .summary('see and end sessions of people')
    .description('See and end the sessions in which you are signed in; a steward also those of others.')
    .addHelpText('after', '\nExample:\n  $ idlewild sessions list');
  addList(sessions);
  addEnd(sessions);
}

interface Whose {
  readonly of?: string;
}
const OF = ['--of <member>', 'of somebody else: name, id, or the beginning of the id'] as const;

function addList(sessions: Command): void {
  sessions
    .command('list')
    .summary('list sessions')
    .description('List where you are signed in, or where a member is.')
    .option(...OF)
    .addHelpText('after', '\nExample:\n  $ idlewild sessions list --of Ada')
    .action(async ({ of }: Whose, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const all =
        of === undefined
          ? await client.signIn.sessions.list()
          : await client.signIn.sessions.of(await memberId(client, of));
      context.show(all, () => table(all));
    });
}

async function memberId(client: Client, wanted: string): Promise<string> {
  const { memberMeant } = await import('../meant.ts');
  return (await memberMeant(client, wanted, 'endSessions')).id;
}

function table(all: readonly PersonSession[]): string[] {
  const nowMs = Date.now();
  return tableLines(
    ['WHERE', 'BY', 'SIGNED IN', 'SEEN', 'EXPIRES', 'ID'].map((title) => ({ title })),
    all.map((session) => [
      `${session.label}${session.isThis === true ? ' (this one)' : ''}`,
      session.via,
      whenText(session.signedInAt, nowMs),
      whenText(session.seenAt, nowMs),
      whenText(session.expiresAt, nowMs),
      session.id,
    ]),
  );
}

function addEnd(sessions: Command): void {
  sessions
    .command('end')
    .summary('end a session, or all of them')
    .description('End a session: within a second nothing is answered to it. Without one, all of a member’s are ended.')
    .argument('[session]', 'its id, or the beginning of its id')
    .option(...OF)
    .addHelpText('after', '\nExamples:\n  $ idlewild sessions end sis_abcd\n  $ idlewild sessions end --of Ada')
    .action(async (wanted: string | undefined, { of }: Whose, command: Command) => {
      const context = contextOf(command);
      if (wanted === undefined && of === undefined) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError(
          'usage',
          'name a session, or --of a member; all of yours: idlewild sign-out --everywhere',
        );
      }
      const client = await context.client();
      const { sessions: api } = client.signIn;
      const member = of === undefined ? undefined : await memberId(client, of);
      if (wanted === undefined) {
        const { ended } = await api.endAllOf(member ?? '');
        return context.show({ ended }, () => [`ended ${ended === 1 ? 'one session' : `${ended} sessions`}`]);
      }
      const all = member === undefined ? await api.list() : await api.of(member);
      const { pick } = await import('../pick.ts');
      const { id } = pick(
        all.map(({ id: each, label }) => ({ id: each, name: label })),
        wanted,
        'session',
      );
      await (member === undefined ? api.end(id) : api.endOf(member, id));
      return context.show({ id, ended: 1 }, () => [`ended ${id}`]);
    });
}
