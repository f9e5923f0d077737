/** `idlewild models`: what the community's devices answer with. */
import { basename, resolve } from 'node:path';
import type { ModelDetails } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf, interruptSignal, type Context } from '../context.ts';
import { factLines, tableLines } from '../text/table.ts';
import { bytesText, countText, plainText, whenText } from '../text/units.ts';

export function addModelCommands(program: Command): void {
  const models = program
    .command('models')
    .summary('publish models and see where they are')
    .description('Publish models and see where they are.');

  models
    .command('add')
    .summary('publish a model from a folder')
    .description(
      'Publish a model from a folder in the layout of Hugging Face: tokenizer.json, config.json, onnx/model.onnx. ' +
        'Interrupted, the same command goes on where it stopped.',
    )
    .argument('<dir>', 'the folder')
    .option('--name <name>', 'what callers ask for (default: the name of the folder)')
    .option('--replace', 'take the name from another model')
    .addHelpText('after', '\nExample:\n  $ idlewild models add models/jacobean')
    .action(async (folder: string, options: { name?: string; replace?: boolean }, command: Command) => {
      await addModel(contextOf(command), folder, options);
    });

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
                { title: 'SIZE', align: 'right' },
                { title: 'CONTEXT', align: 'right' },
                { title: 'DEVICES', align: 'right' },
                { title: 'ADDED' },
                { title: 'CID' },
              ],
              all.map((model) => [
                model.name,
                bytesText(model.bytes),
                String(model.contextTokens),
                String(model.devices),
                whenText(model.addedAt, nowMs),
                model.cid,
              ]),
            ),
      );
    });

  models
    .command('show')
    .summary('show one model')
    .description('Show one model: its files, its size, its licence.')
    .argument('<name>', 'its name')
    .addHelpText('after', '\nExample:\n  $ idlewild models show jacobean')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const model = await (await context.client()).models.get(name);
      context.show(model, () => detailLines(model));
    });

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

async function addModel(
  context: Context,
  folder: string,
  options: { name?: string; replace?: boolean },
): Promise<void> {
  const signal = interruptSignal();
  const client = await context.client();
  const { readModelFolder } = await import('../models/model-folder.ts');
  const reading = context.progress('reading');
  const model = await readModelFolder(folder, { signal, onProgress: reading.update }).finally(reading.end);
  const sending = context.progress('sending');
  const name = options.name ?? basename(resolve(folder)).toLowerCase();
  const added = await client.models
    .upload({
      name,
      replace: options.replace,
      manifest: model.manifest,
      files: model.files,
      signal,
      onProgress: sending.update,
    })
    .finally(sending.end);
  context.note(`${bytesText(added.bytes)} in ${countText(model.files.length, 'file')}, ${model.summary}`);
  context.show({ name: added.name, cid: added.cid, bytes: added.bytes }, () => [
    `${plainText(added.name)}  ${added.cid}`,
  ]);
}

function detailLines(model: ModelDetails): string[] {
  return [
    ...factLines([
      ['name', model.name],
      ['cid', model.cid],
      ['size', bytesText(model.bytes)],
      ['context', countText(model.contextTokens, 'token')],
      ['layers', String(model.layers)],
      ['tensors', String(model.tensors)],
      ['licence', model.card.licence ?? 'not stated'],
      ['devices', `${countText(model.devices, 'device')} ready to answer with it`],
    ]),
    '',
    ...tableLines(
      [{ title: 'FILE' }, { title: 'SIZE', align: 'right' }, { title: 'CID' }],
      model.files.map(({ path, bytes, cid }) => [path, bytesText(bytes), cid]),
    ),
  ];
}
