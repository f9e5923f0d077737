/**
 * What is counted as one address: an IPv4 address, or the /64 of an IPv6 address, which is what one household has.
 *
 * An IPv6 address that was made of an IPv4 one counts as that: whoever has one IPv4 address would have many otherwise,
 * and everybody who comes through one translator would be one. Addresses of one link count together, for whoever is on
 * it can take any of them. What is no address stays as it is.
 */
import { isIP } from 'node:net';

export function addressGroup(address: string): string {
  const [bare = '', zone] = address.split('%', 2);
  if (isIP(bare) !== 6) return address;
  const parts = partsOf(bare);
  const embedded = embeddedIn(parts);
  if (embedded !== undefined) return embedded;
  const group = `${parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(':')}::/64`;
  const isOfLink = ((parts[0] ?? 0) & 0xffc0) === 0xfe80;
  return isOfLink && zone !== undefined ? `${group}%${zone}` : group;
}

/** This very machine: whoever is on it has other ways to be a burden. No other machine can have such an address. */
export function isOwnMachine(address: string): boolean {
  const parts = isIP(address) === 6 ? partsOf(address) : [];
  if (parts.join(':') === '0:0:0:0:0:0:0:1') return true;
  const plain = isMapped(parts) ? dotted(parts[6], parts[7]) : address;
  return isIP(plain) === 4 && plain.startsWith('127.');
}

/** The eight numbers of an IPv6 address. */
function partsOf(address: string): readonly number[] {
  const [head = '', tail] = address.split('::', 2);
  const before = wordsIn(head);
  if (tail === undefined) return before;
  const after = wordsIn(tail);
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}

const wordsIn = (text: string): number[] =>
  text === ''
    ? []
    : text.split(':').flatMap((word) => {
        if (!word.includes('.')) return [Number.parseInt(word, 16)];
        const [a = 0, b = 0, c = 0, d = 0] = word.split('.').map(Number);
        return [a * 256 + b, c * 256 + d];
      });

const dotted = (high = 0, low = 0): string => [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');

/** RFC 4291. */
const isMapped = (parts: readonly number[]): boolean =>
  parts[5] === 0xffff && parts.slice(0, 5).every((it) => it === 0);

/** The IPv4 address within, where there is one by the kind of the address. */
function embeddedIn(parts: readonly number[]): string | undefined {
  const [a = 0, b = 0, c = 0, d, e, f, high = 0, low = 0] = parts;
  const isZero = (...words: (number | undefined)[]): boolean => words.every((word) => word === 0);
  if (isMapped(parts)) return dotted(high, low);
  // Translated without state (RFC 2765).
  if (isZero(a, b, c, d, f) && e === 0xffff) return dotted(high, low);
  // NAT64 by its well-known prefix (RFC 6052), and by those of a network's own (RFC 8215).
  if (a === 0x64 && b === 0xff9b && (c === 1 || isZero(c, d, e, f))) return dotted(high, low);
  // 6to4 (RFC 3056).
  if (a === 0x2002) return dotted(b, c);
  // Teredo (RFC 4380), which turns all bits of it around.
  if (a === 0x2001 && b === 0) return dotted(high ^ 0xffff, low ^ 0xffff);
  return undefined;
}
