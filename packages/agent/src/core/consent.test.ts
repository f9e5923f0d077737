import { expect, test } from 'vitest';
import { signStatement, type Consent } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { forbidden, lentBytes, openConsent, refusalOf, signConsent, type WorkAsked } from './consent.ts';
import { parseHours } from './lending/terms/hours.ts';

const HERE = new Uint8Array(32).fill(1);
const clock = createFakeClock(async () => undefined);
const identity = await nodeCrypto.signingKey(new Uint8Array(32).fill(3));
const LEAST = { territories: [HERE], kinds: ['answers'], presence: 'respect' } as const;

const signed = async (change: Partial<Consent> = {}): Promise<Consent> =>
  openConsent(await signConsent({ ...LEAST, ...change }, identity, clock, nodeCrypto), identity.publicKey, nodeCrypto);
const ask = (change: Partial<WorkAsked> = {}): WorkAsked => ({ kind: 'answers', territory: HERE, ...change });
const MONDAY_NOON = { weekday: 0, minute: 720 };

test('a consent says everything that was chosen, and nothing more is meant by what was not', async () => {
  const all: Partial<Consent> = {
    classes: ['public'],
    causes: ['climate'],
    refused: ['gambling'],
    hours: parseHours('mon-fri 20:00-07:00'),
    cpuShareMax: 0.6,
    memoryBytesMax: 1_000,
    diskBytesMax: 2_000,
    downloadBytesPerSecondMax: 300_000,
    uploadBytesPerSecondMax: 0,
    gpu: 'idle',
    celsiusMax: 80,
    wattHoursPerDayMax: 100,
    tokensPerSecondMax: 5,
  };
  expect(await signed(all)).toEqual({ v: 2, device: identity.publicKey, issuedAtMs: clock.now(), ...LEAST, ...all });
  expect(await signed()).toEqual({
    v: 2,
    device: identity.publicKey,
    issuedAtMs: clock.now(),
    ...LEAST,
    classes: ['public', 'internal'],
    causes: [],
    refused: [],
    gpu: 'never',
  });
});

test('a consent of version 1 is one of version 2 that widens nothing', async () => {
  const old = { v: 1, device: identity.publicKey, ...LEAST, diskBytesMax: 7, issuedAtMs: 1 };
  const carried = await signStatement('consent', old, identity, nodeCrypto);
  const consent = await openConsent(carried, identity.publicKey, nodeCrypto);
  const same = { territories: [HERE], kinds: ['answers'], presence: 'respect', diskBytesMax: 7, issuedAtMs: 1 };
  expect(consent).toMatchObject({ v: 1, ...same, classes: ['public', 'internal'], causes: [], refused: [] });
  expect(consent).toMatchObject({ gpu: 'never' });
  expect(consent.hours).toBeUndefined();
  expect(refusalOf(consent, ask({ text: {} }))).toBeUndefined();
  expect(refusalOf(consent, ask({ text: { dataClass: 'confidential' } }))?.code).toBe('consent_refused');
});

test('a field of version 2 in a statement of version 1 says nothing', async () => {
  const old = { v: 1, device: identity.publicKey, ...LEAST, issuedAtMs: 1, classes: ['confidential'], gpu: 'always' };
  const carried = await signStatement('consent', old, identity, nodeCrypto);
  const consent = await openConsent(carried, identity.publicKey, nodeCrypto);
  expect(consent).toMatchObject({ classes: ['public', 'internal'], gpu: 'never' });
});

test.each<[string, Record<string, unknown>]>([
  ['a version that there is not', { v: 3 }],
  ['a class that there is not', { classes: ['secret'] }],
  ['a cause that is no slug', { causes: ['World Peace'] }],
  ['six days', { hours: [[], [], [], [], [], []] }],
  ['a window that ends before it begins', { hours: [[{ from: 5, until: 4 }], [], [], [], [], [], []] }],
  ['more processors than there are', { cpuShareMax: 1.5 }],
  ['a download too slow for any model', { downloadBytesPerSecondMax: 10 }],
])('a consent with %s is refused', async (_, change) => {
  const fields = { ...LEAST, v: 2, device: identity.publicKey, classes: [], causes: [], refused: [], gpu: 'never' };
  const carried = await signStatement('consent', { ...fields, issuedAtMs: 1, ...change }, identity, nodeCrypto);
  await expect(openConsent(carried, identity.publicKey, nodeCrypto)).rejects.toMatchObject({ code: 'frame_invalid' });
});

test.each<[string, Partial<Consent>, Partial<WorkAsked>, RegExp]>([
  ['another territory', {}, { territory: new Uint8Array(32) }, /this territory/],
  ['another kind', {}, { kind: 'jobs' }, /does not consent to jobs; it lends for answers/],
  ['a class that was not chosen', {}, { text: { dataClass: 'confidential' } }, /confidential data/],
  ['text of no class, which is internal', { classes: ['public'] }, { text: {} }, /internal data.*may see public$/],
  [
    'a cause that is refused',
    { refused: ['gambling'] },
    { text: { cause: 'gambling' } },
    /refuses work for "gambling"/,
  ],
  ['a cause that is not chosen', { causes: ['a', 'b'] }, { text: { cause: 'c' } }, /for a, b alone.*for "c"/],
  ['no cause where some are chosen', { causes: ['a'] }, { text: {} }, /no cause was said/],
  ['a cause both chosen and refused', { causes: ['a'], refused: ['a'] }, { text: { cause: 'a' } }, /refuses/],
  ['a model larger than the disk', { diskBytesMax: 9 }, { diskBytes: 10 }, /lends 9 bytes of disk/],
  ['any model where no disk is lent', { diskBytesMax: 0 }, { diskBytes: 1 }, /lends 0 bytes/],
  ['giving where nothing is given', { uploadBytesPerSecondMax: 0 }, { gives: true }, /gives nothing/],
])('%s is refused whatever the hour, and allowed to who consents to it', async (_, change, asked, words) => {
  const refused = refusalOf(await signed(change), ask(asked));
  expect(refused).toMatchObject({ code: 'consent_refused', message: expect.stringMatching(words) as string });
  expect(forbidden(await signed(change), ask(asked))).toEqual(refused);
  const wide: Partial<Consent> = {
    territories: [HERE, new Uint8Array(32)],
    kinds: ['answers', 'jobs'],
    classes: ['public', 'internal', 'confidential'],
    causes: [],
    refused: [],
  };
  expect(refusalOf(await signed(wide), ask(asked))).toBeUndefined();
});

test('at other hours nothing runs, and without a clock no hour counts; what may lie here stays', async () => {
  const nights = await signed({ hours: parseHours('mon-fri 20:00-07:00') });
  const now = (local: WorkAsked['local']) => refusalOf(nights, ask({ local }));
  expect(now({ weekday: 0, minute: 1_200 })).toBeUndefined();
  expect(now(MONDAY_NOON)).toMatchObject({ code: 'consent_refused' });
  expect(now(MONDAY_NOON)?.message).toContain('mon-fri 20:00-07:00');
  expect(now(undefined)).toMatchObject({ code: 'consent_refused' });
  expect(forbidden(nights, ask({ local: MONDAY_NOON }))).toBeUndefined();
  expect(refusalOf(await signed(), ask())).toBeUndefined();
});

test('a store that takes more than is lent is not used', async () => {
  const consent = await signed({ diskBytesMax: 100 });
  expect(lentBytes(consent, { quotaBytes: 100 })).toBe(100);
  expect(() => lentBytes(consent, { quotaBytes: 101 })).toThrow('the lender lends 100');
  expect(lentBytes(await signed(), { quotaBytes: 101 })).toBe(101);
});
