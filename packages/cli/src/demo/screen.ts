/** How the demonstration looks: plain lines, bold where it matters, and nothing else where there are no colours. */
import { styleText } from 'node:util';
import { plainText } from '../text/units.ts';

type Style = Parameters<typeof styleText>[0];

export interface Screen {
  line(text?: string): void;
  /** A prompt, as somebody would type it. */
  prompt(text: string): void;
  /** The next piece of an answer. */
  piece(text: string): void;
  /** A mark in the middle of an answer, on a line of its own. */
  mark(text: string): void;
  /** Ends an answer. */
  end(): void;
  style(style: Style, text: string): string;
}

const INDENT = '    ';

export function createScreen(out: NodeJS.WriteStream = process.stdout): Screen {
  const style = (how: Style, text: string): string => styleText(how, text, { stream: out });
  let fresh = true;
  const write = (text: string): void => {
    out.write(text);
  };
  return {
    style,
    line: (text = '') => write(text === '' ? '\n' : `  ${text}\n`),
    prompt(text) {
      write(`  ${style('bold', '›')} ${style('bold', text)}\n${INDENT}`);
      fresh = true;
    },
    piece(text) {
      // The blank lines before an answer's first word say nothing.
      const shown = fresh ? plainText(text).replace(/^\s+/, '') : plainText(text);
      fresh &&= shown === '';
      write(shown.replaceAll('\n', `\n${INDENT}`));
    },
    mark: (text) => write(`\n  ${style(['bold', 'red'], `━━ ${text} ━━`)}\n${INDENT}`),
    end: () => write('\n'),
  };
}
