/**
 * The attempts of a lane: those that run, and those that are over and of which the hub may not have everything.
 *
 *   running ──its end──► ended ──written down by the hub, `keptAttemptMs`, no room──► forgotten
 *      │ └──channel lost──► orphaned ──resumed──► running
 *      └──cancelled─────────────┴──nobody resumed it within `orphanedAttemptMs`──► dropped without a word
 *
 * What is kept of all together is bounded: the oldest end goes first, then the oldest tokens of what runs. It decides
 * neither what runs nor what is said.
 */
import type { Clock, ErrorCode, KeptAttempt, Timer, ToDevice, ToHub } from '@idlewild/protocol';
import type { Engine } from '@idlewild/engine';
import { AGENT_LIMITS } from '../limits.ts';
import type { Energy } from '../lending/energy/energy.ts';
import type { WorkMeter } from '../lending/energy/meter.ts';
import type { Said } from './said.ts';
import type { SealedText } from './sealed-text.ts';

export type AnswerMessage = Extract<ToDevice, { t: 'answer' }>;
export type EmbedMessage = Extract<ToDevice, { t: 'embed' }>;
export type ResumeMessage = Extract<ToDevice, { t: 'answer.resume' }>;
export type OrderMessage = AnswerMessage | EmbedMessage;

export interface WarmModel {
  readonly engine: Engine;
  readonly numericClass: string;
}

export interface Attempt {
  readonly message: OrderMessage;
  readonly model: WarmModel;
  readonly tokens: number[];
  /** Hears of it. */
  readonly tell: (event: ToHub) => void;
  /** Where the prompt was sealed: what its receipt says of its text. */
  readonly text?: SealedText | undefined;
  /** Of answers only: vectors are one event, and as easily made again. */
  readonly said: Said | undefined;
  /** It outlives its channel, and what it said is kept: somebody may come for it. */
  readonly keeps: boolean;
  /** When it began, by the wall clock and by the other. */
  readonly sinceMs: number;
  readonly startedAtMs: number;
  readonly meter?: WorkMeter | undefined;
  /** What `RunningCost` said when it began, where somebody counts. */
  readonly costFrom?: number | undefined;
  /** Once it is known. */
  energy?: Energy;
  handle?: { cancel(): void };
  /** Of its running, then of its keeping. */
  deadline?: Timer;
  /** How often a hub wanted to hear it again. */
  resumes: number;
  over: boolean;
}

interface AttemptPorts {
  readonly clock: Clock;
  send(message: ToHub): void;
  /** The number of those that run changed. */
  onChanged(): void;
  /** It is over, `whole` or not, after so many tokens. */
  onOver(attempt: Attempt, whole: boolean, tokens: number): void;
}

export interface Attempts {
  readonly ports: AttemptPorts;
  /** By lease. */
  readonly running: Map<string, Attempt>;
  /** By lease, oldest end first. */
  readonly ended: Map<string, Attempt>;
  /** Roughly what is kept of all of them. */
  readonly tally: { bytes: number };
  /** Whether the hub of the last session resumes. */
  resumes: boolean;
  /** When those that nobody hears are over. */
  orphaned: Timer | undefined;
}

export const createAttempts = (ports: AttemptPorts): Attempts => ({
  ports,
  running: new Map(),
  ended: new Map(),
  tally: { bytes: 0 },
  resumes: false,
  orphaned: undefined,
});

/** Takes an attempt out of those that run; false when that has happened already. */
export function close(
  { ports, running }: Attempts,
  attempt: Attempt,
  whole = false,
  tokens = attempt.tokens.length,
): boolean {
  if (attempt.over) return false;
  attempt.over = true;
  attempt.deadline?.cancel();
  running.delete(attempt.message.lease);
  ports.onOver(attempt, whole, tokens);
  return true;
}

/** Ends it without a word, and nothing of it is kept. */
function drop(attempts: Attempts, attempt: Attempt): void {
  if (!close(attempts, attempt)) return;
  attempt.handle?.cancel();
  attempt.said?.clear();
}

/** After its end: for a hub that has not written it down yet. */
export function keep(attempts: Attempts, attempt: Attempt): void {
  if (!attempt.keeps) return;
  attempts.ended.set(attempt.message.lease, attempt);
  attempt.deadline = attempts.ports.clock.after(AGENT_LIMITS.keptAttemptMs, () => forget(attempts, attempt));
  makeRoom(attempts);
}

/** Nothing is kept of an attempt that is over; a hub that was still hearing it is told. */
function forget(attempts: Attempts, attempt: Attempt): void {
  if (!attempts.ended.delete(attempt.message.lease)) return;
  attempt.deadline?.cancel();
  const isBehind = attempt.said?.isBehind() ?? false;
  attempt.said?.clear();
  if (!isBehind) return;
  attempts.ports.send(failed(attempt.message, 'lease_unknown', 'what was left of the answer is not kept any more'));
}

/** Called as an attempt grows or ends. What a hub is hearing just now is not taken from under it. */
export function makeRoom(attempts: Attempts, growing?: Attempt): void {
  const { ended, tally } = attempts;
  const { keptAttemptsMax, keptBytesMax } = AGENT_LIMITS;
  while (ended.size > keptAttemptsMax || tally.bytes > keptBytesMax) {
    const [oldest] = ended.values();
    if (oldest !== undefined) forget(attempts, oldest);
    else if (growing?.said?.trim() !== true) break;
  }
}

export const find = ({ running, ended }: Attempts, lease: string): Attempt | undefined =>
  running.get(lease) ?? ended.get(lease);

/** Nobody wants more of it, neither to come nor kept. */
export function discard(attempts: Attempts, attempt: Attempt): void {
  attempt.said?.clear();
  forget(attempts, attempt);
  if (attempt.over) return;
  drop(attempts, attempt);
  attempts.ports.onChanged();
}

export function discardAll(attempts: Attempts): void {
  attempts.orphaned?.cancel();
  for (const attempt of [...attempts.running.values(), ...attempts.ended.values()]) discard(attempts, attempt);
}

/** A session began. A hub that resumes has some time to ask for what earlier ones left; for another it is over. */
export function joined(attempts: Attempts, resumes: boolean): void {
  attempts.resumes = resumes;
  if (!resumes) discardAll(attempts);
  else if (attempts.running.size > 0) waitForClaims(attempts);
}

/** The session is over; another may follow. */
export function parted(attempts: Attempts): void {
  for (const attempt of [...attempts.running.values(), ...attempts.ended.values()]) {
    if (attempt.keeps) attempt.said?.mute();
    else discard(attempts, attempt);
  }
  if (attempts.running.size > 0) waitForClaims(attempts);
}

/** Answers that nobody hears run on for a while, and take their slots meanwhile. */
function waitForClaims(attempts: Attempts): void {
  attempts.orphaned?.cancel();
  attempts.orphaned = attempts.ports.clock.after(AGENT_LIMITS.orphanedAttemptMs, () => {
    for (const attempt of [...attempts.running.values()]) {
      if (attempt.said?.isHeard() === false) discard(attempts, attempt);
    }
  });
}

/** What another session could resume: those that run first, then the newest. */
export function resumable({ running, ended }: Attempts): KeptAttempt[] {
  return [...running.values(), ...[...ended.values()].toReversed()]
    .flatMap(({ message: { lease, epoch }, said, keeps }) =>
      said === undefined || !keeps ? [] : [{ lease, epoch, tokens: said.next() }],
    )
    .slice(0, AGENT_LIMITS.keptAttemptsMax);
}

/** `input`: index of the text that is at fault. */
export function failed(
  { t, lease, epoch }: OrderMessage | ResumeMessage,
  code: ErrorCode,
  said: string,
  input?: number,
): Extract<ToHub, { t: 'answer.failed' | 'embed.failed' }> {
  const message = said.slice(0, AGENT_LIMITS.failureCharactersMax);
  if (t !== 'embed') return { t: 'answer.failed', lease, epoch, code, message };
  return { t: 'embed.failed', lease, epoch, code, message, ...(input === undefined ? {} : { input }) };
}
