/** The process of the `idlewild` command; bin/idlewild.mjs loads it. */
import { run } from './run.ts';

// A reader that has seen enough, as in `idlewild models list | head -1`, is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const code = await run(process.argv.slice(2));
// Once all is said it is over: a connection kept alive for a next request must not hold the shell's prompt back.
process.stderr.write('', () => process.stdout.write('', () => process.exit(code)));
