/**
 * Attempts: which answer is on which device, under which lease, and what its device is told of that.
 *
 * An attempt is written down before its device is asked. It says nothing of how an answer goes on when its attempt is
 * over (`machine.ts`), but what a failed one says of its device is remembered here.
 */
import { newId, type Clock, type ErrorCode, type Random } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Affinity } from '../scheduler/affinity.ts';
import type { Candidate } from '../scheduler/route.ts';
import { stallMsOf } from '../scheduler/stall.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { sortOf } from '../trust/text.ts';
import type { Journal } from './journal/journal.ts';
import type { Attempt } from './machine.ts';
import type { OpenAnswer } from './open-answer.ts';
import type { TakenUp } from './take-up.ts';

export interface Attempts {
  /** The next attempt, on this device. */
  begin(answer: OpenAnswer, device: ConnectedDevice, candidate: Candidate): void;
  /** One that another owner began goes on, on the device that has it. */
  goOn(answer: OpenAnswer, device: ConnectedDevice, last: NonNullable<TakenUp['last']>): void;
  /** Its device is to tell its events again, tokens from this index on. */
  repeat(answer: OpenAnswer, attempt: Attempt, from: number): void;
  /** It is over, and its device knows; which that is, while it is connected. */
  release(attempt: Attempt): ConnectedDevice | undefined;
  /** It is over, and its device is told. */
  revoke(attempt: Attempt): void;
  /** It came to nothing. Where that says something of its device, it is held against it. */
  fail(answer: OpenAnswer, attempt: Attempt, code: ErrorCode): void;
  /** It goes on, and is this replica's no more. */
  disown(attempt: Attempt): void;
  /** The answer that is made under a lease. */
  of(lease: string): OpenAnswer | undefined;
  /** Answers that devices have. */
  running(): OpenAnswer[];
}

export interface AttemptsDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly random: Random;
  /** Id of this one. */
  readonly replica: string;
  readonly sessions: Pick<Sessions, 'get' | 'order' | 'resume' | 'disown' | 'revokeLease'>;
  readonly journal: Pick<Journal, 'written' | 'fact'>;
  readonly affinity: Pick<Affinity, 'remember'>;
  /** Tells the answer's machine, before the device is asked. */
  dispatched(answer: OpenAnswer, attempt: Attempt): void;
}

/** Ends of attempts that say nothing against their device. */
const BLAMELESS: ReadonlySet<ErrorCode> = new Set(['lease_unknown', 'forbidden']);

export function createAttempts(deps: AttemptsDeps): Attempts {
  const { clock, random, replica, sessions, journal, affinity, dispatched } = deps;
  const byLease = new Map<string, OpenAnswer>();

  function attemptOn(device: ConnectedDevice, candidate: Candidate, epoch: number): Attempt {
    return {
      lease: newId('att', random),
      epoch,
      device: device.id,
      numericClass: candidate.numericClass ?? '',
      mayRepeat: device.home !== replica && device.features.includes('resume'),
      started: false,
      progressAtMs: clock.monotonic(),
      stallMs: stallMsOf(candidate.active + 1, candidate.tokensPerSecond),
    };
  }

  function writeDown({ state, gate, attemptFrom: from }: OpenAnswer, attempt: Attempt, name: string): void {
    const { lease, epoch, device, numericClass } = attempt;
    gate?.hold(journal.written(state.request));
    journal.fact(state.request, { t: 'attempt', lease, epoch, device, name, numericClass, from });
  }

  function order({ state, request, ownerEpoch }: OpenAnswer, device: ConnectedDevice, attempt: Attempt): void {
    const { dataClass, cause } = request.text;
    sessions.order(device, {
      isResumable: request.run !== undefined,
      ownerEpoch,
      lease: attempt.lease,
      epoch: attempt.epoch,
      model: state.model,
      dataClass,
      cause,
      work: { ...state.work, tokens: state.tokens },
      deadlineMs: Math.max(1, Math.ceil(state.deadlineAtMs - clock.monotonic())),
    });
  }

  function release(attempt: Attempt): ConnectedDevice | undefined {
    const answer = byLease.get(attempt.lease);
    if (answer !== undefined) answer.deviceMs += clock.monotonic() - answer.attemptAtMs;
    byLease.delete(attempt.lease);
    const device = sessions.get(attempt.device);
    device?.leases.delete(attempt.lease);
    return device;
  }

  return {
    begin(answer, device, candidate) {
      const { state } = answer;
      const attempt = attemptOn(device, candidate, state.epoch + 1);
      answer.names.set(device.id, device.name);
      answer.attemptFrom = state.tokens.length;
      writeDown(answer, attempt, device.name);
      answer.attemptAtMs = clock.monotonic();
      byLease.set(attempt.lease, answer);
      affinity.remember(answer.marks, device.id);
      dispatched(answer, attempt);
      order(answer, device, attempt);
    },
    goOn(answer, device, { attempt, from }) {
      answer.attemptFrom = from;
      byLease.set(attempt.lease, answer);
      device.leases.add(attempt.lease);
      dispatched(answer, attempt);
      const { lease, epoch } = attempt;
      sessions.resume(device, { lease, epoch, ownerEpoch: answer.ownerEpoch, from: answer.state.tokens.length });
    },
    repeat({ ownerEpoch }, { device: id, lease, epoch }, from) {
      const device = sessions.get(id);
      if (device !== undefined) sessions.resume(device, { lease, epoch, ownerEpoch, from });
    },
    release,
    revoke(attempt) {
      const device = release(attempt);
      if (device !== undefined) sessions.revokeLease(device, attempt.lease, attempt.epoch);
    },
    fail({ request }, attempt, code) {
      const device = release(attempt);
      if (device === undefined) return;
      if (code === 'stalled') device.mistrustedUntilMs = clock.monotonic() + HUB_LIMITS.mistrustMs;
      else if (!BLAMELESS.has(code)) device.contradicted = true;
      if (code === 'consent_refused') device.refusals.add(sortOf(request.text));
    },
    disown({ device: id, lease, epoch }) {
      byLease.delete(lease);
      const device = sessions.get(id);
      if (device !== undefined) sessions.disown(device, lease, epoch);
    },
    of: (lease) => byLease.get(lease),
    running: () => [...byLease.values()],
  };
}
