/** What every sealed prompt has in it, and how it is known again in bytes, whatever they carry it in. */

/** In every prompt that is sealed. */
export const MARK = 'the kipper sings at noon';
const MARKS: readonly string[] = [MARK, Buffer.from(MARK).toString('hex'), ...[0, 1, 2].map(carried)];

/** As base64 has it in the middle of something, whatever stands before it. */
function carried(before: number): string {
  const text = Buffer.concat([Buffer.alloc(before), Buffer.from(MARK)]).toString('base64url');
  return text.slice(4, -4);
}

export const isMarked = (bytes: Uint8Array): boolean => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return MARKS.some((mark) => buffer.includes(mark));
};
