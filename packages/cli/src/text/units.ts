/** Quantities for people: sizes, rates, ages, counts. Scripts get the plain numbers through --json. */

const SIZES = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Decimal units and three digits at most: `12.6 MB`. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < SIZES.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit > 0 && value < 99.95 ? value.toFixed(1) : value.toFixed(0)} ${SIZES[unit] ?? ''}`;
}

export const rateText = (tokensPerSecond: number | null | undefined): string => {
  if (tokensPerSecond === null || tokensPerSecond === undefined) return '–';
  return tokensPerSecond < 10 ? tokensPerSecond.toFixed(1) : tokensPerSecond.toFixed(0);
};

const SPANS: readonly (readonly [unit: string, seconds: number, next: number])[] = [
  ['s', 1, 90],
  ['min', 60, 90 * 60],
  ['h', 3_600, 48 * 3_600],
  ['days', 86_400, Number.POSITIVE_INFINITY],
];

export function spanText(seconds: number): string {
  const [unit, length] = SPANS.find(([, , next]) => seconds < next) ?? ['days', 86_400];
  return `${Math.round(seconds / length)} ${unit}`;
}

/** `3 min ago`, `in 24 h`, or `–` where there is no instant. */
export function whenText(instant: string | null | undefined, nowMs: number): string {
  if (instant === null || instant === undefined) return '–';
  const seconds = (Date.parse(instant) - nowMs) / 1_000;
  if (Number.isNaN(seconds)) return instant;
  if (Math.abs(seconds) < 1) return 'now';
  return seconds < 0 ? `${spanText(-seconds)} ago` : `in ${spanText(seconds)}`;
}

/** `2026-11-23 07:05`, by this machine's clock: the same for people of every country. */
export function momentText(atMs: number): string {
  const at = new Date(atMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** Without the unit; what is little is not told as nothing. */
export function wattHoursText(wattHours: number): string {
  if (wattHours > 0 && wattHours < 0.01) return '<0.01';
  return wattHours.toFixed(wattHours < 10 ? 2 : 0);
}

/** `3.1 million`, `7.6 billion`, as people say it of models. */
export function parametersText(count: number): string {
  if (count >= 999_500_000) return `${(count / 1e9).toFixed(count < 99.5e9 ? 1 : 0)} billion`;
  return count >= 999_500 ? `${(count / 1e6).toFixed(count < 99.5e6 ? 1 : 0)} million` : String(count);
}

export const countText = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

/**
 * Text from elsewhere without what could steer a terminal or turn the direction of what follows it: of the control
 * characters, line feeds and tabs stay.
 */
export const plainText = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '');

/** One line of JSON that says the same, whoever's text is in it, and steers no terminal: what could is escaped. */
export const jsonLine = (value: unknown): string =>
  JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** `plainText` of a line in which this program itself may have set something in bold, or dimmed it: that stays. */
export const plainLine = (line: string): string =>
  line
    // oxlint-disable-next-line no-control-regex
    .split(/(\u001b\[(?:1|2|22)m)/)
    .map((part, index) => (index % 2 === 0 ? plainText(part) : part))
    .join('');

/** Lines of at most so many characters, broken between words; a longer word has a line of its own. */
export function wrap(text: string, charactersMax: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length > charactersMax && line !== '') {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return line === '' ? lines : [...lines, line];
}
