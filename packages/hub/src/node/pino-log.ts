/** The `Log` port over pino: one JSON line each, written asynchronously, safe to keep. */
import pino from 'pino';
import type { Log } from '../log.ts';

export interface PinoLogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** A file descriptor or a path. */
  readonly destination: number | string;
}

export function createPinoLog({ level, destination }: PinoLogOptions): Log {
  const logger = pino(
    { level, base: null, redact: { paths: ['key', 'authorization', 'token', 'secret'], remove: true } },
    pino.destination({ dest: destination, sync: false, mkdir: true }),
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  };
}
