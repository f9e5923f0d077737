/**
 * Changes to what a lender agreed to: which fields may change, what comes of it, and in what it goes beyond what was
 * agreed, which needs a yes of its own. Narrowing needs none.
 */
import { CONSENT_FIELDS, IdlewildError, type Consent } from '@idlewild/protocol';
import { z } from 'zod';
import type { ConsentChoice } from '../../consent.ts';
import { AGENT_LIMITS } from '../../limits.ts';
import { faultText } from './fault-text.ts';
import { IDLENESS_LIMITS } from '../limits.ts';

const { device: _device, territories: _territories, issuedAtMs: _issuedAtMs, ...FIELDS } = CONSENT_FIELDS;
const { celsiusMin, celsiusMax } = IDLENESS_LIMITS;

/**
 * Territories are not among them: a device works for the one that it joined. `null` takes a limit away. Bounds are
 * those of what is signed; for temperature those of a line, so that a slip is told before it pauses a device for good.
 */
export const consentChangeSchema = z.strictObject({
  kinds: FIELDS.kinds.optional(),
  presence: FIELDS.presence.optional(),
  classes: FIELDS.classes.optional(),
  causes: FIELDS.causes.optional(),
  refused: FIELDS.refused.optional(),
  hours: FIELDS.hours.nullable(),
  gpu: FIELDS.gpu.optional(),
  tokensPerSecondMax: FIELDS.tokensPerSecondMax.nullable(),
  diskBytesMax: FIELDS.diskBytesMax.nullable(),
  uploadBytesPerSecondMax: FIELDS.uploadBytesPerSecondMax.nullable(),
  cpuShareMax: FIELDS.cpuShareMax.nullable(),
  memoryBytesMax: FIELDS.memoryBytesMax.nullable(),
  downloadBytesPerSecondMax: FIELDS.downloadBytesPerSecondMax.nullable(),
  celsiusMax: z.number().min(celsiusMin).max(celsiusMax).nullable().optional(),
  wattHoursPerDayMax: FIELDS.wattHoursPerDayMax.nullable(),
} satisfies Record<keyof typeof FIELDS, z.ZodType>);
export type ConsentChange = z.infer<typeof consentChangeSchema>;

/** Throws `invalid_request`, which names the field and where its bound is. */
export function checkChange(change: ConsentChange): void {
  const { error } = consentChangeSchema.safeParse(change);
  if (error !== undefined)
    throw new IdlewildError('invalid_request', `what is to be agreed to is wrong at ${faultText(error)}`);
}

/** What is to be signed: the consent with the change in it. */
export function changed(consent: Consent, change: ConsentChange): ConsentChoice {
  const choice: Record<string, unknown> = { ...consent };
  for (const signed of ['v', 'device', 'issuedAtMs']) delete choice[signed];
  for (const [field, value] of Object.entries(change)) if (value !== undefined) choice[field] = value ?? undefined;
  return choice as unknown as ConsentChoice;
}

/** Whether it says anything else than what holds. */
export function isChange(consent: Consent, change: ConsentChange): boolean {
  return Object.entries(change).some(
    ([field, value]) =>
      value !== undefined && JSON.stringify(consent[field as keyof Consent]) !== JSON.stringify(value ?? undefined),
  );
}

/** What a limit that is not named comes to; none is named of those that are not here. */
const UNNAMED: Readonly<Partial<Record<Numeric, number>>> = {
  diskBytesMax: AGENT_LIMITS.diskBytes,
  uploadBytesPerSecondMax: AGENT_LIMITS.uploadBytesPerSecond,
};
const NUMERIC = {
  tokensPerSecondMax: 'tokens per second',
  diskBytesMax: 'disk',
  uploadBytesPerSecondMax: 'upload',
  cpuShareMax: 'processors',
  memoryBytesMax: 'memory',
  downloadBytesPerSecondMax: 'download',
  celsiusMax: 'temperature',
  wattHoursPerDayMax: 'watt-hours a day',
} as const;
type Numeric = keyof typeof NUMERIC;

/** In what `after` allows more than `before`, for people; empty where it narrows or stays. */
export function widenings(before: Consent, after: ConsentChoice): string[] {
  return [
    ...added('work', before.kinds, after.kinds),
    ...added('data', before.classes, after.classes ?? before.classes),
    ...widerCauses(before, after),
    ...(before.presence === 'respect' && after.presence === 'ignore' ? ['also while somebody uses the machine'] : []),
    ...(isLonger(before.hours, after.hours) ? ['at more hours'] : []),
    ...(GPU.indexOf(after.gpu ?? 'never') > GPU.indexOf(before.gpu) ? [`the graphics processor: ${after.gpu}`] : []),
    ...(Object.keys(NUMERIC) as Numeric[])
      .filter((field) => limitOf(after, field) > limitOf(before, field))
      .map((field) => `more ${NUMERIC[field]}`),
  ];
}

const GPU = ['never', 'idle', 'always'];
const limitOf = (consent: Pick<ConsentChoice, Numeric>, field: Numeric): number =>
  consent[field] ?? UNNAMED[field] ?? Number.POSITIVE_INFINITY;

const added = (what: string, before: readonly string[], after: readonly string[]): string[] =>
  after.filter((word) => !before.includes(word)).map((word) => `${what}: ${word}`);

/** None named is any. */
function widerCauses(before: Consent, { causes = [], refused = [] }: ConsentChoice): string[] {
  const again = before.refused
    .filter((word) => !refused.includes(word))
    .map((word) => `for ${word}, refused until now`);
  if (before.causes.length === 0) return again;
  return causes.length === 0 ? ['for any cause', ...again] : [...added('for', before.causes, causes), ...again];
}

type Hours = ConsentChoice['hours'];

/** Whether there is a minute of the week that `after` has and `before` has not. */
function isLonger(before: Hours, after: Hours): boolean {
  if (before === undefined) return false;
  if (after === undefined) return before.some((day) => minutesOf(day).size < 1_440);
  return after.some((day, weekday) => {
    const had = minutesOf(before[weekday] ?? []);
    return [...minutesOf(day)].some((each) => !had.has(each));
  });
}

function minutesOf(day: readonly { readonly from: number; readonly until: number }[]): Set<number> {
  const minutes = new Set<number>();
  for (const { from, until } of day) for (let each = from; each < until; each++) minutes.add(each);
  return minutes;
}
