/** Prompts that are sealed: right answers, nothing in the open, and a hub that lies gets none of it believed. */
import type { Hub } from '@idlewild/hub';
import { encodeFrame, type ToDevice } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import type { Timed } from './events.ts';
import { complaints } from './hold.ts';
import { CALM, CALM_REPLICAS, type Rates } from './rates.ts';
import { simulate, type Report } from './run.ts';
import { MARK } from './callers/mark.ts';
import type { SealedLies } from './callers/sealed-lies.ts';
import type { Breakage, World } from './world.ts';

const SIZE = { devices: 8, virtualMinutes: 0.2, sealed: 60 } as const;
const RATES = { requests: 20, floods: 0, diskFaults: 0.5 };
type Ended = Extract<Timed, { e: 'sealedEnd' }>;

async function run(options: Partial<Parameters<typeof simulate>[0]>): Promise<Report & { readonly ends: Ended[] }> {
  const ends: Ended[] = [];
  const onEvent = (event: Timed): void => void (event.e === 'sealedEnd' && ends.push(event));
  return { ...(await simulate({ seed: 1, ...SIZE, onEvent, ...options })), ends };
}

test.each([1])('seed %i holds', async (seed) => {
  expect(complaints(await run({ seed, rates: RATES }))).toBe('');
});

test.each([4])('seed %i holds on several replicas', async (seed) => {
  expect(complaints(await run({ seed, replicas: 3, rates: RATES }))).toBe('');
});

test('devices that die in the middle change no token: their callers seal the rest to others', async () => {
  const rates = { ...CALM, ...CALM_REPLICAS, requests: 0, deviceDeaths: 150 };
  const report = await run({ seed: 6, devices: 16, rates });
  expect(complaints(report)).toBe('');
  const finished = report.ends.filter(({ how }) => how === 'finished');
  expect(finished.filter(({ devices = [] }) => devices.length > 1).length).toBeGreaterThan(2);
  expect(finished.length).toBeGreaterThan(report.ends.length / 2);
});

async function broken(breakage: Breakage, rates: Partial<Rates> = {}): Promise<Report & { readonly ends: Ended[] }> {
  return run({ seed: 11, rates: { ...CALM, ...CALM_REPLICAS, requests: 0, ...rates }, breakage });
}
const isSealed = ({ t }: Record<string, unknown>): boolean => t === 'part' || t === 'done';

test.each<[string, string, () => SealedLies]>([
  [
    'gives the key of another device',
    'device_unvouched',
    () => {
      const keys = new Map<unknown, unknown>();
      return {
        offer(offer) {
          const { id } = offer.device as { id: string };
          keys.set(id, offer.agreement_key);
          const [, other] = [...keys].find(([device]) => device !== id) ?? [];
          return other === undefined ? offer : { ...offer, agreement_key: other };
        },
      };
    },
  ],
  ['leaves out who vouches', 'device_unvouched', () => ({ offer: (offer) => ({ ...offer, vouch: [] }) })],
  ['tells an event twice', 'sealed_broken', () => ({ event: (event) => (isSealed(event) ? [event, event] : [event]) })],
  ['leaves one out', 'sealed_broken', () => ({ event: (event, nth) => (nth % 4 === 3 ? [] : [event]) })],
  [
    'moves one',
    'sealed_broken',
    () => {
      let held: Record<string, unknown> | undefined;
      return {
        event(event) {
          if (held === undefined && event.t === 'part') {
            held = event;
            return [];
          }
          const both = held === undefined ? [event] : [event, held];
          held = undefined;
          return both;
        },
      };
    },
  ],
  [
    'ends it too early',
    'sealed_broken',
    () => ({ event: (event) => [event.n === 5 ? { ...event, t: 'done' } : event] }),
  ],
])('a hub that %s gets nothing believed', async (_, code, lies) => {
  const { violations, ends } = await broken({ sealed: lies() });
  expect(violations).toEqual([]);
  expect(ends.map(({ how }) => how)).toContain(code);
});

const names = ({ violations }: Report): string[] => violations.map(({ invariant }) => invariant);

test('a world in which nothing is broken is blamed for nothing, and everybody is answered', async () => {
  const report = await broken({});
  expect(names(report)).toEqual([]);
  expect(report.ends.length).toBeGreaterThan(5);
  expect(new Set(report.ends.map(({ how }) => how))).toEqual(new Set(['finished', 'hungUp']));
});

test('a client that takes another token, or calls exact what is not, is noticed', async () => {
  const other: SealedLies = {
    taken: (event) => (event.t === 'token' && event.i === 2 ? { ...event, id: event.id + 1 } : event),
  };
  expect(names(await broken({ sealed: other }))).toContain('sealed');
  const exact: SealedLies = { taken: (event) => (event.t === 'finished' ? { ...event, exact: true } : event) };
  const report = await run({
    seed: 5,
    devices: 16,
    rates: { ...RATES, deviceDeaths: 150 },
    breakage: { sealed: exact },
  });
  expect(names(report)).toContain('sealed');
});

test.each<[string, (hub: Hub) => unknown]>([
  ['in the database', ({ db, id }) => db.insertInto('people').values({ id, name: MARK, created_at_ms: 1 }).execute()],
  [
    'on the way to a device',
    ({ local }) => {
      const frame = encodeFrame({ t: 'dropped', code: 'internal', message: MARK } satisfies ToDevice);
      for (const { channel } of local.list()) channel.send(frame);
    },
  ],
])('a prompt in the open %s is noticed', async (_, leak) => {
  const meanwhile = ({ agenda, clock, process }: World): void =>
    agenda.at(clock.monotonic() + 1_000, async () => {
      const { hub } = process() ?? {};
      if (hub !== undefined) await leak(hub);
    });
  expect(names(await broken({ meanwhile }))).toContain('sealed');
});

test('answers that go on without their callers are noticed', async () => {
  const onHub = async ({ sealed }: Hub): Promise<void> =>
    void Object.assign(sealed, { counts: () => ({ open: 1, waiting: 0 }) });
  expect(names(await broken({ onHub }))).toContain('sealed');
});
