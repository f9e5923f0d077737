/**
 * Whether a hub may send a device to an address. One that is reached over the internet has no business in the network
 * that the device stands in: sent from address to address, a device would tell by its failures what listens there.
 *
 * Looked at is what is written, addresses (also in the odd forms that are read as such) and names; where a name leads
 * is not known here. A hub that is in the local network itself may name what it wants.
 */

/** Where ranges begin, with their lengths in bits: RFC 6890 and what is told apart by it, and multicast. */
const LOCAL_V4: readonly (readonly [first: string, bits: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  // Of carriers, and of private networks laid over the internet.
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
];
/** Names without a dot are the local network's, too. */
const LOCAL_NAMES = /(^|\.)(localhost|local|lan|home|internal|intranet|home\.arpa)$/;

/** Why a device whose hub is at `known` is not to dial `told`, or `undefined`. Both are whole URLs. */
export function whyNotSent(known: string, told: string): string | undefined {
  const [from, to] = [hostOf(known), hostOf(told)];
  if (from === undefined || to === undefined || isLocal(from) || !isLocal(to)) return undefined;
  return `${to} is of a local network, which a hub at ${from} has no business in`;
}

/** As it is dialled: numbers in any form are one address, and letters are small. */
function hostOf(url: string): string | undefined {
  try {
    return new URL(url).hostname.replace(/\.$/, '');
  } catch {
    return undefined;
  }
}

function isLocal(host: string): boolean {
  if (host.startsWith('[')) return isLocalV6(host.slice(1, -1));
  if (/^\d+(\.\d+){3}$/.test(host)) return isLocalV4(numberOf(host));
  return !host.includes('.') || LOCAL_NAMES.test(host);
}

const numberOf = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
const isLocalV4 = (address: number): boolean =>
  LOCAL_V4.some(([first, bits]) => {
    const size = 2 ** (32 - bits);
    return Math.floor(address / size) === Math.floor(numberOf(first) / size);
  });

/** In the one form that URLs have: groups of small hexadecimal digits, the longest run of zeros as `::`. */
function isLocalV6(address: string): boolean {
  const [head = '', tail] = address.split('::');
  const groupsOf = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const [before, after] = [groupsOf(head), groupsOf(tail ?? '')];
  const groups = [...before, ...new Array<number>(Math.max(0, 8 - before.length - after.length)).fill(0), ...after];
  const [first = 0] = groups;
  const leadsToV4 = groups.slice(0, 5).every((group) => group === 0) && [0, 0xffff].includes(groups[5] ?? 0);
  // ::ffff:0:0/96 and the old ::/96, in which :: and ::1 are; and what translates to IPv4, 64:ff9b::/96.
  const isTranslated = first === 0x64 && groups[1] === 0xff9b;
  if (leadsToV4 || isTranslated) return isLocalV4((groups[6] ?? 0) * 65_536 + (groups[7] ?? 0));
  // Only 2000::/3 is given out for the internet.
  return first >> 13 !== 1;
}
