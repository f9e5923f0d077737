/**
 * One choice of an answer as it comes: its text, its calls and its probabilities put together for those who wait for
 * the whole, and the names that calls get.
 */
import type { CallPart, Logprobs } from '@idlewild/protocol';
import type { AnswerOutcome } from '../../answers/port.ts';
import { createLogprobsAligner } from './logprobs.ts';
import type { ToldOutcome } from './notes.ts';

export interface Call {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** A choice that is complete. */
export interface Choice {
  readonly index: number;
  readonly text: string;
  readonly calls: readonly Call[];
  readonly logprobs: readonly Logprobs[];
  readonly outcome: ToldOutcome;
}

/** The same for the same request, choice and place, so that an answer given again has the same. */
export const callIdOf = (requestId: string, index: number, call: number): string =>
  `call_${requestId.replace(/^req_/, '')}_${index}_${call}`;

export interface ChoiceCollector {
  token(s: string, calls: readonly CallPart[] | undefined, lp: Logprobs | undefined): void;
  end(outcome: AnswerOutcome): Choice;
}

export function createChoiceCollector(requestId: string, index: number): ChoiceCollector {
  let text = '';
  const calls: { id: string; name: string; arguments: string }[] = [];
  const logprobs: Logprobs[] = [];
  const aligner = createLogprobsAligner();
  const addCalls = (parts: readonly CallPart[]): void => {
    for (const { i, name = '', s } of parts) {
      const call = (calls[i] ??= { id: callIdOf(requestId, index, i), name: '', arguments: '' });
      call.name += name;
      call.arguments += s;
    }
  };
  return {
    token(s, parts, lp) {
      text += s;
      if (parts !== undefined) addCalls(parts);
      if (lp !== undefined) logprobs.push(...aligner.push(lp, s));
    },
    end(outcome) {
      text += outcome.s;
      if (outcome.calls !== undefined) addCalls(outcome.calls);
      logprobs.push(...aligner.rest(outcome.s));
      // A device that lies may leave calls out.
      return { index, text, calls: Object.values(calls), logprobs, outcome };
    },
  };
}
