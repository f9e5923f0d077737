/**
 * `npm start`: a hub and three devices as four processes on this machine, a prompt, and a pulled plug.
 *
 *   npm start [-- --once] [--port N] [--data DIR]
 *
 * It does nothing that the command line and the client could not do: each process is an `idlewild` command, each
 * request goes over HTTP. It ends all that it started, whether by Ctrl-C, at the end of `--once`, or by being killed
 * itself.
 */
import { parseArgs } from 'node:util';
import { playDemo } from './demo/play.ts';
import { EXIT, exitOf } from './exit-codes.ts';
import { untilTold } from './processes/until-told.ts';

const USAGE = 'npm start -- [--once] [--port N] [--data DIR]';

process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const choice = choiceOf(words);
  if (typeof choice === 'string') {
    process.stderr.write(`idlewild: ${choice}; write ${USAGE}\n`);
    return EXIT.usage;
  }
  const abort = new AbortController();
  const { told } = untilTold(false);
  void told.then(() => abort.abort());
  try {
    return await playDemo({ ...choice, signal: abort.signal });
  } catch (error) {
    const { code, message, stack } = error as { code?: string; message: string; stack?: string };
    if (abort.signal.aborted) return EXIT.interrupted;
    process.stderr.write(`\nidlewild: ${process.env.IDLEWILD_DEBUG === '1' ? (stack ?? message) : message}\n`);
    return exitOf(code);
  }
}

/** What was asked for, or what is wrong with it. */
function choiceOf(words: readonly string[]): { once: boolean; port: number; data: string | undefined } | string {
  try {
    const { values } = parseArgs({
      args: [...words],
      strict: true,
      options: {
        once: { type: 'boolean', default: false },
        port: { type: 'string', default: '7860' },
        data: { type: 'string' },
      },
    });
    const port = /^\d{1,5}$/.test(values.port) ? Number(values.port) : Number.NaN;
    if (!(port <= 65_535)) return `"${values.port}" is not a port`;
    return { once: values.once, port, data: values.data };
  } catch (error) {
    return (error as Error).message;
  }
}
