/**
 * Where models of Hugging Face come from and as whom they are asked for, in the words of its own tools: HF_ENDPOINT for
 * a mirror, HF_TOKEN or the file that `hf auth login` leaves for what needs an account; and through which proxies.
 */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Settings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly token: string | undefined;
}

const ENDPOINT = 'https://huggingface.co';

/** Throws `usage` for an endpoint that is no address. */
export function readSettings(env: Environment): Settings {
  const endpoint = (env.HF_ENDPOINT ?? ENDPOINT).trim().replace(/\/+$/, '');
  const url = URL.parse(endpoint);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.search !== '') {
    throw new IdlewildError('usage', 'HF_ENDPOINT is no address; write it like https://huggingface.co');
  }
  const token = tokenIn(env);
  // On a road that others can read, an account is not worth a download.
  return { endpoint, token: url.protocol === 'https:' || isLoopback(url.hostname) ? token : undefined };
}

/**
 * The environment's proxies as Node takes them. It passes over what it does not understand and connects directly, so
 * that is refused here: an address without `http://` gets it, as elsewhere, and another kind of proxy throws `usage`.
 */
export function proxiesOf(env: Environment): Readonly<Record<string, string>> {
  const of = (name: string): string | undefined => env[name.toLowerCase()] ?? env[name];
  const proxies: Record<string, string> = {};
  for (const name of ['HTTPS_PROXY', 'HTTP_PROXY'] as const) {
    const given = (of(name) ?? of('ALL_PROXY') ?? '').trim();
    if (given === '') continue;
    const url = given.includes('://') ? given : `http://${given}`;
    if (!/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
      throw new IdlewildError('usage', `${name} names no proxy for HTTP; write it like http://proxy.example:3128`);
    }
    proxies[name] = url;
  }
  return { ...proxies, NO_PROXY: of('NO_PROXY') ?? '' };
}

export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(host);

function tokenIn(env: Environment): string | undefined {
  const named = env.HF_TOKEN?.trim();
  if (named !== undefined && named !== '') return named;
  if (/^(1|true|yes|on)$/i.test(env.HF_HUB_DISABLE_IMPLICIT_TOKEN ?? '')) return undefined;
  const caches = env.XDG_CACHE_HOME ?? join(env.HOME ?? homedir(), '.cache');
  const file = env.HF_TOKEN_PATH ?? join(env.HF_HOME ?? join(caches, 'huggingface'), 'token');
  try {
    return readFileSync(file, 'utf8').trim() || undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
