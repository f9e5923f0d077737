/**
 * Which hub a command talks to, and as whom: what the command line says, then the environment, then the hub that runs
 * on this machine, then the only one that somebody is signed in to from here, then the default address. Whoever signed
 * in to that hub here asks as themselves, unless a key is named.
 *
 * The steward's key of this machine goes to the hub that `up` noted here and to the default address, and nowhere else.
 */
import { createClient, hubAddress, type Client, type Fetch } from '@idlewild/client';
import { defaultDataFolder, notedHub, stewardKey } from './data-folder.ts';
import { keptSession, onlyAddress } from './kept-sessions.ts';
import { addressOf, pinnedFetch, splitPin } from './pinned-fetch.ts';

export const HUB_DEFAULT = 'http://127.0.0.1:7860';

/** The longest that a hub takes for one route is the sync of a large file; answers have no deadline of ours. */
const CALL_MS_MAX = 120_000;

export interface HubChoice {
  readonly hub?: string | undefined;
  readonly key?: string | undefined;
}

export interface HubAccess {
  readonly client: Client;
  /** Where the key came from, when nobody named one. */
  readonly keyNote: string | undefined;
}

export interface HubAddress {
  readonly hub: string;
  readonly key: string | undefined;
  readonly fetch: Fetch;
  readonly keyNote: string | undefined;
}

export function openHub(choice: HubChoice, env: Readonly<Record<string, string | undefined>> = process.env): HubAccess {
  const { hub, key, fetch, keyNote } = openHubAddress(choice, env);
  return { client: createClient({ hub, key, fetch }), keyNote };
}

/** The same for whoever talks to it in another way than the client. */
export function openHubAddress(
  choice: HubChoice,
  env: Readonly<Record<string, string | undefined>> = process.env,
): HubAddress {
  const data = defaultDataFolder(env);
  const local = notedHub(data);
  const { hub, pin, address } = placeOf(choice, env);
  const named = choice.key ?? env.IDLEWILD_KEY ?? keptSession(address, env)?.token;
  const isLocal = hub === hubAddress(splitPin(local?.url ?? HUB_DEFAULT).url);
  const found = named === undefined && isLocal ? stewardKey(data) : undefined;
  const fetch = pin === undefined ? globalThis.fetch : pinnedFetch(pin);
  return {
    hub,
    key: named ?? found,
    fetch: withDeadline(fetch),
    keyNote: found === undefined ? undefined : `with the steward's key of the hub on this machine, from ${data}`,
  };
}

/** As nobody, and as who signed in there, whatever keys there are; `address` is what sessions are kept under. */
export function openHubAsNobody(
  choice: Pick<HubChoice, 'hub'>,
  env: Readonly<Record<string, string | undefined>> = process.env,
): { readonly client: Client; readonly signedIn: Client | undefined; readonly address: string } {
  const { hub, pin, address } = placeOf(choice, env);
  const fetch = withDeadline(pin === undefined ? globalThis.fetch : pinnedFetch(pin));
  const key = keptSession(address, env)?.token;
  const signedIn = key === undefined ? undefined : createClient({ hub, key, fetch });
  return { client: createClient({ hub, fetch }), signedIn, address };
}

function placeOf(choice: Pick<HubChoice, 'hub'>, env: Readonly<Record<string, string | undefined>>) {
  const local = notedHub(defaultDataFolder(env));
  const { url, pin } = splitPin(choice.hub ?? env.IDLEWILD_HUB ?? local?.url ?? onlyAddress(env) ?? HUB_DEFAULT);
  const hub = hubAddress(url);
  return { hub, pin, address: pin === undefined ? hub : `${hub}#pin=${pin}` };
}

const withDeadline =
  (fetch: Fetch): Fetch =>
  (input, init = {}) => {
    if (new URL(addressOf(input)).pathname.includes('/v1/')) return fetch(input, init);
    const deadline = AbortSignal.timeout(CALL_MS_MAX);
    return fetch(input, { ...init, signal: init.signal ? AbortSignal.any([init.signal, deadline]) : deadline });
  };
