/**
 * The `Log` port over pino: one JSON line each, safe to keep and to look at in a terminal; to a descriptor or a path it
 * is written asynchronously.
 */
import pino from 'pino';
import type { Log } from '../log.ts';

export interface PinoLogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** A file descriptor, a path, or whoever takes the lines. */
  readonly destination: number | string | LineWriter;
}

export interface LineWriter {
  /** One line, with its end. */
  write(line: string): void;
}

/** JSON escapes the first control characters by itself; these are left, and end lines or steer terminals, too. */
const plain = (line: string): string =>
  line.replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

export function createPinoLog({ level, destination }: PinoLogOptions): Log {
  const logger = pino(
    {
      level,
      base: null,
      redact: { paths: ['key', 'authorization', 'token', 'secret'], remove: true },
      hooks: { streamWrite: plain },
    },
    typeof destination === 'object' ? destination : pino.destination({ dest: destination, sync: false, mkdir: true }),
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  };
}
