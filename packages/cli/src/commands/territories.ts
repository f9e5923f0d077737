/** `idlewild territories`: communities of one hub, for whoever runs it; and what one is called, for its stewards. */
import type { Client, OpenedTerritory, Territory } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf, type Context } from '../context.ts';
import { factLines, tableLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

export function addTerritoriesCommands(program: Command): void {
  const territories = program
    .command('territories')
    .alias('communities')
    .summary('make, list, close and open communities of this hub, or rename yours')
    .description(
      'Make, list, close and open communities of this hub. Each governs itself: its members, devices, models and ' +
        "keys are its own, and nothing crosses. It takes a steward's key of the hub's first community, and gives no " +
        'power within the others: what one is called, its own stewards say.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild territories create "The library"');
  addCreate(territories);
  addList(territories);
  addShow(territories);
  addClose(territories);
  addOpen(territories);
  addRename(territories);
}

function addCreate(territories: Command): void {
  territories
    .command('create')
    .summary('make a community')
    .description(
      'Make a community, and show the key of its first steward this once: hand it on, for it is theirs. Only its ' +
        'own stewards can make keys in it.',
    )
    .argument('<name>', 'what its people call it')
    .addHelpText('after', '\nExample:\n  $ idlewild territories create "The library"')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      showOpened(context, await (await context.client()).territories.create({ name }));
    });
}

function showOpened(context: Context, made: OpenedTerritory): void {
  if (made.stewardKey !== null)
    context.note('the key of its first steward, who makes all others; it is not shown again');
  context.show(made, () =>
    factLines([
      ['community', made.name],
      ['id', made.id],
      ['address', made.address],
      ...(made.stewardKey === null ? [] : [['steward key', made.stewardKey] as const]),
    ]),
  );
}

function addList(territories: Command): void {
  territories
    .command('list')
    .summary('list the communities of this hub')
    .description('List the communities of this hub, closed ones included.')
    .addHelpText('after', '\nExample:\n  $ idlewild territories list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).territories.list();
      const nowMs = Date.now();
      const titles = ['NAME', 'MADE', 'STATE', 'ADDRESS', 'ID'];
      context.show(all, () =>
        tableLines(
          titles.map((title) => ({ title })),
          all.map((each) => [each.name, whenText(each.createdAt, nowMs), stateText(each), each.address, each.id]),
        ),
      );
    });
}

function addShow(territories: Command): void {
  territories
    .command('show')
    .summary('one community of this hub')
    .description('One community of this hub: its address, and the key that devices and callers pin.')
    .argument('<community>', 'its id, the beginning of its id, or its name')
    .addHelpText('after', '\nExample:\n  $ idlewild territories show "The library"')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const one = await client.territories.get((await meant(client, wanted)).id);
      context.show(one, () =>
        factLines([
          ['community', one.name],
          ['id', one.id],
          ['address', one.address],
          ['key', one.key],
          ['made', one.createdAt],
          ['state', stateText(one)],
        ]),
      );
    });
}

function addClose(territories: Command): void {
  territories
    .command('close')
    .summary('serve a community no longer')
    .description(
      'Serve a community no longer: none of its keys and devices is known any more, on any replica, within a second ' +
        'or two. What it has stays, and is there again when it is opened.',
    )
    .argument('<community>', 'its id, the beginning of its id, or its name')
    .addHelpText('after', '\nExample:\n  $ idlewild territories close "The library"')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const closed = await client.territories.close((await meant(client, wanted)).id);
      context.show(closed, () => [`closed ${closed.name}`]);
    });
}

function addOpen(territories: Command): void {
  territories
    .command('open')
    .summary('serve a closed community again')
    .description(
      'Serve a closed community again, with all that it had. Where none of its stewards has a key that works, one is ' +
        'made and shown this once.',
    )
    .argument('<community>', 'its id, the beginning of its id, or its name')
    .addHelpText('after', '\nExample:\n  $ idlewild territories open "The library"')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      showOpened(context, await client.territories.open((await meant(client, wanted)).id));
    });
}

function addRename(territories: Command): void {
  territories
    .command('rename')
    .summary('another name for the community whose steward you are')
    .description(
      "Another name for the community whose steward's key you ask with, which is the one at --hub. Its id, key and " +
        'address stay, so nobody has to join again. Devices hear the name when they connect next.',
    )
    .argument('<name>', 'what its people call it from now on')
    .addHelpText('after', '\nExample:\n  $ idlewild territories rename "City library"')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const renamed = await (await context.client()).territories.rename({ name });
      context.show(renamed, () => [`this community is called ${renamed.name} now (${renamed.id})`]);
    });
}

async function meant(client: Client, wanted: string): Promise<Territory> {
  const { pick } = await import('../pick.ts');
  return pick(await client.territories.list(), wanted, 'community');
}

function stateText({ closedAt, first, served }: Territory): string {
  if (closedAt !== null) return 'closed';
  if (!served) return 'cannot be opened';
  return first ? "open, the hub's own" : 'open';
}
