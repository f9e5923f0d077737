/** Claims about what a lender reads in `lending status`, in words that need no glossary. */
import type { LendingStatus } from '@idlewild/agent';
import { expect, test } from 'vitest';
import { statusLines } from './status-lines.ts';

const NOW = Date.UTC(2026, 10, 23, 12);
const CID = 'bafyreihb6sffnyzhy4n3dpkkd7zbnoaskjck24xkhf2btp7lxenxyfjpwi';
const TERRITORY = 'ter_vc7rypcd54yhiq4ayux3gd3yga';

const STATUS: LendingStatus = {
  deviceId: 'dev_fc3cynzt2wuttbr57hl6iwc3xe',
  name: 'kettle',
  hub: 'http://127.0.0.1:7860',
  territory: TERRITORY,
  state: 'ready',
  startedAtMs: NOW - 60_000,
  running: [],
  models: [{ cid: CID, name: 'jacobean', state: 'warm', fraction: 1, tokensPerSecond: 879, memoryBytes: 99_300_000 }],
  tokensPerSecond: 879,
  pauses: [],
  today: {
    day: '2026-11-23',
    work: [
      { territory: TERRITORY, answers: 1, embeddings: 0, tokens: 9, workedMs: 900, lentMs: 60_000, wattHours: 1e-4 },
    ],
    pauses: [],
  },
  limits: [],
  consent: {},
};
const told = (change: Partial<LendingStatus> = {}): string => statusLines({ ...STATUS, ...change }, NOW).join('\n');

test('a model is told by its name; its id stands behind it, and alone where the hub has not named it', () => {
  expect(told()).toMatch(/^models +jacobean \(bafy…yfjpwi\), loaded, 879 tokens\/s, 99.3 MB of memory$/m);
  const models: LendingStatus['models'] = [{ cid: CID, state: 'held', fraction: 1 }];
  expect(told({ models })).toMatch(/^models +bafy…yfjpwi, on the disk$/m);
});

test('what runs is told with its model, for whom, for what cause, what class of text, and since when', () => {
  const work = { kind: 'answer', model: CID, dataClass: 'internal', sinceMs: NOW - 3_000 } as const;
  const said = { ...work, modelName: 'jacobean', cause: 'climate' };
  expect(told({ running: [work] })).toMatch(
    /^now +answers a prompt with bafy…yfjpwi for ter_…gd3yga; cause: none said;/m,
  );
  expect(told({ running: [said], community: 'home' })).toMatch(
    /with jacobean for home; cause: climate; text: internal; for 3 s so far$/m,
  );
  expect(told({ running: [{ ...work, wattHours: 0.25 }] })).toMatch(/for 3 s so far, about 0.25 Wh$/m);
});

test('a community is told by its name, with the id that nobody else can have', () => {
  expect(told({ community: 'home' })).toMatch(/^community +home, ter_vc7rypcd54yhiq4ayux3gd3yga at http/m);
  expect(told()).toMatch(/^community +ter_vc7rypcd54yhiq4ayux3gd3yga at http/m);
});

test.each<[string, Partial<LendingStatus>, RegExp]>([
  ['nobody asks', {}, /^now +nothing: nobody asks$/m],
  ['no hub could ask', { consent: { kinds: ['training'] } }, /^now +nothing: nobody asks for training yet/m],
  ['its hub is away', { state: 'offline' }, /^now +nothing: its hub is not there; it tries again by itself$/m],
  [
    'it is paused, its hub there or not',
    { state: 'offline', pauses: [{ name: 'input', text: 'somebody used this machine 2 s ago', sinceMs: NOW }] },
    /^now +nothing: it is paused\npaused +input: somebody used this machine 2 s ago \(for 0 s\)$/m,
  ],
])('that nothing runs is told with why: %s', (_, change, words) => {
  expect(told(change)).toMatch(words);
});

test('what it cost is told with how that is known, once, and a little is not told as nothing', () => {
  const energy = {
    todayWattHours: 0.004,
    grams: 0.002,
    grid: '473 g/kWh, the mean of the world in 2024 (Ember)',
    how: 'modelled',
    source: 'modelled: 1.5 W idle, 7.0 W with all processors busy',
  } as const;
  const text = told({ energy });
  expect(text).toMatch(/^today +1 answer, 9 tokens, .*, <0.01 Wh for answers$/m);
  expect(text).toMatch(/^energy +<0.01 Wh today, [^;]*; modelled: 1.5 W idle/m);
  expect(text.match(/modelled/g)).toHaveLength(1);
  expect(text).toContain('less than 1 g of CO₂');
  const source = 'measured: counters of the processors; else modelled: 1.5 W idle, 7.0 W with all processors busy';
  expect(told({ energy: { ...energy, source } })).toContain('; modelled (measured: counters');
});

test('signals are told by the names of the docs: what each says and how it is read, then which are not', () => {
  const read = {
    inputIdleMs: 'not read: there is no screen',
    otherCpu: 'processor time (/proc/stat)',
    charge: 'the battery (/sys/class/power_supply)',
  };
  const now = { otherCpu: '2 % (pauses from 25 % on, works below 15 %)' };
  const lines = told({ signals: { headless: true, read, now, unknown: ['inputIdleMs', 'charge'] } }).split('\n');
  const from = lines.findIndex((line) => line.startsWith('signals'));
  expect(lines.slice(from, from + 4).map((line) => line.slice(11))).toEqual([
    'no screen and no input here: its load alone tells whether it is idle',
    "other programs' load: 2 % (pauses from 25 % on, works below 15 %); processor time (/proc/stat)",
    'charge: the battery (/sys/class/power_supply); it tells nothing at the moment',
    'input: not read: there is no screen',
  ]);
});

test('what will be over says when: in minutes where it is soon, by the clock where it is not', () => {
  const midnight = new Date(2026, 10, 24).getTime();
  const pause = (name: string, endsInMs?: number) => ({ name, text: 'it rests', sinceMs: NOW - 60_000, endsInMs });
  const pauses = [pause('energy', midnight - NOW), pause('input', 120_000), pause('battery')];
  const lines = told({ pauses }).split('\n');
  expect(lines.find((line) => line.includes('energy: '))).toMatch(/it rests \(for .*, goes on at 2026-11-24 00:00\)$/);
  expect(lines.filter((line) => line.includes('goes on at'))).toHaveLength(1);
});

test('a machine that is kept cool says that it gets less, and why', () => {
  const cooled = { share: 0.62, text: 'lowered to 62 % of what is lent: it is 74 °C warm' };
  expect(told({ cooled })).toMatch(/^power +lowered to 62 % of what is lent: it is 74 °C warm$/m);
  expect(told()).not.toMatch(/^power/m);
});
