/**
 * Claims about every figure of a consent, walked over the schema, so that a new one is held as well: a change beyond
 * its bound is refused with the bound, whoever makes it, and a change up to its bound can be signed and opened again.
 */
import { CONSENT_FIELDS, consentSchema } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { openConsent, signConsent, type ConsentChoice } from '../../consent.ts';
import { changed, checkChange, consentChangeSchema, type ConsentChange } from './consent-change.ts';
import { parseControl } from '../control/control.ts';
import { IDLENESS_LIMITS } from '../limits.ts';

const identity = await nodeCrypto.signingKey(new Uint8Array(32).fill(1));
const CHOICE: ConsentChoice = { territories: [new Uint8Array(32)], kinds: ['answers'], presence: 'respect' };
const sign = (choice: ConsentChoice): Promise<Uint8Array> => signConsent(choice, identity, systemClock, nodeCrypto);

/** Its bounds, and the nearest figures on both sides of each. */
interface Bound {
  readonly at: number;
  readonly good: number;
  readonly bad: number;
}
function boundsOf(schema: z.ZodType): readonly Bound[] {
  const { type, anyOf, ...plain } = z.toJSONSchema(schema) as Record<string, unknown>;
  const { minimum, exclusiveMinimum, maximum } = { ...plain, ...(anyOf as object[] | undefined)?.[0] } as {
    readonly [Name in 'minimum' | 'exclusiveMinimum' | 'maximum']?: number;
  };
  const step = type === 'integer' ? 1 : 1e-6;
  return [
    ...(minimum === undefined ? [] : [{ at: minimum, good: minimum, bad: minimum - 1 }]),
    ...(exclusiveMinimum === undefined ? [] : [{ at: exclusiveMinimum, good: exclusiveMinimum + step, bad: 0 }]),
    ...(maximum === undefined ? [] : [{ at: maximum, good: maximum, bad: maximum * 2 }]),
  ];
}

const isFigure = (schema: z.ZodType): boolean => [0.5, 1, 100_000].some((value) => schema.safeParse(value).success);
const FIGURES = Object.entries(CONSENT_FIELDS).flatMap(([field, schema]) =>
  isFigure(schema) && field in consentChangeSchema.shape ? [[field as keyof ConsentChange, schema] as const] : [],
);

test('the figures of a consent are found, the least of downloads among them', () => {
  expect(FIGURES.map(([field]) => field)).toContain('downloadBytesPerSecondMax');
  expect(FIGURES.length).toBeGreaterThanOrEqual(8);
  for (const [field, schema] of FIGURES) expect(boundsOf(schema), field).not.toEqual([]);
});

test('what cannot be signed is refused with the field and its bound, before it is signed', async () => {
  for (const [field, schema] of FIGURES) {
    for (const { at, good, bad } of boundsOf(schema)) {
      const wrong = { ...CHOICE, [field]: bad };
      await expect(sign(wrong)).rejects.toMatchObject({
        code: 'invalid_request',
        message: expect.stringMatching(new RegExp(`${field}, which has to be (at least|more than|at most) ${at}$`)),
      });
      const { [field]: opened } = await openConsent(
        await sign({ ...CHOICE, [field]: good }),
        identity.publicKey,
        nodeCrypto,
      );
      expect(opened).toBe(good);
    }
  }
});

describe.each(Object.entries(consentChangeSchema.shape).filter(([, schema]) => isFigure(schema)))(
  'a change of %s',
  (field, schema) => {
    const bounds = boundsOf(schema);
    const change = (value: number): ConsentChange => ({ [field]: value });

    test.each(bounds)('is refused at $bad and names $at, from a command line and from a socket', ({ at, bad }) => {
      const told = expect.objectContaining({
        code: 'invalid_request',
        message: expect.stringMatching(new RegExp(`${field}, which has to be (at least|more than|at most) ${at}$`)),
      }) as Error;
      expect(() => checkChange(change(bad))).toThrow(told);
      const line = JSON.stringify({ id: 1, do: 'limits', change: change(bad) });
      expect(() => parseControl(line)).toThrow(told);
    });

    test.each(bounds)('up to $at is signed and opened again', async ({ good }) => {
      checkChange(change(good));
      const before = await openConsent(await sign(CHOICE), identity.publicKey, nodeCrypto);
      const after = await openConsent(await sign(changed(before, change(good))), identity.publicKey, nodeCrypto);
      expect(after).toMatchObject(change(good));
    });
  },
);

test('a temperature that no machine is below, or in Fahrenheit, is a slip; a consent of before stays good', () => {
  const { celsiusMin, celsiusMax } = IDLENESS_LIMITS;
  expect(() => checkChange({ celsiusMax: 20 })).toThrow(`celsiusMax, which has to be at least ${celsiusMin}`);
  expect(() => checkChange({ celsiusMax: 185 })).toThrow(`celsiusMax, which has to be at most ${celsiusMax}`);
  const old = { v: 2, device: identity.publicKey, ...CHOICE, classes: [], causes: [], refused: [], gpu: 'never' };
  expect(consentSchema.safeParse({ ...old, issuedAtMs: 1, celsiusMax: 20 }).success).toBe(true);
});

test('hours that end before they begin are told as such', () => {
  const hours = Array.from({ length: 7 }, () => [{ from: 600, until: 60 }]);
  expect(() => checkChange({ hours })).toThrow('hours.0.0: must end after it begins');
});
