/**
 * What a service needs to know of a device's folder, also while the device runs: whether it has joined and agreed, what
 * it is called, and how its last run ended. It reads only; whether what was signed is good, the device itself looks.
 */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { IdlewildError, codeOf } from '@idlewild/protocol';
import { lockFolder } from '@idlewild/protocol/node';
import { z } from 'zod';

const deviceSchema = z.object({ url: z.string(), name: z.string(), enrolled: z.boolean() });
export type Joined = z.infer<typeof deviceSchema>;

export const joinedFile = (data: string): string => join(data, 'device.json');

/** Throws `usage` where no device has joined from `data`, or its hub has not let it in yet, or nobody has consented. */
export function readJoined(data: string, calledAs: string): Joined {
  const path = joinedFile(data);
  if (!existsSync(path) || !existsSync(join(data, 'consent.json'))) {
    throw new IdlewildError(
      'usage',
      `no device has joined from ${data}, and nobody has agreed to anything there; first ` +
        `\`${calledAs} join URL --token TOKEN\`, then Ctrl-C, then this`,
    );
  }
  const parsed = deviceSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  if (!parsed.success) throw new IdlewildError('data_corrupt', `${path} is damaged; remove it and join again`);
  if (parsed.data.enrolled) return parsed.data;
  throw new IdlewildError(
    'usage',
    `the hub at ${parsed.data.url} has not let this device in yet, and a service has no invite to show; ` +
      `\`${calledAs} join\` with the invite, until it says that it is ready`,
  );
}

/** Whether a process has the folder now. */
export function isHeld(data: string): boolean {
  try {
    lockFolder(data, 'device').release();
    return false;
  } catch (error) {
    if (codeOf(error) === 'data_locked') return true;
    throw error;
  }
}

export interface LoggedProblem {
  readonly at: string;
  readonly code: string | undefined;
  readonly message: string;
}

/** Enough for some hundred lines. */
const TAIL_BYTES = 65_536;
const lineSchema = z.object({ at: z.string(), level: z.string(), message: z.string(), code: z.string().optional() });

/** The last error in the device's log, unless a session with its hub was opened after it. */
export function lastProblem(log: string): LoggedProblem | undefined {
  for (const line of tailOf(log).split('\n').toReversed()) {
    const parsed = lineSchema.safeParse(parse(line));
    if (!parsed.success) continue;
    const { at, level, code, message } = parsed.data;
    if (level === 'error') return { at, code, message };
    if (level === 'info' && message === 'connected to the hub') return undefined;
  }
  return undefined;
}

function tailOf(path: string): string {
  if (!existsSync(path)) return '';
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const read = readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString('utf8', 0, read);
  } finally {
    closeSync(file);
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // The first of the tail is seldom whole.
  }
}
