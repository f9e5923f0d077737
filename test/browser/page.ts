/**
 * The script of a page that asks a hub from a browser: what a page of somebody's own would do with the library. It
 * gives what it can do to whoever drives the browser, as `sealedPage`.
 */
import { createClient, createSealedClient, type SealedClientOptions } from '@idlewild/client';
import { asIdlewildError } from '@idlewild/protocol';
import { cryptoConformance } from '@idlewild/protocol/testing';
import { createWebCrypto } from '@idlewild/protocol/web';

/** As it goes through JSON. */
export interface PageQuestion {
  readonly hub: string;
  readonly key: string;
  readonly territory: readonly number[];
  readonly steward: readonly number[];
  readonly request: Parameters<ReturnType<typeof createSealedClient>['chat']>[0];
}

export interface PageAnswer {
  readonly text: string;
  readonly usage?: unknown;
  readonly idlewild?: unknown;
  readonly finish?: unknown;
  /** When each piece came, in milliseconds since it was asked for. */
  readonly atMs: readonly number[];
}

export interface PageError {
  readonly code: string;
  readonly message: string;
}

const optionsOf = ({
  hub,
  key,
  territory,
  steward,
}: PageQuestion): Pick<SealedClientOptions, 'hub' | 'key' | 'territory' | 'stewards'> => ({
  hub,
  key,
  territory: new Uint8Array(territory),
  stewards: [new Uint8Array(steward)],
});

async function ask(question: PageQuestion, how: 'sealed' | 'open'): Promise<PageAnswer | PageError> {
  const client = how === 'sealed' ? createSealedClient(optionsOf(question)) : createClient(question);
  const began = performance.now();
  let text = '';
  let end = {};
  const atMs: number[] = [];
  try {
    for await (const piece of client.chat(question.request)) {
      if ('text' in piece) {
        text += piece.text;
        atMs.push(performance.now() - began);
      } else end = piece;
    }
  } catch (thrown) {
    const { code, message } = asIdlewildError(thrown, 'asking from a page');
    return { code, message };
  }
  return { text, atMs, ...end };
}

/** Claims about ciphers that do not hold here. */
async function brokenClaims(): Promise<readonly string[]> {
  const broken: string[] = [];
  for (const { claim, check } of cryptoConformance(createWebCrypto(crypto.subtle)))
    await check().catch((error: unknown) => broken.push(`${claim}: ${String(error)}`));
  return broken;
}

export interface SealedPage {
  ask(question: PageQuestion, how: 'sealed' | 'open'): Promise<PageAnswer | PageError>;
  brokenClaims(): Promise<readonly string[]>;
}

const page: SealedPage = { ask, brokenClaims };
Object.assign(globalThis, { sealedPage: page });
