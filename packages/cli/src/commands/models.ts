/** `idlewild models`: what the community's devices answer with. */
import type { ModelDetails } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { factLines, tableLines } from '../text/table.ts';
import { bytesText, countText, parametersText, plainText, whenText, wrap } from '../text/units.ts';
import { addAddCommand } from './add-model.ts';

const PINNING = [
  [
    'pin',
    'keep a model on the devices that have it',
    'Keep a model on the devices that have it: none removes it to make room for another.',
    'pinned',
  ],
  ['unpin', 'let a model make room again', 'Let a model make room for others again.', 'unpinned'],
] as const;

const STOPPING = [
  [
    'stop',
    'stop a model at once, everywhere',
    'Stop a model: it takes no request, and what it answers now ends within a second, on every replica. Whoever is ' +
      'refused is told the reason.',
    'stopped',
  ],
  ['allow', 'let a stopped model answer again', 'Let a stopped model answer again.', 'allowed'],
] as const;

export function addModelCommands(program: Command): void {
  const models = program
    .command('models')
    .summary('publish models and see where they are')
    .description('Publish models and see where they are.')
    .addHelpText('after', '\nExample:\n  $ idlewild models add models/jacobean');

  addAddCommand(models);

  models
    .command('list')
    .summary('list the models')
    .description('List the models.')
    .addHelpText('after', '\nExample:\n  $ idlewild models list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).models.list();
      const nowMs = Date.now();
      context.show(all, () =>
        all.length === 0
          ? ['there is no model yet; `idlewild models add DIR` publishes one']
          : tableLines(
              [
                { title: 'NAME' },
                { title: 'KIND' },
                { title: 'SIZE', align: 'right' },
                { title: 'CONTEXT', align: 'right' },
                { title: 'DEVICES', align: 'right' },
                { title: 'PINNED' },
                { title: 'STOPPED' },
                { title: 'ADDED' },
                { title: 'CID' },
              ],
              all.map((model) => [
                model.name,
                model.kind,
                bytesText(model.bytes),
                String(model.contextTokens),
                String(model.devices),
                model.pinned ? 'yes' : '',
                model.stopped === null ? '' : plainText(model.stopped.why) || 'yes',
                whenText(model.addedAt, nowMs),
                model.cid,
              ]),
            ),
      );
    });

  models
    .command('show')
    .summary('show one model')
    .description('Show one model: its size and files, and what its makers say of it.')
    .argument('<name>', 'its name')
    .addHelpText('after', '\nExample:\n  $ idlewild models show jacobean')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const model = await (await context.client()).models.get(name);
      context.show(model, () => detailLines(model));
    });

  for (const [word, summary, description, done] of PINNING) {
    models
      .command(word)
      .summary(summary)
      .description(description)
      .argument('<name>', 'its name')
      .addHelpText('after', `\nExample:\n  $ idlewild models ${word} jacobean`)
      .action(async (name: string, _: unknown, command: Command) => {
        const context = contextOf(command);
        await (await context.client()).models[word](name);
        context.show({ name, pinned: word === 'pin' }, () => [`${done} ${name}`]);
      });
  }

  for (const [word, summary, description, done] of STOPPING) {
    models
      .command(word)
      .summary(summary)
      .description(description)
      .argument('<name>', 'its name')
      .option('--why <words>', 'the reason, for those who are refused and for the audit log', '')
      .addHelpText('after', `\nExample:\n  $ idlewild models ${word} jacobean`)
      .action(async (name: string, { why }: { readonly why: string }, command: Command) => {
        const context = contextOf(command);
        await (await context.client()).models[word](name, why);
        context.show({ name, stopped: word === 'stop' }, () => [`${done} ${name}`]);
      });
  }

  models
    .command('remove')
    .summary('take a model away')
    .description('Take a model away. Devices forget it; a second `models add` of the same folder gives the same CID.')
    .argument('<name>', 'its name')
    .addHelpText('after', '\nExample:\n  $ idlewild models remove jacobean')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      await (await context.client()).models.remove(name);
      context.show({ name, removed: true }, () => [`removed ${name}`]);
    });
}

function kindText({ kind, dimensions, labels }: ModelDetails): string {
  if (kind === 'encoder') return `encoder, ${countText(dimensions ?? 0, 'number')} a vector`;
  return kind === 'classifier' ? `classifier: ${plainText((labels ?? []).join(', '))}` : kind;
}

const stopText = ({ at, why }: { readonly at: string; readonly why: string }): string =>
  `${whenText(at, Date.now())}${why === '' ? '' : `: ${plainText(why)}`}`;

function detailLines(model: ModelDetails): string[] {
  const { card } = model;
  return [
    ...factLines([
      ['name', model.name],
      ['cid', model.cid],
      ['size', bytesText(model.bytes)],
      ['kind', kindText(model)],
      ['context', countText(model.contextTokens, 'token')],
      ['layers', String(model.layers)],
      ['tensors', String(model.tensors)],
      ...(card.parameters === undefined ? [] : [['parameters', parametersText(card.parameters)] as const]),
      ['licence', card.licence ?? 'not stated'],
      ...stated([
        ['source', card.source],
        ['made from', card.baseModel],
        ['languages', card.languages?.join(', ')],
      ]),
      ['devices', `${countText(model.devices, 'device')} ready to answer with it`],
      ...(model.pinned ? [['pinned', 'devices that hold it keep it'] as const] : []),
      ...(model.stopped === null ? [] : [['stopped', stopText(model.stopped)] as const]),
    ]),
    ...textLines('Description', card.description),
    ...textLines('Intended use', card.intendedUse),
    ...textLines('Limits', card.limitations),
    '',
    ...tableLines(
      [{ title: 'FILE' }, { title: 'SIZE', align: 'right' }, { title: 'CID' }],
      model.files.map(({ path, bytes, cid }) => [path, bytesText(bytes), cid]),
    ),
  ];
}

type Fact = readonly [name: string, value: string];

const stated = (facts: readonly (readonly [name: string, value: string | undefined])[]): Fact[] =>
  facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));

const TEXT_COLUMNS = 100;

/** What somebody else wrote, under a title that we wrote, indented so that the two cannot be mistaken. */
function textLines(title: string, text: string | undefined): string[] {
  if (text === undefined) return [];
  const lines = plainText(text)
    .split('\n')
    .flatMap((line) => wrap(line.trim(), TEXT_COLUMNS));
  return ['', title, ...lines.map((line) => `  ${line}`)];
}
