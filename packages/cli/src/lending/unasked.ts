/**
 * What a lender chose that no hub of this version can ask for: orders say neither a class, which makes their texts
 * internal, nor a cause (`kindsOf` of the hub). Such a device would wait in vain, and is told so before and meanwhile.
 */

/** Of a consent, as chosen or as it is read. */
interface Wanted {
  readonly kinds?: unknown;
  readonly classes?: unknown;
  readonly causes?: unknown;
}

const listOf = (value: unknown): readonly unknown[] | undefined => (Array.isArray(value) ? value : undefined);

/** Why a device with this consent gets no work from any hub yet; `undefined` where it may get some. */
export function unaskedText({ kinds, classes, causes }: Wanted): string | undefined {
  const asked = listOf(kinds);
  if (asked !== undefined && !asked.includes('answers')) return `nobody asks for ${asked.join(' or ')} yet`;
  if ((listOf(causes)?.length ?? 0) > 0)
    return 'no hub says yet what work is for, so nothing comes for some causes alone';
  const seen = listOf(classes);
  if (seen === undefined || seen.includes('internal')) return undefined;
  return `every text counts as internal yet, so nothing comes for ${seen.join(' or ')} ones alone`;
}
