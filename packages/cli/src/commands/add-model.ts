/**
 * `idlewild models add`: a model from a folder on this disk or from Hugging Face, read, sent to the hub and given a
 * name.
 */
import { readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { IdlewildError, LIMITS, modelCardSchema, type ModelCard } from '@idlewild/protocol';
import { InvalidArgumentError, type Command } from 'commander';
import { contextOf, interruptSignal, type Context } from '../context.ts';
import { defaultDataFolder } from '../data-folder.ts';
import type { FetchedModel } from '../hugging-face/fetch-model.ts';
import { isReference, parseReference, type Reference } from '../hugging-face/repository.ts';
import { present } from '../models/card.ts';
import { QUANTS, type Quant } from '../models/graph-files.ts';
import { bytesText, countText, plainText } from '../text/units.ts';

interface AddOptions {
  readonly name?: string;
  readonly replace?: boolean;
  readonly quant?: Quant;
  readonly keep?: boolean;
  readonly card?: string;
  readonly licence?: string;
  readonly description?: string;
}

export function addAddCommand(models: Command): void {
  models
    .command('add')
    .summary('publish a model from a folder or from Hugging Face')
    .description(
      'Publish a model from a folder in the layout of Hugging Face (tokenizer.json, config.json, onnx/model.onnx) or ' +
        'from Hugging Face itself. Interrupted, the same command goes on where it stopped.',
    )
    .argument('<model>', 'the folder, or hf:org/name[@revision]')
    .option('--name <name>', "what callers ask for (default: the folder's or the repository's name)")
    .option('--replace', 'take the name from another model')
    .option('--quant <kind>', `which of several graphs: ${QUANTS.join(', ')}`, parseQuant)
    .option('--keep', 'keep the downloaded files once the model is published')
    .option('--card <file>', "a model card in place of the folder's README.md")
    .option('--licence <licence>', "the licence, in place of the card's")
    .option('--description <text>', "what it is, in place of the card's")
    .addHelpText(
      'after',
      `
Examples:
  $ idlewild models add models/jacobean
  $ idlewild models add hf:onnx-community/Qwen2.5-0.5B-Instruct --quant q4

From Hugging Face: HF_TOKEN for what needs an account, HF_ENDPOINT for a mirror, HTTPS_PROXY, NO_PROXY as elsewhere.`,
    )
    .action(async (model: string, options: AddOptions, command: Command) => {
      await addModel(contextOf(command), model, options);
    });
}

function parseQuant(text: string): Quant {
  const found = QUANTS.find((quant) => quant === text.toLowerCase());
  if (found !== undefined) return found;
  throw new InvalidArgumentError(`It is one of ${QUANTS.join(', ')}.`);
}

async function addModel(context: Context, model: string, options: AddOptions): Promise<void> {
  const signal = interruptSignal();
  const given = givenCard(options);
  if (!isReference(model))
    return publish(context, { folder: model, name: nameOf(basename(resolve(model))), given, options, signal });
  const reference = parseReference(model);
  const name = nameOf(reference.repository.split('/')[1] ?? '');
  await expectWelcome(context, options.name ?? name, reference, options);
  const fetched = await fetchFromHub(context, reference, options, signal);
  const kept = options.keep === true;
  let published = false;
  try {
    const card = { ...given, source: fetched.source };
    await publish(context, {
      folder: fetched.folder,
      name,
      given: card,
      options: { ...options, quant: fetched.quant },
      signal,
    });
    published = true;
  } finally {
    await fetched.close(kept || !published);
    if (kept || !published) context.note(`what was fetched stays in ${fetched.folder}`);
    else context.note('what was fetched is deleted again; --keep keeps it');
  }
}

/** That the hub is there, takes models from us, and has room for the name, before anything large is fetched. */
async function expectWelcome(
  context: Context,
  name: string,
  { repository }: Reference,
  { replace }: AddOptions,
): Promise<void> {
  const client = await context.client();
  const taken = (await client.models.list()).some((model) => model.name === name);
  if (!taken || replace === true) return;
  const { card } = await client.models.get(name);
  if (card.source?.startsWith(`hf:${repository}@`) === true) return;
  const message = `another model has the name "${name}"; choose one with --name, or take it with --replace`;
  throw new IdlewildError('conflict', message);
}

async function fetchFromHub(
  context: Context,
  reference: Reference,
  { quant }: AddOptions,
  signal: AbortSignal,
): Promise<FetchedModel> {
  const [{ fetchModel }, { createWeb }, { readSettings }, { nodeRandom, systemClock }] = await Promise.all([
    import('../hugging-face/fetch-model.ts'),
    import('../hugging-face/web.ts'),
    import('../hugging-face/settings.ts'),
    import('@idlewild/protocol/node'),
  ]);
  const web = createWeb({ settings: readSettings(process.env), env: process.env, clock: systemClock });
  const progress = context.progress('fetching');
  try {
    return await fetchModel(reference, {
      quant,
      downloads: join(defaultDataFolder(), 'downloads'),
      web,
      clock: systemClock,
      random: nodeRandom,
      signal,
      say(line) {
        progress.end();
        context.note(plainText(line));
      },
      onProgress: progress.update,
    });
  } finally {
    progress.end();
    web.close();
  }
}

interface Publishing {
  readonly folder: string;
  readonly name: string;
  /** Goes before what the folder says. */
  readonly given: ModelCard;
  readonly options: AddOptions;
  readonly signal: AbortSignal;
}

async function publish(context: Context, { folder, name, given, options, signal }: Publishing): Promise<void> {
  const client = await context.client();
  const { readModelFolder } = await import('../models/model-folder.ts');
  const reading = context.progress('reading');
  const model = await readModelFolder(folder, {
    signal,
    quant: options.quant,
    cardText: options.card === undefined ? undefined : readFileSync(options.card, 'utf8'),
    card: given,
    onProgress: reading.update,
  }).finally(reading.end);
  const { graph } = model;
  if (graph.quants.length > 1 && options.quant === undefined)
    context.note(`${graph.quant} of ${graph.quants.join(', ')}: ${graph.path}, ${graph.why}`);
  const sending = context.progress('sending');
  const added = await client.models
    .upload({
      name: options.name ?? name,
      replace: options.replace,
      manifest: model.manifest,
      files: model.files,
      signal,
      onProgress: sending.update,
    })
    .finally(sending.end);
  context.note(`${bytesText(added.bytes)} in ${countText(model.files.length, 'file')}, ${plainText(model.summary)}`);
  context.show({ name: added.name, cid: added.cid, bytes: added.bytes }, () => [
    `${plainText(added.name)}  ${added.cid}`,
  ]);
}

/** Throws `usage` for what no card has room for. */
function givenCard({ licence, description }: AddOptions): ModelCard {
  const parsed = modelCardSchema.safeParse(present({ licence, description }));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new IdlewildError('usage', `--${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

/** Lower case, and without what a name may not begin with. */
const nameOf = (text: string): string =>
  text
    .toLowerCase()
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, LIMITS.nameCharactersMax);
