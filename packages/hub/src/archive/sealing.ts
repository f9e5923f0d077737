/**
 * Sealing a stream with a passphrase: a head, then chunks of 1 MiB, each AES-256-GCM under a key that scrypt makes of
 * the passphrase and a salt that no other file has.
 *
 *   head    "idlewild-sealed-1\n" · salt (16) · log2 N · r · p · tag of nothing (16), which tells a wrong passphrase
 *   chunk   sealed bytes · tag (16); its nonce is its number (11 bytes) and whether it is the last (1)
 *
 * The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015): chunks cannot be changed, dropped, reordered
 * or cut off at the end. scrypt (RFC 7914) at N = 2^17 takes 128 MiB and about half a second a guess.
 */
import { createCipheriv, createDecipheriv, scrypt } from 'node:crypto';
import { IdlewildError, concat, equalBytes, utf8 } from '@idlewild/protocol';

const MAGIC = utf8('idlewild-sealed-1\n');
const SALT_BYTES = 16;
const TAG_BYTES = 16;
const BOUND_BYTES = MAGIC.length + SALT_BYTES + 3;
export const SEALED_HEAD_BYTES = BOUND_BYTES + TAG_BYTES;
const CHUNK_BYTES = 1_048_576;
/** No chunk has this number. */
const CHECK_NONCE = new Uint8Array(12).fill(0xff);
const COST = { log2N: 17, r: 8, p: 1 } as const;
/** What a damaged or hostile head may make us spend: 1 GiB. */
const LOG2_N_MAX = 20;

export const isSealedHead = (bytes: Uint8Array): boolean => equalBytes(bytes.subarray(0, MAGIC.length), MAGIC);

const keyOf = (passphrase: string, salt: Uint8Array, { log2N, r, p }: { log2N: number; r: number; p: number }) =>
  new Promise<Buffer>((resolve, reject) => {
    const N = 2 ** log2N;
    scrypt(passphrase.normalize('NFC'), salt, 32, { N, r, p, maxmem: 256 * N * r }, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });

function nonceOf(chunk: number, isLast: boolean): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(3, BigInt(chunk));
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

type Sink = (bytes: Uint8Array) => Promise<void>;

/** A sink that seals into `sink`; `end` writes the last chunk. */
export async function createSealer(
  sink: Sink,
  passphrase: string,
  salt: Uint8Array,
): Promise<{ readonly write: Sink; readonly end: () => Promise<void> }> {
  const bound = concat([MAGIC, salt, Uint8Array.of(COST.log2N, COST.r, COST.p)]);
  const key = await keyOf(passphrase, salt, COST);
  const seal = (nonce: Uint8Array, plain: Uint8Array): Uint8Array => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound);
    const sealed = cipher.update(plain);
    cipher.final();
    return concat([sealed, cipher.getAuthTag()]);
  };
  await sink(concat([bound, seal(CHECK_NONCE, new Uint8Array())]));
  const buffer = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  let chunk = 0;
  const flush = async (isLast: boolean): Promise<void> => {
    const sealed = seal(nonceOf(chunk++, isLast), buffer.subarray(0, filled));
    filled = 0;
    await sink(sealed);
  };
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length;) {
        // A full chunk waits for the next byte: only then it is known not to be the last.
        if (filled === CHUNK_BYTES) await flush(false);
        const taken = Math.min(CHUNK_BYTES - filled, bytes.length - at);
        buffer.set(bytes.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
      }
    },
    end: () => flush(true),
  };
}

/**
 * What was sealed. `head` is the first bytes of the stream, `rest` gives the bytes behind them. Throws `usage` for a
 * wrong passphrase and `data_corrupt` for what was changed or cut off.
 */
export async function* unseal(
  head: Uint8Array,
  rest: AsyncIterable<Uint8Array>,
  passphrase: string,
): AsyncGenerator<Uint8Array> {
  const [log2N = 0, r = 0, p = 0] = head.subarray(MAGIC.length + SALT_BYTES);
  if (log2N < 1 || log2N > LOG2_N_MAX || r < 1 || r > 16 || p < 1 || p > 16)
    throw new IdlewildError('data_corrupt', 'its head is damaged');
  const key = await keyOf(passphrase, head.subarray(MAGIC.length, MAGIC.length + SALT_BYTES), { log2N, r, p });
  const bound = head.subarray(0, BOUND_BYTES);
  const open = (nonce: Uint8Array, sealed: Uint8Array): Uint8Array | undefined => {
    if (sealed.length < TAG_BYTES) return undefined;
    const decipher = createDecipheriv('aes-256-gcm', key, nonce);
    decipher.setAAD(bound).setAuthTag(sealed.subarray(-TAG_BYTES));
    const plain = decipher.update(sealed.subarray(0, -TAG_BYTES));
    try {
      decipher.final();
      return plain;
    } catch {
      // Its only reason to throw is a tag that does not fit.
      return undefined;
    }
  };
  if (open(CHECK_NONCE, head.subarray(BOUND_BYTES)) === undefined)
    throw new IdlewildError(
      'usage',
      'it does not open with this passphrase: it was sealed with another one, or its head is damaged',
    );
  let chunk = 0;
  for await (const { bytes, isLast } of chunksOf(rest, CHUNK_BYTES + TAG_BYTES)) {
    const plain = open(nonceOf(chunk++, isLast), bytes);
    if (plain === undefined)
      throw new IdlewildError('data_corrupt', `its sealed chunk ${chunk} is damaged, or it is cut off there`);
    yield plain;
  }
}

/** Cuts a stream into pieces of one size and a last one, which is told as such. */
async function* chunksOf(
  stream: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<{ readonly bytes: Uint8Array; readonly isLast: boolean }> {
  let buffer = new Uint8Array(size);
  let filled = 0;
  for await (const piece of stream) {
    for (let at = 0; at < piece.length;) {
      if (filled === size) {
        yield { bytes: buffer, isLast: false };
        buffer = new Uint8Array(size);
        filled = 0;
      }
      const taken = Math.min(size - filled, piece.length - at);
      buffer.set(piece.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
    }
  }
  yield { bytes: buffer.subarray(0, filled), isLast: true };
}
