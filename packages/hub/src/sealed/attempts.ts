/**
 * Attempts at sealed answers, from the prompt to whichever end: what their devices send is held to its order and its
 * bounds, and handed on unread.
 *
 * A frame that does not carry the current lease and epoch changes nothing; one that is not the next ends the attempt.
 * How it ended and what it used is written down once. Whether it may begin, and how long anybody may go on, is not
 * decided here.
 */
import {
  IdlewildError,
  isErrorCode,
  messageOf,
  type Clock,
  type ErrorCode,
  type SealedDone,
  type SealedEvent,
  type SealedFailed,
  type SealedPart,
} from '@idlewild/protocol';
import type { Journal } from '../answers/journal/journal.ts';
import type { AnswerMeter } from '../answers/port.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { sortOf } from '../trust/text.ts';
import { createAttempt, hasRule, type Granted, type SealedAttempt } from './attempt.ts';
import type { SealedPrompt } from './port.ts';
import type { SealedReceipts } from './receipts.ts';

export interface SealedAttempts {
  /** Has the place on its device from here on. */
  begin(granted: Granted): SealedAttempt;
  /** Resolves once its record is committed and its device has the prompt. Throws what a journal throws. */
  send(attempt: SealedAttempt, prompt: SealedPrompt): Promise<void>;
  onFrame(device: ConnectedDevice, event: SealedEvent): void;
  /** Its device cannot go on: its caller may seal it to another. `tellDevice` where that does not know. */
  lose(attempt: SealedAttempt, code: ErrorCode, why: string, tellDevice: boolean): void;
  /** No other device would do better. */
  fail(attempt: SealedAttempt, code: ErrorCode, why: string): void;
  /** Its caller is gone. */
  cancel(attempt: SealedAttempt): void;
  /** Ends those that are silent or take too long; to be called from time to time. */
  sweep(nowMs: number): void;
  /** Those that run. */
  list(): SealedAttempt[];
  size(): number;
  /** Ends that wait for their receipts. */
  ending(): number;
}

export interface SealedAttemptsDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly sessions: Pick<Sessions, 'get' | 'sealed' | 'revokeLease'>;
  readonly journal: Pick<Journal, 'open' | 'close'>;
  readonly meter: AnswerMeter;
  readonly receipts: SealedReceipts;
  /** A slot is free. */
  onFree(): void;
  readonly log: Log;
}

const NOTHING_TO_READ = { prompt: { kind: 'text', text: '' }, sampling: { seed: 0 }, choice: 0, stop: [] } as const;

/** Another device would say the same. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'invalid_request',
  'unsupported_field',
  'context_length_exceeded',
  'model_unsupported',
  'use_refused',
  'use_unjudged',
]);

interface Ended {
  readonly energyWh?: number | undefined;
  /** Kept as what its device gave; never rejects, and holds nothing where none could be signed. */
  readonly receipt?: Promise<Uint8Array | undefined> | undefined;
}

export function createSealedAttempts(deps: SealedAttemptsDeps): SealedAttempts {
  const { clock, sessions, journal, meter, receipts, onFree, log } = deps;
  const running = new Map<string, SealedAttempt>();
  let ending = 0;

  /** Takes the lease back and writes down how it ended; false when that has happened. */
  function close(
    attempt: SealedAttempt,
    state: 'done' | 'failed' | 'cancelled',
    reason: ErrorCode | undefined,
    { energyWh, receipt }: Ended = {},
  ): boolean {
    if (attempt.over) return false;
    attempt.over = true;
    const { request, grant, device, promptTokens, tokens: answerTokens } = attempt;
    running.delete(grant.lease);
    device.leases.delete(grant.lease);
    const ms = clock.monotonic() - attempt.startedAtMs;
    const counts = { promptTokens, cachedTokens: Math.min(attempt.cachedTokens, promptTokens), answerTokens };
    const drawn = energyWh === undefined ? {} : { energyWh };
    const had = { device: device.id, deviceMs: ms, ...drawn };
    const end = { request, state, reason, ...counts, ...had, failovers: 0, exact: true };
    const { lease, epoch } = grant;
    const written =
      receipt?.then((statement) =>
        journal.close(
          statement === undefined ? end : { ...end, receipt: { lease, epoch, device: device.id, statement } },
        ),
      ) ?? journal.close(end);
    written.catch((error: unknown) =>
      log.error({ request, why: messageOf(error) }, 'the end of an answer was not written'),
    );
    meter.ended(state, reason ?? 'none', { tokens: answerTokens, ms, failovers: 0 });
    onFree();
    return true;
  }

  function revoke({ device, grant }: SealedAttempt): void {
    if (sessions.get(device.id) === device) sessions.revokeLease(device, grant.lease, grant.epoch);
  }

  function lose(attempt: SealedAttempt, code: ErrorCode, why: string, tellDevice: boolean): void {
    if (tellDevice && !attempt.over) revoke(attempt);
    // What another device has to read again is charged where it is read to good purpose.
    if (!attempt.over) attempt.promptTokens = 0;
    if (!close(attempt, 'failed', code)) return;
    log.info({ request: attempt.request, device: attempt.device.id, code, why }, 'a sealed answer was lost');
    if (!attempt.silenced) attempt.sink.lost(code, why);
  }

  /** `more`: what its device, which knows, says of it to its caller alone. */
  function fail(attempt: SealedAttempt, code: ErrorCode, why: string, more?: { n: number; sealed: Uint8Array }): void {
    if (more === undefined && !attempt.over) revoke(attempt);
    if (close(attempt, 'failed', code) && !attempt.silenced) attempt.sink.failed(new IdlewildError(code, why), more);
  }

  function onPart(attempt: SealedAttempt, event: SealedPart | SealedDone): void {
    const isStart = event.n === 0;
    const isCounted = event.tokens === attempt.tokens || event.tokens === attempt.tokens + 1;
    if (event.n !== attempt.next || !isCounted || (isStart && event.promptTokens === undefined))
      return lose(attempt, 'frame_invalid', `it sent event ${event.n} where event ${attempt.next} was due`, true);
    if ((event.promptTokens ?? 0) > attempt.promptTokensMax) {
      const why = `it counts ${event.promptTokens} tokens in ${attempt.promptBytes} bytes`;
      return lose(attempt, 'frame_invalid', why, true);
    }
    attempt.next++;
    if (isStart) {
      attempt.started = true;
      attempt.promptTokens = event.promptTokens ?? 0;
      attempt.cachedTokens = 'cachedTokens' in event ? (event.cachedTokens ?? 0) : 0;
    }
    if (attempt.tokens === 0 && event.tokens === 1) meter.firstToken(clock.monotonic() - attempt.startedAtMs);
    attempt.tokens = event.tokens;
    if (event.t === 'sealed.done') return done(attempt, event);
    if (!attempt.spend.covers(attempt.promptTokens + attempt.tokens))
      return fail(attempt, 'spend_cap', overCap(attempt));
    if (!attempt.silenced) attempt.sink.part(event.n, event.sealed);
    return undefined;
  }

  function done(attempt: SealedAttempt, { n, sealed, commitment, energy }: SealedDone): void {
    const energyWh = energy?.wattHours;
    if (commitment === undefined) {
      if (close(attempt, 'done', undefined, { energyWh }) && !attempt.silenced) attempt.sink.done(n, sealed);
      return;
    }
    const { request, promptBytes, promptTokens, tokens, device } = attempt;
    const { lease, epoch, model, dataClass } = attempt.grant;
    const asked = { request, device: device.id, lease, epoch, model: model.cid, modelName: model.name, dataClass };
    const receipt = receipts.issue({ ...asked, promptBytes, promptTokens, tokens, commitment, energy });
    ending++;
    close(attempt, 'done', undefined, { energyWh, receipt });
    void receipt.then((statement) => {
      ending--;
      if (!attempt.silenced) attempt.sink.done(n, sealed, statement);
    });
  }

  function onFailed(attempt: SealedAttempt, event: SealedFailed): void {
    const code = isErrorCode(event.code) ? event.code : 'engine_failed';
    if (code === 'use_refused') return onRefused(attempt, event.rule);
    if (!FINAL.has(code)) {
      if (code === 'consent_refused') attempt.device.refusals.add(sortOf(attempt.text));
      else if (code !== 'sealed_unopened') attempt.device.contradicted = true;
      return lose(attempt, code, event.message, false);
    }
    const { n, sealed } = event;
    return fail(attempt, code, event.message, n === undefined || sealed === undefined ? undefined : { n, sealed });
  }

  /** A rule by which it was not asked to refuse is no reason. */
  function onRefused(attempt: SealedAttempt, rule: string | undefined): void {
    const { use, sink, request } = attempt;
    const isRight = use !== undefined && (rule === undefined || hasRule(use, rule));
    if (!isRight) return lose(attempt, 'frame_invalid', 'it refused by a rule of its own', false);
    if (!close(attempt, 'failed', 'use_refused') || attempt.silenced) return undefined;
    attempt.refuse(rule).then(
      (error) => sink.failed(error),
      (error: unknown) => {
        log.error({ request, why: messageOf(error) }, 'a refusal was not written down');
        sink.failed(new IdlewildError('use_refused', "this community's rules of use refuse this"));
      },
    );
    return undefined;
  }

  return {
    begin(granted) {
      granted.device.leases.add(granted.grant.lease);
      const attempt = createAttempt(granted, clock.monotonic());
      running.set(granted.grant.lease, attempt);
      return attempt;
    },
    async send(attempt, prompt) {
      const { request, grant, device, use } = attempt;
      const { lease, epoch, model, dataClass, cause, territory, caller: key } = grant;
      try {
        const work = { ...NOTHING_TO_READ, stop: [] };
        const { text, hold } = attempt;
        await journal.open({ request, territory, key, model: model.cid, work, text, hold });
      } catch (error) {
        attempt.over = true;
        running.delete(lease);
        revoke(attempt);
        throw error;
      }
      // It may have been lost, or cancelled, while it was written down.
      if (attempt.over) return;
      attempt.progressAtMs = clock.monotonic();
      const purpose = { dataClass, ...(cause === undefined ? {} : { cause }) };
      const held = use === undefined ? {} : { use };
      const deadlineMs = HUB_LIMITS.answerMsMax;
      sessions.sealed(device, { lease, epoch, model: model.cid, ...purpose, ...prompt, ...held, deadlineMs });
    },
    onFrame(device, event) {
      const attempt = running.get(event.lease);
      if (attempt === undefined || attempt.device.id !== device.id || attempt.grant.epoch !== event.epoch) return;
      attempt.progressAtMs = clock.monotonic();
      if (event.t === 'sealed.failed') onFailed(attempt, event);
      else if (event.t !== 'sealed.progress') onPart(attempt, event);
    },
    lose,
    fail: (attempt, code, why) => fail(attempt, code, why),
    cancel(attempt) {
      attempt.silenced = true;
      if (attempt.over) return;
      revoke(attempt);
      close(attempt, 'cancelled', 'cancelled');
    },
    sweep(nowMs) {
      for (const attempt of [...running.values()]) {
        const silentMs = nowMs - attempt.progressAtMs;
        const allowedMs = attempt.started ? attempt.stallMs : Math.max(attempt.stallMs, HUB_LIMITS.startMsMax);
        if (nowMs - attempt.startedAtMs >= HUB_LIMITS.answerMsMax)
          fail(attempt, 'deadline_exceeded', `not done within ${HUB_LIMITS.answerMsMax / 1_000} s`);
        else if (silentMs >= allowedMs) {
          attempt.device.mistrustedUntilMs = nowMs + HUB_LIMITS.mistrustMs;
          lose(attempt, 'stalled', `the device was silent for ${Math.round(silentMs)} ms`, true);
        }
      }
    },
    list: () => [...running.values()],
    size: () => running.size,
    ending: () => ending,
  };
}

const overCap = ({ tokens }: SealedAttempt): string =>
  `what may be spent is used up, so the answer was stopped after ${tokens} tokens; ` +
  'its caps are in GET /api/spending, and a steward changes them';
