/** Names and labels from outside, as one plain line: nothing in them breaks a line, hides or turns around text. */

// Controls, line separators, and what is invisible or changes the direction of writing.
// oxlint-disable-next-line no-control-regex
const UNFIT = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export function plainName(text: string, charactersMax: number): string {
  const line = text.normalize('NFC').replace(UNFIT, ' ').replace(/\s+/g, ' ').trim();
  return [...line].slice(0, charactersMax).join('').trim();
}
