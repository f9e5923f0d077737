/**
 * What a hub's record on a LAN says (RFC 6763; docs/protocol.md), written by us and read from anybody.
 *
 * Reading trusts nothing: texts lose what could steer a terminal or hide, and are cut; what is no address is no
 * address; a record that is not ours in every field that counts is no hub.
 */
import { isIP } from 'node:net';
import { LIMITS, WELL_KNOWN_PATH, isId } from '@idlewild/protocol';
import { plainText } from '../text/units.ts';
import { LAN_LIMITS } from './limits.ts';

export const SERVICE_TYPE = 'idlewild';
const RECORD_VERSION = '1';
const LABEL_BYTES_MAX = 63;
const ID_CHARACTERS = 10;
const VERSION_CHARACTERS_MAX = 32;

export interface AnnouncedHub {
  readonly hub: string;
  readonly territory: { readonly id: string; readonly name: string };
  readonly isEncrypted: boolean;
  readonly version: string;
}

/** Nothing in it was verified. */
export interface HeardHub {
  /** Of the record, unique on the network. */
  readonly name: string;
  readonly territory: { readonly id: string; readonly name: string };
  /** Where it says that it answers, the likeliest first. */
  readonly urls: readonly string[];
  readonly isEncrypted: boolean;
  readonly version: string;
}

/** What the library tells of a record, of which every field may be missing or hostile. */
export interface HeardRecord {
  readonly name?: unknown;
  readonly port?: unknown;
  readonly txt?: unknown;
  readonly addresses?: unknown;
  /** From which address the answer came. */
  readonly referer?: { readonly address?: unknown } | undefined;
}

const shortId = (id: string): string => id.slice(id.indexOf('_') + 1).slice(0, ID_CHARACTERS);

/** One label: the community's name and the beginning of the hub's id, which makes it unique without asking around. */
export function instanceName({ hub, territory }: Pick<AnnouncedHub, 'hub' | 'territory'>): string {
  const end = ` ${shortId(hub)}`;
  let name = oneLine(territory.name, LIMITS.nameCharactersMax).replaceAll('.', '-');
  while (Buffer.byteLength(name + end) > LABEL_BYTES_MAX) name = [...name].slice(0, -1).join('');
  return (name + end).trim();
}

/** Of our own, so that it clashes with no machine's name and tells none. */
export const hostName = (hub: string): string => `idlewild-${shortId(hub)}.local`;

export const txtOf = ({ territory, isEncrypted, version }: AnnouncedHub): Readonly<Record<string, string>> => ({
  v: RECORD_VERSION,
  territory: oneLine(territory.name, LIMITS.nameCharactersMax),
  id: territory.id,
  path: WELL_KNOWN_PATH,
  tls: isEncrypted ? '1' : '0',
  version,
});

/** `undefined` for what is no hub of this version. */
export function heardHub({ name, port, txt, addresses, referer }: HeardRecord): HeardHub | undefined {
  if (typeof name !== 'string' || typeof txt !== 'object' || txt === null) return undefined;
  const { v, territory, id, tls, version } = txt as Record<string, unknown>;
  if (v !== RECORD_VERSION || typeof id !== 'string' || !isId(id, 'ter')) return undefined;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  const isEncrypted = tls === '1';
  const urls = likeliestFirst(addresses, referer?.address)
    .slice(0, LAN_LIMITS.addressesMax)
    .map((address) => `${isEncrypted ? 'https' : 'http'}://${isIP(address) === 6 ? `[${address}]` : address}:${port}`);
  if (urls.length === 0) return undefined;
  return {
    name: oneLine(name, LABEL_BYTES_MAX),
    territory: { id, name: oneLine(territory, LIMITS.nameCharactersMax) },
    urls,
    isEncrypted,
    version: oneLine(version, VERSION_CHARACTERS_MAX),
  };
}

/** The address that the answer came from is on a network that both are on, if the hub listens there. */
function likeliestFirst(addresses: unknown, from: unknown): string[] {
  const isAddress = (each: unknown): each is string => typeof each === 'string' && isIP(each) !== 0;
  const told = Array.isArray(addresses) ? (addresses as unknown[]).filter(isAddress) : [];
  if (told.length === 0) return isAddress(from) ? [from] : [];
  // IPv4 before IPv6, of whose addresses most work on one link only.
  const rank = (address: string): number => (address === from ? 0 : isIP(address));
  return [...new Set(told)].sort((one, other) => rank(one) - rank(other));
}

/** Without line ends, and without the invisible characters that turn or hide text (Unicode's category Cf). */
function oneLine(text: unknown, charactersMax: number): string {
  if (typeof text !== 'string') return '';
  const plain = plainText(text.slice(0, 4 * charactersMax))
    .replace(/\p{Cf}/gu, '')
    .replace(/\s+/g, ' ')
    .trim();
  return [...plain].slice(0, charactersMax).join('');
}
