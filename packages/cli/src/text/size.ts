/** Sizes as people write them: `20GB`, `500 MB`, `0`; decimal, as disks are sold. */
const SIZES: Readonly<Record<string, number>> = { '': 1, K: 1e3, M: 1e6, G: 1e9, T: 1e12 };

/** Bytes; `undefined` for a text that is no size. */
export function parseSize(text: string): number | undefined {
  const [, count = '', unit = ''] = /^(\d+(?:\.\d+)?) *([KMGT]?)B?$/i.exec(text.trim()) ?? [];
  return count === '' ? undefined : Math.round(Number(count) * (SIZES[unit.toUpperCase()] ?? 1));
}
