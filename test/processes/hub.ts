/**
 * A hub as a process for the end-to-end tests: what `idlewild up` runs, with its log at level debug in a file of the
 * test's choice. It is told everything in one JSON argument, prints one line when it is ready or refuses to start, and
 * stops when its stdin ends.
 */
import { createPinoLog, startHub } from '@idlewild/hub';

export interface HubProcessOptions {
  readonly data: string;
  readonly host: string;
  readonly port: number;
  readonly publicUrl?: string;
  readonly otherOrigins?: readonly string[];
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly logFile: string;
}

/** The one line on stdout. */
export type HubLine =
  | { readonly url: string; readonly stewardKeyFile: string; readonly territory: string; readonly pin?: string }
  | { readonly error: { readonly code: string; readonly message: string } };

const print = (line: HubLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

const { logFile, ...options } = JSON.parse(process.argv[2] ?? '{}') as HubProcessOptions;
try {
  const hub = await startHub({ ...options, log: createPinoLog({ level: 'debug', destination: logFile }) });
  const { url, stewardKeyFile, territory, spkiPin } = hub;
  const pin = spkiPin === undefined ? {} : { pin: Buffer.from(spkiPin).toString('hex') };
  print({ url, stewardKeyFile, territory: territory.id, ...pin });
  process.stdin.resume().once('end', () => void hub.stop());
} catch (error) {
  const { code = 'internal', message } = error as Error & { code?: string };
  print({ error: { code, message } });
  process.exitCode = 1;
}
