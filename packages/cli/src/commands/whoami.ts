/** `idlewild whoami`: who asks, and what it may do. */
import type { Self } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf, type Context } from '../context.ts';
import { heldRoleRows } from '../text/roles.ts';
import { factLines } from '../text/table.ts';

export function addWhoamiCommand(program: Command): void {
  program
    .command('whoami')
    .summary('show who you are here, and what you may do')
    .description(
      'Show who you are to this hub: your community and the others of this hub that you are in, your roles, your ' +
        'groups, and what you may do. A session without a passkey, and a key, show this community alone.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild whoami')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const self = await (await context.client()).people.self();
      context.show(self, () => selfLines(self));
      noteShown(context, self);
    });
}

/** Said to whoever would be shown no more here, whether or not there is more. */
export function noteShown(context: Context, { person, shows }: Pick<Self, 'person' | 'shows'>): void {
  if (person !== null && shows === 'here')
    context.note(
      'communities and devices of yours elsewhere on this hub are shown to a session made with a passkey that you ' +
        'use there, too: docs/sign-in.md, "In several communities"',
    );
}

function selfLines(self: Self): string[] {
  const { territory, communities } = self;
  const others = communities.filter(({ id }) => id !== territory.id);
  const facts: [string, string][] = [
    [self.kind, self.name === '' ? self.id : `${self.name} (${self.id})`],
    ['community', `${territory.name} (${territory.id})`],
  ];
  if (self.state === 'suspended') facts.push(['state', 'suspended: nothing is permitted until a steward resumes you']);
  if (others.length > 0) facts.push(['also in', others.map(({ name, id }) => `${name} (${id})`).join(', ')]);
  if (self.groups.length > 0) facts.push(['groups', self.groups.map(({ name }) => name).join(', ')]);
  facts.push(['may', self.may.join(', ') || 'nothing']);
  return [...factLines(facts, process.stdout.columns), '', ...heldRoleRows(self.roles, Date.now())];
}
