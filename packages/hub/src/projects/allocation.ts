/**
 * One allocation: what it is, what state it is in at a time, and which amounts, times and notes it may have. Pure; who
 * may do what with one is asked elsewhere, and what is done is `allocations.ts`'s.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { AllocationAct, Allocations as AllocationColumns, AllocationState } from '../db/schema/projects.ts';
import { PROJECT_LIMITS } from './limits.ts';

export interface Amounts {
  readonly tokens: number;
  /** Milliseconds of devices; `undefined`: not bounded. */
  readonly deviceMs: number | undefined;
  /** Of storage; nothing uses it so far. */
  readonly bytes: number;
}

export interface Allocation {
  readonly id: string;
  readonly project: string;
  /** `granted` also before its time has come. */
  readonly state: AllocationState;
  readonly asked: Amounts;
  readonly why: string;
  /** What there is to be spent; nothing until it is granted. */
  readonly granted: Amounts;
  readonly fromMs: number;
  readonly toMs: number;
  readonly spentTokens: number;
  readonly spentDeviceMs: number;
  /** By requests that are being answered. */
  readonly heldTokens: number;
  readonly createdAtMs: number;
  readonly createdBy: string;
}

export interface AllocationEvent extends Amounts {
  readonly act: AllocationAct;
  readonly atMs: number;
  readonly actor: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly note: string;
}

const HOUR_MS = 3_600_000;

/** All that was granted, as the audit log has it; devices' time is absent where it is not bounded. */
export const grantedOf = (row: AllocationColumns): { tokens: number; deviceHours?: number; bytes: number } => ({
  tokens: row.granted_tokens,
  ...(row.granted_device_ms === null ? {} : { deviceHours: row.granted_device_ms / HOUR_MS }),
  bytes: row.granted_bytes,
});

export const stateOf = (row: Pick<AllocationColumns, 'state' | 'to_ms'>, nowMs: number): AllocationState =>
  row.state === 'granted' && row.to_ms <= nowMs ? 'ended' : row.state;

export const allocationOf = (row: AllocationColumns, nowMs: number): Allocation => ({
  id: row.id,
  project: row.project_id,
  state: stateOf(row, nowMs),
  asked: {
    tokens: row.asked_tokens,
    deviceMs: row.asked_device_ms === 0 ? undefined : row.asked_device_ms,
    bytes: row.asked_bytes,
  },
  why: row.why,
  granted: { tokens: row.granted_tokens, deviceMs: row.granted_device_ms ?? undefined, bytes: row.granted_bytes },
  fromMs: row.from_ms,
  toMs: row.to_ms,
  spentTokens: row.spent_tokens,
  spentDeviceMs: row.spent_device_ms,
  heldTokens: row.held_tokens,
  createdAtMs: row.created_at_ms,
  createdBy: row.created_by,
});

export const unknownAllocation = (id: string): IdlewildError =>
  new IdlewildError('not_found', `there is no allocation ${id} in this territory`);
export const isOver = (row: AllocationColumns, nowMs: number): IdlewildError =>
  new IdlewildError('conflict', `the allocation ${row.id} is ${stateOf(row, nowMs)}; ask for another one`);
const invalid = (param: string, why: string): IdlewildError =>
  new IdlewildError('invalid_request', `"${param}" ${why}`, { details: { param } });

export function checkAmounts({ tokens, deviceMs = 0, bytes }: Amounts): void {
  const { tokensMax, deviceMsMax, bytesMax } = PROJECT_LIMITS;
  const fits = (amount: number, most: number): boolean => Number.isSafeInteger(amount) && amount >= 0 && amount <= most;
  if (!fits(tokens, tokensMax)) throw invalid('tokens', `must be a whole number, at most ${tokensMax}`);
  if (!fits(deviceMs, deviceMsMax)) throw invalid('deviceHours', 'must be positive, at most 277 million');
  if (!fits(bytes, bytesMax)) throw invalid('bytes', `must be a whole number, at most ${bytesMax}`);
  if (tokens === 0 && bytes === 0) throw invalid('tokens', 'must be there: an allocation of nothing pays for nothing');
}

export function checkTimes(fromMs: number, toMs: number, nowMs: number): void {
  if (!(toMs > fromMs) || toMs <= nowMs) throw invalid('to', 'must be after "from", and not in the past');
  if (toMs - fromMs > PROJECT_LIMITS.allocationMsMax) throw invalid('to', 'must be within ten years after "from"');
}

export function checkNote(note: string): void {
  const most = PROJECT_LIMITS.noteCharactersMax;
  if (note.length > most) throw invalid('note', `must have at most ${most} characters`);
}
