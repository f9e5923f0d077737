/**
 * The log port: structured fields first, then a sentence. pino implements it; the simulator keeps a ring of lines.
 * No prompt, answer or key is ever passed to it; a test greps the real log for them.
 */
type Write = (fields: Readonly<Record<string, unknown>>, message: string) => void;

export interface Log {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
}

export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
