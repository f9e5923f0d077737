/**
 * What a piece of work is for, as far as its devices are told: how far its text may go, and to whose good it is done.
 * Lenders choose by both. It is what a hub says; nobody on a device can look whether a prompt is what it is called.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';

/**
 * - `public`: anybody might read it.
 * - `internal`: for the community's own eyes; what nothing is said of counts as this.
 * - `confidential`: only for devices whose lenders agreed to see such things.
 */
export const DATA_CLASSES = ['public', 'internal', 'confidential'] as const;
export type DataClass = (typeof DATA_CLASSES)[number];

/**
 * How far a territory trusts a device: `vetted` by a steward, of a `member`, or of anybody (`public`). For its lender's
 * own requests every device counts as `own`.
 */
export const DEVICE_TIERS = ['vetted', 'member', 'public'] as const;
export type DeviceTier = (typeof DEVICE_TIERS)[number];

/** A slug such as `climate` or `protein-folding`. */
export const causeSchema = z
  .string()
  .max(LIMITS.causeCharactersMax)
  .regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/, 'must be words of a to z and 0 to 9, joined by hyphens');

/** Fields of every order that hands text of a caller to a device. */
export const purposeFields = {
  /** Absent: `internal`. */
  dataClass: z.enum(DATA_CLASSES).optional(),
  /** Absent: none was said. */
  cause: causeSchema.optional(),
};
