/**
 * What keeps programs running on a system, as far as one service needs it: three implementations, over what they ask of
 * the machine. All of them work for the user who calls, and none asks for an administrator.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { InstalledFacts, ServiceDescription } from './description.ts';

export interface ServiceManager {
  readonly name: 'systemd' | 'launchd' | 'Task Scheduler';
  /** Where the text lies that was installed last. */
  readonly file: string;
  /** What the person may type to see more. */
  readonly look: string;
  text(service: ServiceDescription, facts: InstalledFacts): string;
  /** Throws `usage` with the way out where no manager answers. Changes nothing. */
  check(): Promise<void>;
  /** Writes the text and starts the service; one that runs is stopped before. Throws `internal` with what was said. */
  install(service: ServiceDescription, facts: InstalledFacts): Promise<void>;
  /** Stops the service and removes all that `install` made; what is not there is no failure. */
  uninstall(): Promise<void>;
  state(): Promise<ServiceState>;
  /** Absent where a service runs only while its user is logged in. */
  readonly linger?: Linger;
}

/** Whether this user's services run without a login. */
export interface Linger {
  /** To be typed by a person. */
  readonly command: string;
  isOn(): boolean;
  /** Throws `internal` where the system does not allow it. */
  turn(on: boolean): Promise<void>;
}

export interface ServiceState {
  /** The manager knows it and will start it by itself. */
  readonly enabled: boolean;
  readonly running: boolean;
  readonly pid: number | undefined;
  /** Of the last run that is over, `undefined` where there was none or nobody remembers. */
  readonly lastExit: { readonly code: number } | { readonly signal: string } | undefined;
}

/** The machine; one in memory in tests. */
export interface Machine {
  /** Ends well or not; `code` 127 where there is no such program, 124 where it took too long. */
  run(program: string, words: readonly string[]): Promise<Ran>;
  /** `undefined` where there is none. */
  read(path: string): string | undefined;
  /** Whole: the old one or the new one. Makes its folder. */
  write(path: string, content: string | Uint8Array): void;
  remove(path: string): void;
  exists(path: string): boolean;
  wait(ms: number): Promise<void>;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Throws `internal` with what a command said that did not end well. */
export function endedWell(command: string, { code, err, out }: Ran): void {
  if (code === 0) return;
  const said = firstLine(err) || firstLine(out) || 'it said nothing';
  throw new IdlewildError('internal', `\`${command}\` ended with ${code}: ${said}`);
}

export const firstLine = (text: string): string => text.trim().split('\n')[0]?.trim() ?? '';
