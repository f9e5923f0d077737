/**
 * The sessions of whoever uses this machine's account, one for each hub: what `sign-in` got and other commands ask
 * with.
 *
 * A file of its owner alone in the folder for configuration. A session goes to the very address that gave it, pin and
 * all, and nowhere else, but for its person joining another community of the same hub. What is over is not sent.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';

type Env = Readonly<Record<string, string | undefined>>;

export interface KeptSession {
  readonly token: string;
  /** Ids. */
  readonly session: string;
  readonly person: string;
  readonly expiresAt: string;
}

export function sessionsFile(env: Env = process.env, platform: string = process.platform): string {
  const name = 'sessions.json';
  if (platform === 'win32') return join(env.APPDATA ?? join(homedir(), 'AppData', 'Roaming'), 'Idlewild', name);
  if (platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'Idlewild', name);
  const base = env.XDG_CONFIG_HOME;
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.config'), 'idlewild', name);
}

/** `address`: as it was written, with its pin. */
export function keptSession(
  address: string,
  env: Env = process.env,
  nowMs: number = Date.now(),
): KeptSession | undefined {
  const kept = readAll(env)[address];
  return kept === undefined || Date.parse(kept.expiresAt) <= nowMs ? undefined : kept;
}

/** Those of other communities of the hub at `address`: behind the same host, port and pin. */
export function keptBeside(address: string, env: Env = process.env, nowMs: number = Date.now()): KeptSession[] {
  const hubOf = (text: string): string => {
    const { origin, hash } = new URL(text);
    return origin + hash;
  };
  return Object.entries(readAll(env))
    .filter(
      ([other, kept]) => other !== address && hubOf(other) === hubOf(address) && Date.parse(kept.expiresAt) > nowMs,
    )
    .map(([, kept]) => kept);
}

/** The address of the one session that there is; of several nobody knows which is meant. */
export function onlyAddress(env: Env = process.env, nowMs: number = Date.now()): string | undefined {
  const open = Object.entries(readAll(env)).filter(([, { expiresAt }]) => Date.parse(expiresAt) > nowMs);
  return open.length === 1 ? open[0]?.[0] : undefined;
}

export function keepSession(address: string, session: KeptSession, env: Env = process.env): void {
  writeAll({ ...readAll(env), [address]: session }, env);
}

/** Whether there was one. */
export function forgetSession(address: string, env: Env = process.env): boolean {
  const { [address]: gone, ...rest } = readAll(env);
  if (gone !== undefined) writeAll(rest, env);
  return gone !== undefined;
}

type All = Readonly<Record<string, KeptSession>>;

function readAll(env: Env): All {
  const file = sessionsFile(env);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new IdlewildError('data_corrupt', `${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const { sessions } = JSON.parse(text) as { sessions: All };
    const isFit = Object.values(sessions).every(({ token, expiresAt }) => token.startsWith('iws_') && expiresAt !== '');
    if (isFit) return sessions;
  } catch {
    // Told below, with the way out.
  }
  throw new IdlewildError('data_corrupt', `${file} is damaged; remove it and sign in again: idlewild sign-in`);
}

function writeAll(sessions: All, env: Env): void {
  const file = sessionsFile(env);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const next = `${file}.${process.pid}`;
  writeFileSync(next, `${JSON.stringify({ v: 1, sessions }, undefined, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(next, file);
}
