/** `@idlewild/cli`: the command line as a function, for those who put it into another program. */
export { EXIT } from './exit-codes.ts';
export { run } from './run.ts';
