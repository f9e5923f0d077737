/**
 * What requests say of their texts, and who may see which: the simulator's own account of it, made without the hub.
 * A request's class and purpose follow from its number, so that whoever sees its prompt anywhere knows them.
 */
import type { DataClass, DeviceTier } from '@idlewild/protocol';
import type { Chance } from '../chance.ts';

export interface Text {
  readonly dataClass: DataClass;
  readonly cause: string | undefined;
}

/** Of what a steward says of a device, and of what its lender signed. */
export interface TrustTraits {
  /** What its invite makes of it; stewards may change it. */
  readonly tier: DeviceTier;
  readonly classes: readonly DataClass[];
  readonly causes: readonly string[];
  readonly refused: readonly string[];
}

export function textOf(request: number): Text {
  const dataClass = request % 10 === 3 ? 'confidential' : request % 5 === 1 ? 'public' : 'internal';
  const cause = request % 7 === 2 ? 'climate' : request % 11 === 4 ? 'betting' : undefined;
  return { dataClass, cause };
}

const ALL: readonly DataClass[] = ['public', 'internal', 'confidential'];

/** Of a device that may see whatever there is. */
export const TRUSTED: TrustTraits = { tier: 'vetted', classes: ALL, causes: [], refused: [] };

export function drawTrust(chance: Chance): TrustTraits {
  const tier = chance.unit();
  const classes = chance.unit();
  return {
    tier: tier < 0.4 ? 'vetted' : tier < 0.85 ? 'member' : 'public',
    classes: classes < 0.7 ? ALL : classes < 0.95 ? ['public', 'internal'] : ['public'],
    causes: chance.happens(0.08) ? ['climate'] : [],
    refused: chance.happens(0.2) ? ['betting'] : [],
  };
}

const SEEN_BY: Readonly<Record<DataClass, readonly DeviceTier[]>> = {
  public: ['vetted', 'member', 'public'],
  internal: ['vetted', 'member'],
  confidential: ['vetted'],
};

export const mayTier = (tier: DeviceTier, { dataClass }: Text): boolean => SEEN_BY[dataClass].includes(tier);

/** Whether its lender lends for the text. */
export function isLentFor({ classes, causes, refused }: TrustTraits, { dataClass, cause }: Text): boolean {
  if (!classes.includes(dataClass)) return false;
  if (cause !== undefined && refused.includes(cause)) return false;
  return causes.length === 0 || (cause !== undefined && causes.includes(cause));
}
