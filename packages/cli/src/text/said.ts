/** `--class` and `--purpose` of commands that ask: what is said of the texts. */
import { InvalidArgumentError, Option, type Command } from 'commander';

/** As `DATA_CLASSES` of the protocol, which help need not load. */
const CLASSES = ['public', 'internal', 'confidential'] as const;

export interface SaidOptions {
  readonly class?: (typeof CLASSES)[number];
  readonly purpose?: string;
}

const slug = (text: string): string => {
  if (/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(text) && text.length <= 64) return text;
  throw new InvalidArgumentError('It must be words of a to z and 0 to 9, joined by hyphens.');
};

export const withSaid = (command: Command): Command =>
  command
    .addOption(new Option('--class <class>', 'how far the text may go (default: as the key is for)').choices(CLASSES))
    .option('--purpose <slug>', 'what it is for, like climate; lenders may lend for it alone, or refuse it', slug);

export const saidOf = ({ class: dataClass, purpose }: SaidOptions): object => ({
  ...(dataClass === undefined ? {} : { dataClass }),
  ...(purpose === undefined ? {} : { purpose }),
});
