import { PassThrough } from 'node:stream';
import { parseHours } from '@idlewild/agent';
import type { LenderChoice } from '@idlewild/agent/node';
import { encodeInvite, type Invite } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import type { Terminal } from './ask.ts';
import { askConsent, askPreset, consentLines, type ConsentQuestion } from './consent-screen.ts';
import { choiceOfPreset } from './lending-flags.ts';

const invite: Invite = {
  url: 'https://hub.example:7860',
  secret: new Uint8Array(16).fill(1),
  territory: new Uint8Array(32).fill(2),
};
const CHOICE = choiceOfPreset('balanced', { memoryBytes: 16_000_000_000 });
const question = (change: Partial<ConsentQuestion> = {}): ConsentQuestion => ({
  address: undefined,
  invite: encodeInvite(invite),
  name: 'kettle',
  data: '/data',
  choice: CHOICE,
  preset: 'balanced',
  ...change,
});
const told = async (change: Partial<Invite> | undefined, address?: string): Promise<string> => {
  const text = change === undefined ? undefined : encodeInvite({ ...invite, ...change });
  return (await consentLines(question({ address, invite: text }))).join('\n');
};
const toldOf = async (change: Partial<LenderChoice>): Promise<string> =>
  (await consentLines(question({ choice: { ...CHOICE, ...change } }))).join('\n').replace(/\s+/g, ' ');

test.each<[string, Partial<Invite>, RegExp]>([
  ['behind a balancer', { session: true }, /Line {3}encrypted between this machine and the hub/],
  ['whose key is pinned', { pin: new Uint8Array(32) }, /Line {3}encrypted: TLS with the hub's own key/],
  ['that an authority vouches for', {}, /Line {3}encrypted: TLS with a certificate that an authority/],
  ['on this machine', { url: 'http://127.0.0.1:7860' }, /Line {3}not encrypted: the hub is on this machine/],
])('a lender is told what protects the line to a hub %s', async (_, change, words) => {
  expect((await told(change)).match(/^Line/gm)).toHaveLength(1);
  expect(await told(change)).toMatch(words);
});

test('the address that is given counts, and where nothing is known of the line nothing is said of it', async () => {
  expect(await told({}, 'http://127.0.0.1:7860')).toContain('not encrypted');
  expect(await told(undefined, 'https://hub.example')).not.toMatch(/^Line/m);
});

test('a lender is told all that the consent will hold', async () => {
  expect(await toldOf({})).toMatch(/Like Balanced/);
  expect(await toldOf({})).toMatch(/up to 60 % of \d+ processors, 8.0 GB of memory and 20.0 GB of disk in \/data/);
  expect(await toldOf({})).toMatch(/texts that are public or internal, and not confidential/);
  expect(await toldOf({ kinds: ['answers', 'jobs'] })).toMatch(/jobs; no other work \(nobody asks for jobs yet\)/);
  expect(await toldOf({ causes: ['climate', 'health'] })).toMatch(/for these causes alone: climate, health/);
  expect(await toldOf({ classes: ['public'] })).toMatch(/texts that are public, and not internal or confidential/);
  expect(await toldOf({ classes: [] })).toMatch(/\(every text is of some class, and none may be seen here/);
  expect(await toldOf({ refused: ['gambling'] })).not.toMatch(/nothing comes/);
  expect(await toldOf({ refused: ['gambling'] })).toMatch(/never for gambling/);
  expect(await toldOf({ hours: parseHours('mon-fri 20:00-07:00') })).toMatch(/When mon-fri 20:00-07:00, while/);
  expect(await toldOf({})).toMatch(/while this command runs and nobody uses the machine/);
  expect(await toldOf({ presence: 'ignore' })).toMatch(/also while somebody uses the machine/);
  expect(await toldOf({ downloadBytesPerSecondMax: 2_000_000 })).toMatch(/2.0 MB\/s for fetching models/);
  expect(await toldOf({ uploadBytesPerSecondMax: 0 })).not.toMatch(/for giving models/);
  expect(await toldOf({ tokensPerSecondMax: 7 })).toMatch(/Speed at most 7 tokens per second/);
});

test.each([74, 50, 40])('no line is wider than a terminal with room for %i', async (width) => {
  const causes = Array.from({ length: 12 }, (_, at) => `a-rather-long-cause-${at}`);
  const choice = { ...CHOICE, causes, refused: causes };
  const lines = await consentLines(question({ choice, data: '/d', invite: undefined, address: 'http://h' }), width);
  expect(lines.filter((line) => line.length > width)).toEqual([]);
});

/** A terminal at which these keys are pressed, one after the other, each when the screen has been drawn. */
function pressing(...keys: string[]): Terminal & { shown(): string } {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => input });
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80, rows: 40 });
  let shown = '';
  output.setEncoding('utf8').on('data', (text: string) => {
    const isDrawn = shown.length === 0 || /\S/.test(text);
    shown += text;
    const key = isDrawn ? keys.shift() : undefined;
    if (key !== undefined) setImmediate(() => input.write(key));
  });
  return { input, output, shown: () => shown };
}
const [DOWN, UP, ENTER, ESCAPE] = ['\u001b[B', '\u001b[A', '\r', '\u0003'];

test.each<[string, string[], string]>([
  ['the one that is offered', [ENTER], 'balanced'],
  ['the gentlest', [UP, ENTER], 'gentle'],
  ['the next', [DOWN, ENTER], 'all-night'],
])('a lender picks %s of four presets', async (_, keys, picked) => {
  const terminal = pressing(...keys);
  expect(await askPreset(terminal)).toBe(picked);
  for (const title of ['Gentle', 'Balanced', 'All night', 'Dedicated']) expect(terminal.shown()).toContain(title);
});

test('who picks nothing lends nothing', async () => {
  await expect(askPreset(pressing(ESCAPE))).rejects.toMatchObject({ code: 'consent_refused' });
});

test('a yes has to be said: the key that comes first to hand is a no', async () => {
  const hasty = pressing('', ENTER);
  await expect(askConsent(question(), hasty)).rejects.toMatchObject({ code: 'consent_refused' });
  expect(hasty.shown()).toContain('Lend this machine');
  await expect(askConsent(question(), pressing('', 'y'))).resolves.toBeUndefined();
});
