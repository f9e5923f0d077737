/**
 * The two halves of a tar file (POSIX ustar) that archives need: regular files of a known size, one after the other.
 * Sizes beyond 8 GiB are written in base 256, as GNU tar and libarchive read them.
 */
import { IdlewildError, fromUtf8, utf8 } from '@idlewild/protocol';

export const TAR_BLOCK_BYTES = 512;
const NAME_BYTES = 100;
const SIZE = { at: 124, bytes: 12 } as const;
const CHECKSUM = { at: 148, bytes: 8 } as const;
const OCTAL_SIZE_MAX = 8 ** 11 - 1;

export interface TarEntry {
  readonly name: string;
  readonly bytes: number;
}

/** `bytes` rounded up to whole blocks, less `bytes`. */
export const paddingOf = (bytes: number): number => (TAR_BLOCK_BYTES - (bytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES;

export function tarHeader({ name, bytes }: TarEntry, mtimeMs: number): Uint8Array {
  const header = new Uint8Array(TAR_BLOCK_BYTES);
  const put = (at: number, text: string): void => header.set(utf8(text), at);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0');
  if (utf8(name).length > NAME_BYTES) throw new Error(`${name} is too long a name for a part`);
  put(0, name);
  put(100, `${octal(0o600, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0`);
  if (bytes <= OCTAL_SIZE_MAX) put(SIZE.at, `${octal(bytes, 11)}\0`);
  else new DataView(header.buffer).setBigUint64(SIZE.at + 4, BigInt(bytes));
  if (bytes > OCTAL_SIZE_MAX) header[SIZE.at] = 0x80;
  put(136, `${octal(Math.floor(mtimeMs / 1_000), 11)}\0`);
  put(156, '0');
  put(257, 'ustar\x0000');
  put(CHECKSUM.at, `${octal(checksumOf(header), 6)}\0 `);
  return header;
}

/** `undefined` for the empty block that ends a tar. Throws `data_corrupt` for what is no header. */
export function readTarHeader(header: Uint8Array): TarEntry | undefined {
  if (header.every((byte) => byte === 0)) return undefined;
  const text = (at: number, bytes: number): string => {
    const field = header.subarray(at, at + bytes);
    const end = field.indexOf(0);
    return fromUtf8(end === -1 ? field : field.subarray(0, end)).trim();
  };
  const size =
    header[SIZE.at] === 0x80
      ? Number(new DataView(header.buffer, header.byteOffset).getBigUint64(SIZE.at + 4))
      : Number.parseInt(text(SIZE.at, SIZE.bytes), 8);
  const isSound =
    Number.parseInt(text(CHECKSUM.at, CHECKSUM.bytes), 8) === checksumOf(header) &&
    text(257, 5) === 'ustar' &&
    header[156] === 0x30 &&
    Number.isSafeInteger(size);
  if (!isSound) throw new IdlewildError('data_corrupt', 'the head of a part is damaged');
  return { name: text(0, NAME_BYTES), bytes: size };
}

/** Of a header whose own checksum counts as spaces. */
function checksumOf(header: Uint8Array): number {
  let sum = 0;
  header.forEach((byte, at) => {
    sum += at >= CHECKSUM.at && at < CHECKSUM.at + CHECKSUM.bytes ? 0x20 : byte;
  });
  return sum;
}
