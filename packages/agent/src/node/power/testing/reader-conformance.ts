/**
 * What every `PowerReader` promises, whatever it reads: joules and processor time of one and the same time, nothing
 * instead of a guess, and that it reads on when what it reads is back. For tests only.
 */
import { describe, expect, test } from 'vitest';
import type { PowerReader } from '../../../core/lending/energy/energy.ts';

/** How what is read may fail. */
export const SPOILT = ['missing', 'denied', 'empty', 'garbage', 'cut short'] as const;
export type Spoilt = (typeof SPOILT)[number];

export interface Bench {
  readonly reader: PowerReader;
  /** Time passes on a machine that draws so much; processor time in it is of all programs, and of ours. */
  pass(ms: number, drawn: { readonly watts: number; readonly busyMs: number; readonly ownMs: number }): Promise<void>;
  /** What tells the energy cannot be read from now on, or can be again. */
  spoil(how: Spoilt | undefined): void;
  /** The longest time between two calls of which anything is told. */
  readonly msMax: number;
}

export function readerConformance(name: string, open: () => Promise<Bench>): void {
  describe(`the reader "${name}"`, () => {
    test('the first call tells nothing, later ones what was since the one before', async () => {
      const { reader, pass } = await open();
      await pass(5_000, { watts: 20, busyMs: 4_000, ownMs: 3_000 });
      expect(await reader.take()).toBeUndefined();
      await pass(0.5, { watts: 20, busyMs: 0, ownMs: 0 });
      await reader.take();
      await pass(5_000, { watts: 20, busyMs: 4_000, ownMs: 3_000 });
      const drawn = await reader.take();
      expect(drawn).toMatchObject({ ms: 5_000, busyMs: 4_000, ownMs: 3_000 });
      expect(drawn?.joules).toBeCloseTo(100, 1);
    });

    test('after a time of which it cannot tell it tells nothing, and then goes on', async () => {
      const { reader, pass, msMax } = await open();
      await reader.take();
      await pass(msMax + 1_000, { watts: 20, busyMs: 0, ownMs: 0 });
      expect(await reader.take()).toBeUndefined();
      await pass(2_000, { watts: 20, busyMs: 100, ownMs: 0 });
      expect((await reader.take())?.joules).toBeCloseTo(40, 1);
    });

    test.each(SPOILT)('what is %s tells nothing, and what comes back is not taken for one leap', async (how) => {
      const { reader, pass, spoil } = await open();
      await reader.take();
      spoil(how);
      await pass(1_000, { watts: 20, busyMs: 10, ownMs: 0 });
      expect(await reader.take()).toBeUndefined();
      await pass(1_000, { watts: 20, busyMs: 10, ownMs: 0 });
      expect(await reader.take()).toBeUndefined();
      spoil(undefined);
      expect(await reader.take()).toBeUndefined();
      await pass(1_000, { watts: 30, busyMs: 10, ownMs: 0 });
      await reader.take();
      await pass(1_000, { watts: 30, busyMs: 10, ownMs: 0 });
      expect((await reader.take())?.joules).toBeCloseTo(30, 1);
    });

    test('it says in one word and in one line what it reads', async () => {
      const { reader } = await open();
      expect(reader.name).toMatch(/^[a-z-]+$/);
      expect(reader.text).toMatch(/^measured/);
    });
  });
}
