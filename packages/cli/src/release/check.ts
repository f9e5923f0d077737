/**
 * Asks, once and because a person said so, which release is the newest. Where to ask and whom to believe is one address
 * with a key, `https://…#key=BASE64URL`; without one nothing is asked. Nothing is fetched but the statement itself, and
 * nothing is installed.
 */
import { IdlewildError, type Clock, type Crypto } from '@idlewild/protocol';
import { isLoopback, type Environment } from '../hugging-face/settings.ts';
import { createWeb } from '../hugging-face/web.ts';
import { RELEASE_BYTES_MAX, openRelease, type Release } from './statement.ts';
import { compareVersions } from './version.ts';

export interface ReleasePlace {
  readonly url: URL;
  /** Ed25519, 32 bytes. */
  readonly key: Uint8Array;
}

/** For all of it; a person waits. */
const CHECK_MS_MAX = 15_000;

const KEY = /^#key=([A-Za-z0-9_-]{43})=?$/;

/** Throws `usage` for what is not `https://…#key=…`; plain HTTP is for loopback. */
export function readPlace(named: string): ReleasePlace {
  const url = URL.parse(named.trim());
  const key = KEY.exec(url?.hash ?? '')?.[1];
  if (
    url === null ||
    key === undefined ||
    !(url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname)))
  ) {
    throw new IdlewildError(
      'usage',
      'the place of releases is no https:// address with a key, as in https://example.org/release#key=BASE64URL',
    );
  }
  url.hash = '';
  return { url, key: Buffer.from(key, 'base64url') };
}

export interface CheckPorts {
  readonly env: Environment;
  readonly clock: Clock;
  readonly crypto: Crypto;
}

/** Throws `source_unreachable`, `signature_invalid`. */
export async function newestRelease(
  { url, key }: ReleasePlace,
  { env, clock, crypto }: CheckPorts,
  limitMs: number = CHECK_MS_MAX,
): Promise<Release> {
  const abort = new AbortController();
  const timer = clock.after(limitMs, () => abort.abort());
  const web = createWeb({ settings: { endpoint: url.origin, token: undefined }, env, clock, stallMs: limitMs });
  try {
    const answer = await web.get(`${url.pathname}${url.search}`, { signal: abort.signal });
    if (answer.status !== 200) {
      answer.drop();
      throw new IdlewildError('source_unreachable', `${url.href} answered with ${answer.status}`);
    }
    return await openRelease(await wholeText(answer.body, url), key, crypto);
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    throw new IdlewildError('source_unreachable', `${url.href} did not answer within ${limitMs / 1_000} s`, {
      cause: error,
    });
  } finally {
    timer.cancel();
    web.close();
  }
}

async function wholeText(body: AsyncIterable<Uint8Array>, { href }: URL): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > RELEASE_BYTES_MAX) {
      throw new IdlewildError(
        'source_unreachable',
        `${href} has more than ${RELEASE_BYTES_MAX} bytes and is no release`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

export interface Judged {
  /** Of what is told, beside what runs. Only `newer` is an update. */
  readonly relation: 'newer' | 'same' | 'older';
  /** What runs is older than what should still be run. */
  readonly tooOld: boolean;
}

export function judge(running: string, { version, minimum }: Release): Judged {
  const difference = compareVersions(version, running);
  return {
    relation: difference > 0 ? 'newer' : difference < 0 ? 'older' : 'same',
    tooOld: compareVersions(running, minimum) < 0,
  };
}
