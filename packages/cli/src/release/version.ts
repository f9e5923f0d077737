/** Versions in order, as Semantic Versioning 2.0 (section 11) has it; what follows a `+` does not count. */

export const VERSION =
  /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?$/;

/** Below 0 where `one` comes before `other`. Both have to match `VERSION`. */
export function compareVersions(one: string, other: string): number {
  const [a, b] = [partsOf(one), partsOf(other)];
  for (const [index, number] of a.numbers.entries()) {
    const difference = number - (b.numbers[index] ?? 0);
    if (difference !== 0) return difference;
  }
  // What leads up to a release comes before it.
  if (a.before === undefined || b.before === undefined)
    return Number(a.before === undefined) - Number(b.before === undefined);
  for (const [index, word] of a.before.entries()) {
    const against = b.before[index];
    if (against === undefined) return 1;
    const difference = compareWords(word, against);
    if (difference !== 0) return difference;
  }
  return a.before.length - b.before.length;
}

function compareWords(one: string, other: string): number {
  const [a, b] = [/^\d+$/.test(one), /^\d+$/.test(other)];
  if (a && b) return Number(one) - Number(other);
  if (a !== b) return a ? -1 : 1;
  return one < other ? -1 : Number(one > other);
}

function partsOf(version: string): {
  readonly numbers: readonly number[];
  readonly before: readonly string[] | undefined;
} {
  const [, ...found] = VERSION.exec(version) ?? [];
  return { numbers: found.slice(0, 3).map(Number), before: found[3]?.split('.') };
}
