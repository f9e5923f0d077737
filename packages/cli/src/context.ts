/**
 * What every command is handed: the words of the person who called it, where to print, and the hub to talk to.
 *
 * Results go to stdout, everything said beside them to stderr; with --json stdout carries nothing but JSON and stderr
 * nothing but an error. Lines may hold what a hub or a device said: nothing in them steers a terminal.
 */
import { styleText } from 'node:util';
import type { Client } from '@idlewild/client';
import type { Command } from 'commander';
import { createProgress, type Progress } from './text/progress.ts';
import { jsonLine, plainLine, plainText } from './text/units.ts';

export interface GlobalOptions {
  readonly hub?: string | undefined;
  readonly key?: string | undefined;
  readonly json?: boolean | undefined;
}

export interface Context {
  readonly json: boolean;
  /** One line of a result for people. */
  print(line: string): void;
  printJson(value: unknown): void;
  /** The one or the other. */
  show(value: unknown, lines: () => readonly string[]): void;
  /** Said beside the result. */
  note(line: string): void;
  progress(label: string): Progress;
  /** The hub that this command talks to. */
  client(): Promise<Client>;
  /**
   * The same hub, or `linked` where nobody named one, asked as nobody; as who is signed in, if somebody is; and its
   * address as it was written.
   */
  stranger(
    linked?: string,
  ): Promise<{ readonly client: Client; readonly signedIn: Client | undefined; readonly address: string }>;
}

export function contextOf(command: Command): Context {
  const { hub, key, json = false } = command.optsWithGlobals<GlobalOptions>();
  const print = (line: string): void => {
    process.stdout.write(`${plainLine(line)}\n`);
  };
  const printJson = (value: unknown): void => {
    process.stdout.write(`${jsonLine(value)}\n`);
  };
  const note = (line: string): void => {
    if (!json) process.stderr.write(`${dim(plainText(line), process.stderr)}\n`);
  };
  return {
    json,
    print,
    printJson,
    show(value, lines) {
      if (json) printJson(value);
      else for (const line of lines()) print(line);
    },
    note,
    progress: (label) => createProgress(label, process.stderr, !json),
    async client() {
      const { openHub } = await import('./hub-access.ts');
      const { client, keyNote } = openHub({ hub, key });
      if (keyNote !== undefined && process.stderr.isTTY) note(keyNote);
      return client;
    },
    async stranger(linked) {
      const { openHubAsNobody } = await import('./hub-access.ts');
      return openHubAsNobody({ hub: hub ?? process.env.IDLEWILD_HUB ?? linked });
    },
  };
}

/** How this program was called, for commands that are to be copied: there may be no `idlewild` on the path. */
export const calledAs = (): string => (process.env.npm_command === 'exec' ? 'npx idlewild' : 'idlewild');

/** Dimmed where the stream is a terminal that takes colours; NO_COLOR is honoured. */
export const dim = (text: string, stream: NodeJS.WriteStream): string => styleText('dim', text, { stream });
export const bold = (text: string, stream: NodeJS.WriteStream): string => styleText('bold', text, { stream });

/** A signal that Ctrl-C and an orderly end abort, for commands that have something to finish first. */
export function interruptSignal(): AbortSignal {
  const abort = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => abort.abort());
  return abort.signal;
}
