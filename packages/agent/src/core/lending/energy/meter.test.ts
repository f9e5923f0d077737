/** What a meter makes of scripted readings: whose energy it is, how it is known, and when it looks at all. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import type { Drawn, Energy, PowerReader } from './energy.ts';
import { createEnergyMeter, type EnergyMeter, type MeterDeps } from './meter.ts';

const HOUR_MS = 3_600_000;
/** 8 processors, 40 W between idle and full: 5 Wh for an hour of one. */
const MACHINE = { curve: { idleWatts: 10, fullWatts: 50 }, cores: 8 };

interface Script {
  reads: 'all' | 'nothing' | 'hangs' | 'throws';
  hung: (() => void) | undefined;
}

interface Bench {
  readonly script: Script;
  readonly clock: FakeClock;
  readonly meter: EnergyMeter;
  readonly used: Energy[];
  /** Readings that were asked for. */
  takes(): number;
  /** Time passes; the machine draws so much, and so much processor time is used, of it by us. */
  pass(ms: number, watts: number, busyMs: number, ownMs: number): Promise<void>;
}

function benchWith(change: Partial<MeterDeps> = {}): Bench {
  const clock = createFakeClock(() => nextTurn());
  const used: Energy[] = [];
  let drawn: Drawn | undefined;
  let takes = 0;
  const script: Script = { reads: 'all', hung: undefined };
  const reader: PowerReader = {
    name: 'scripted',
    text: 'measured: by a script',
    take: () => {
      takes++;
      const { promise, resolve, reject } = Promise.withResolvers<Drawn | undefined>();
      const now = drawn;
      drawn = { ms: 0, joules: 0, busyMs: 0, ownMs: 0 };
      if (script.reads === 'hangs') script.hung = () => resolve(undefined);
      else if (script.reads === 'throws') reject(new Error('EIO'));
      else resolve(script.reads === 'all' ? now : undefined);
      return promise;
    },
  };
  return {
    script,
    clock,
    used,
    takes: () => takes,
    meter: createEnergyMeter({ clock, reader, ...MACHINE, onUsed: (energy) => used.push(energy), ...change }),
    async pass(ms, watts, busyMs, ownMs) {
      if (drawn !== undefined) {
        drawn = {
          ms: drawn.ms + ms,
          joules: drawn.joules + (watts * ms) / 1_000,
          busyMs: drawn.busyMs + busyMs,
          ownMs: drawn.ownMs + ownMs,
        };
      }
      await clock.advance(ms);
    },
  };
}

/** Joules, to tenths: what is computed here are hundredths of watt-hours. */
const joulesOf = ({ wattHours, how }: Energy): [joules: number, how: string] => [
  Math.round(wattHours * 36_000) / 10,
  how,
];
const sum = (used: readonly Energy[], how: Energy['how']): number =>
  joulesOf({
    wattHours: used.filter((energy) => energy.how === how).reduce((all, { wattHours }) => all + wattHours, 0),
    how,
  })[0];

test('without a reader all is modelled, by what engines tell and what we use ourselves', async () => {
  let ownCpuMs = 500;
  const { meter, used } = benchWith({ reader: undefined, ownCpuMs: () => ownCpuMs });
  const work = meter.begin();
  meter.used(HOUR_MS);
  ownCpuMs += HOUR_MS / 10;
  expect(await work.end(HOUR_MS / 2)).toEqual({ wattHours: 2.5, how: 'modelled' });
  expect(sum(used, 'modelled')).toBe(5.5 * 3_600);
  expect(sum(used, 'measured')).toBe(0);
  expect(meter.text).toBe('modelled: 10 W idle, 50 W with all processors busy');
});

test('where the system counts, an engine that says nothing is counted, and one that says too much is not', async () => {
  let systemMs = 1_000;
  const { meter, used } = benchWith({ reader: undefined, ownCpuMs: () => 0, systemCpuMs: () => systemMs });
  const work = meter.begin();
  systemMs += HOUR_MS;
  meter.used(0);
  expect(sum(used, 'modelled')).toBe(5 * 3_600);
  meter.used(9 * HOUR_MS);
  expect(sum(used, 'modelled')).toBe(5 * 3_600);
  expect(joulesOf(await work.end(9 * HOUR_MS))).toEqual([5 * 3_600, 'modelled']);
  // A process went and was buried by nobody: nothing is taken back, and what comes is counted.
  systemMs -= HOUR_MS / 2;
  meter.used(0);
  systemMs += HOUR_MS;
  meter.used(0);
  expect(sum(used, 'modelled')).toBe(10 * 3_600);
});

test('a piece of work gets its processor time at the rate that was measured while it ran', async () => {
  const { meter, pass, used } = benchWith();
  await pass(1_000, 10, 0, 0);
  await pass(20_000, 10, 0, 0);
  const one = meter.begin();
  const other = meter.begin();
  await pass(10_000, 46, 16_000, 12_000);
  // 360 J beyond the rest, three quarters of them ours: 270 J, of which 2 in 12 are this one's.
  expect(joulesOf(await one.end(2_000))).toEqual([45, 'measured']);
  await pass(10_000, 46, 16_000, 12_000);
  expect(joulesOf(await other.end(4_000))).toEqual([90, 'measured']);
  expect(sum(used, 'measured')).toBe(540);
  expect(sum(used, 'modelled')).toBe(0);
});

test('what engines tell of a measured time is not counted again', async () => {
  const { meter, pass, used } = benchWith();
  await pass(20_000, 10, 0, 0);
  meter.begin();
  await pass(5_000, 50, 8_000, 8_000);
  meter.used(8_000);
  await pass(1, 10, 0, 0);
  expect(sum(used, 'measured')).toBe(200);
  expect(sum(used, 'modelled')).toBe(0);
});

test('before a first rest was seen all is modelled, and rests of an earlier start are believed', async () => {
  const unknown = benchWith();
  await unknown.pass(1_000, 10, 0, 0);
  const early = unknown.meter.begin();
  await unknown.pass(5_000, 50, 8_000, 8_000);
  unknown.meter.used(8_000);
  expect((await early.end(8_000)).how).toBe('modelled');
  expect(unknown.meter.rests()).toBeUndefined();

  const known = benchWith({ rests: { reader: 'scripted', watts: [12] } });
  await known.pass(1_000, 10, 0, 0);
  const work = known.meter.begin();
  await known.pass(5_000, 52, 8_000, 8_000);
  expect(joulesOf(await work.end(8_000))).toEqual([200, 'measured']);

  const ofAnother = benchWith({ rests: { reader: 'battery', watts: [12] } });
  await ofAnother.pass(1_000, 10, 0, 0);
  const other = ofAnother.meter.begin();
  await ofAnother.pass(5_000, 52, 8_000, 8_000);
  expect((await other.end(8_000)).how).toBe('modelled');
});

test("the calmest of the last rests counts: another program's work is not taken for idling", async () => {
  const { meter, pass } = benchWith();
  await pass(1, 10, 0, 0);
  for (const watts of [30, 11, 25]) {
    await pass(15_000, watts, 0, 0);
    meter.used(1);
    await pass(1, watts, 0, 0);
  }
  expect(meter.rests()?.watts.map(Math.round)).toEqual([30, 11, 25]);
  const work = meter.begin();
  await pass(10_000, 31, 4_000, 4_000);
  const [joules] = joulesOf(await work.end(4_000));
  expect(Math.round(joules)).toBe(200);
  for (let rest = 0; rest < 20; rest++) {
    await pass(15_000, 20, 0, 0);
    meter.used(1);
    await pass(1, 20, 0, 0);
  }
  expect(meter.rests()?.watts.map(Math.round)).toEqual([20, 20, 20, 20, 20, 20, 20, 20]);
});

test('it looks once after work and then no more, however long nothing happens', async () => {
  const { meter, pass, takes } = benchWith();
  meter.begin();
  await pass(5_000, 50, 8_000, 8_000);
  meter.used(8_000);
  await pass(100, 10, 0, 0);
  const before = takes();
  for (let hour = 0; hour < 24; hour++) await pass(HOUR_MS, 10, 0, 0);
  expect(takes() - before).toBe(1);
});

test('a reading that is missing makes what lies in it modelled, and the next one measures again', async () => {
  const { meter, pass, used, script } = benchWith({ rests: { reader: 'scripted', watts: [10] } });
  await pass(1_000, 10, 0, 0);
  for (const reads of ['nothing', 'throws'] as const) {
    script.reads = reads;
    const work = meter.begin();
    await pass(10_000, 50, HOUR_MS, HOUR_MS);
    meter.used(HOUR_MS);
    expect(await work.end(HOUR_MS)).toEqual({ wattHours: 5, how: 'modelled' });
  }
  expect(sum(used, 'modelled')).toBe(10 * 3_600);
  script.reads = 'all';
  await pass(1_000, 10, 0, 0);
  meter.used(0);
  const work = meter.begin();
  await pass(10_000, 50, 8_000, 8_000);
  expect((await work.end(8_000)).how).toBe('measured');
});

test('a reader that hangs holds up no receipt, and is not asked again before it has ended', async () => {
  const { meter, pass, takes, clock, script } = benchWith({ rests: { reader: 'scripted', watts: [10] } });
  await pass(1_000, 10, 0, 0);
  script.reads = 'hangs';
  const work = meter.begin();
  await pass(10_000, 50, 8_000, 8_000);
  const before = takes();
  const ended = work.end(HOUR_MS);
  await clock.advance(300);
  expect(await ended).toEqual({ wattHours: 5, how: 'modelled' });
  expect(takes()).toBe(before);
  script.hung?.();
  script.reads = 'all';
  await clock.advance(1_000);
  meter.used(1);
  await clock.advance(1);
  expect(takes()).toBe(before + 1);
});

test('pieces that are over within one look get the rate of the one before', async () => {
  const { meter, pass } = benchWith({ rests: { reader: 'scripted', watts: [10] } });
  await pass(1_000, 10, 0, 0);
  meter.begin();
  await pass(10_000, 50, 8_000, 8_000);
  meter.used(8_000);
  await pass(1, 50, 0, 0);
  const quick = meter.begin();
  expect(joulesOf(await quick.end(80))).toEqual([4, 'measured']);
});

test('a stop counts what was told and looks no more', async () => {
  const { meter, used, takes, clock } = benchWith();
  await clock.advance(1_000);
  const before = takes();
  meter.used(0);
  meter.stop();
  await clock.advance(HOUR_MS);
  expect(takes()).toBeLessThanOrEqual(before + 1);
  const modelled = benchWith({ reader: undefined });
  modelled.meter.used(HOUR_MS);
  modelled.meter.stop();
  modelled.meter.used(HOUR_MS);
  expect(sum(modelled.used, 'modelled')).toBe(5 * 3_600);
  expect(used).toEqual([]);
});
