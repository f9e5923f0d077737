/**
 * What a lender chose that no hub of this version can ask for. Such a device would wait in vain, and is told so before
 * and meanwhile.
 */

/** Of a consent, as chosen or as it is read. */
interface Wanted {
  readonly kinds?: unknown;
  readonly classes?: unknown;
}

const listOf = (value: unknown): readonly unknown[] | undefined => (Array.isArray(value) ? value : undefined);

/** Why a device with this consent gets no work from any hub; `undefined` where it may get some. */
export function unaskedText({ kinds, classes }: Wanted): string | undefined {
  const asked = listOf(kinds);
  if (asked !== undefined && !asked.includes('answers')) return `nobody asks for ${asked.join(' or ')} yet`;
  return listOf(classes)?.length === 0 ? 'every text is of some class, and none may be seen here' : undefined;
}
