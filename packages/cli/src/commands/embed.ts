/** `idlewild embed` and `idlewild classify`: vectors and labels of texts. */
import { InvalidArgumentError, type Command } from 'commander';
import { contextOf, interruptSignal } from '../context.ts';
import { saidOf, withSaid, type SaidOptions } from '../text/said.ts';
import { tableLines } from '../text/table.ts';
import { countText, plainText } from '../text/units.ts';

const SHOWN_NUMBERS = 4;
const SHOWN_CHARACTERS = 48;

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number, 1 or more.');
  return value;
};

export function addEmbedCommands(program: Command): void {
  withSaid(program.command('embed'))
    .summary('make vectors of texts')
    .description('Make a vector of each TEXT with an encoder.')
    .argument('<model>', 'which encoder')
    .argument('<text...>', 'the texts; - reads them from stdin, one a line')
    .option('--dimensions <count>', 'cut the vectors to so many numbers, where the model allows it', count)
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild embed minilm "What news of the king?"\n  $ idlewild embed minilm --json - < lines.txt',
    )
    .action(
      async (
        model: string,
        words: readonly string[],
        options: SaidOptions & { dimensions?: number },
        command: Command,
      ) => {
        const context = contextOf(command);
        const client = await context.client();
        const input = await textsOf(words);
        const { vectors, usage, idlewild } = await client.embed(
          { model, input, ...(options.dimensions === undefined ? {} : { dimensions: options.dimensions }) },
          { signal: interruptSignal(), ...saidOf(options) },
        );
        const rows = vectors.map((vector, index) => [
          short(input[index] ?? ''),
          String(vector.length),
          [...vector.slice(0, SHOWN_NUMBERS).map((value) => value.toFixed(4)), '…'].join(' '),
        ]);
        context.show({ model, vectors, usage, idlewild }, () =>
          tableLines([{ title: 'TEXT' }, { title: 'NUMBERS', align: 'right' }, { title: 'VECTOR' }], rows),
        );
        context.note(noteLine(idlewild.devices, usage.prompt_tokens));
      },
    );

  withSaid(program.command('classify'))
    .summary('say which label fits a text')
    .description('Say which label fits each TEXT, with a classifier.')
    .argument('<model>', 'which classifier')
    .argument('<text...>', 'the texts; - reads them from stdin, one a line')
    .addHelpText('after', '\nExample:\n  $ idlewild classify mood "I am the merriest of men."')
    .action(async (model: string, words: readonly string[], options: SaidOptions, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const input = await textsOf(words);
      const said = { signal: interruptSignal(), ...saidOf(options) };
      const { labels, usage, idlewild } = await client.classify({ model, input }, said);
      const rows = labels.map(({ label, probs }, index) => [
        short(input[index] ?? ''),
        plainText(label ?? 'none'),
        Math.max(...probs).toFixed(3),
      ]);
      context.show({ model, labels, usage, idlewild }, () =>
        tableLines([{ title: 'TEXT' }, { title: 'LABEL' }, { title: 'PROBABILITY', align: 'right' }], rows),
      );
      context.note(noteLine(idlewild.devices, usage.prompt_tokens));
    });
}

const noteLine = (devices: readonly string[], tokens: number): string =>
  `${devices.map(plainText).join(', ')} · ${countText(tokens, 'token')}`;

function short(text: string): string {
  const line = plainText(text).replaceAll(/\s+/g, ' ');
  return line.length <= SHOWN_CHARACTERS ? line : `${line.slice(0, SHOWN_CHARACTERS - 1)}…`;
}

async function textsOf(words: readonly string[]): Promise<readonly string[]> {
  if (words.length !== 1 || words[0] !== '-') return words;
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += chunk as string;
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  if (lines.length > 0) return lines;
  const { IdlewildError } = await import('@idlewild/protocol');
  throw new IdlewildError('usage', 'there was no text on stdin; write one text a line');
}
