/**
 * How an answer's end is written down: its record is closed, counted, and kept with the receipt that its last device
 * signed, if that says what the hub saw. Nothing here changes what its caller hears.
 */
import { messageOf, type Clock, type ErrorCode } from '@idlewild/protocol';
import type { Log } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import type { Journal } from './journal/journal.ts';
import type { AnswerState, Attempt } from './machine.ts';
import type { CheckReceipt } from './check-receipt.ts';
import type { AnswerMeter } from './port.ts';

/** Of an answer that is over. */
interface EndedAnswer {
  readonly state: AnswerState;
  /** Index of the first token of its last attempt. */
  readonly attemptFrom: number;
  readonly deviceMs: number;
}

export interface Books {
  /** A device finished it. Resolves when that is written, or could not be. */
  done(
    answer: EndedAnswer,
    attempt: Attempt,
    device: ConnectedDevice | undefined,
    receipt: Uint8Array | undefined,
  ): Promise<void>;
  /** It came to nothing, or was cancelled. */
  ended(answer: EndedAnswer, code: ErrorCode): void;
}

export interface BooksDeps {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly sessions: Pick<Sessions, 'kept'>;
  readonly journal: Pick<Journal, 'close'>;
  readonly meter: Pick<AnswerMeter, 'ended'>;
  readonly checkReceipt: CheckReceipt;
  readonly log: Log;
}

export function createBooks({ clock, sessions, journal, meter, checkReceipt, log }: BooksDeps): Books {
  const factsOf = ({ state, deviceMs }: EndedAnswer) => ({
    request: state.request,
    promptTokens: state.promptTokens ?? 0,
    cachedTokens: state.cachedTokens,
    deviceMs,
    device: state.devices.at(-1),
    answerTokens: state.tokens.length,
    failovers: state.failovers,
    exact: state.exact,
  });
  const count = ({ state }: EndedAnswer, how: 'done' | 'failed' | 'cancelled', code: ErrorCode | 'none'): void =>
    meter.ended(how, code, {
      tokens: state.tokens.length,
      ms: clock.monotonic() - state.createdAtMs,
      failovers: state.failovers,
    });
  const failed = (answer: EndedAnswer, what: string) => (error: unknown) =>
    log.error({ request: answer.state.request, why: messageOf(error) }, `the end of ${what} could not be written`);

  async function settle(
    answer: EndedAnswer,
    { lease, epoch, device: id }: Attempt,
    device: ConnectedDevice | undefined,
    receipt: Uint8Array | undefined,
  ): Promise<void> {
    const { state, attemptFrom } = answer;
    const tokens = state.tokens.slice(attemptFrom);
    const seen = { lease, epoch, model: state.model, firstToken: attemptFrom, tokens };
    const told = device === undefined || receipt === undefined ? undefined : await checkReceipt(device, receipt, seen);
    await journal.close({
      ...factsOf(answer),
      state: 'done',
      reason: undefined,
      ...(told === undefined || receipt === undefined
        ? {}
        : { energyWh: told.energyWh, receipt: { lease, device: id, epoch, statement: receipt } }),
    });
    if (device !== undefined && receipt !== undefined) sessions.kept(device, lease, epoch);
  }

  return {
    done(answer, attempt, device, receipt) {
      count(answer, 'done', 'none');
      return settle(answer, attempt, device, receipt).catch(failed(answer, 'a whole answer'));
    },
    ended(answer, code) {
      const how = code === 'cancelled' ? 'cancelled' : 'failed';
      journal.close({ ...factsOf(answer), state: how, reason: code }).catch(failed(answer, 'an answer'));
      count(answer, how, code);
    },
  };
}
