/** What goes with every answer whatever its shape: how it was made, and what it used. */
import { AI_SOURCE_TYPE } from '@idlewild/protocol';
import type { AnswerOutcome } from '../../answers/port.ts';

/** An outcome with its receipt, as it goes out. */
export interface ToldOutcome extends AnswerOutcome {
  /** A signed `answer-receipt` in base64url. */
  readonly receiptText?: string | undefined;
}

/** What Idlewild adds to every answer, and to the last chunk of a stream. */
export interface IdlewildNote {
  /** Names of the devices that worked on it, in order. */
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly seed: number;
  /** Whether the whole is bit-identical to an uninterrupted answer. */
  readonly exact: boolean;
  readonly hub: string;
  /** A machine wrote it: the mark of EU AI Act, Article 50(2), and the same as an IPTC digital source type. */
  readonly ai_generated: true;
  readonly digital_source_type: typeof AI_SOURCE_TYPE;
  /** One for each choice, in base64url, for `idlewild receipt verify`. */
  readonly receipts?: readonly string[];
  /** Whether a second device made the same, where that was asked for: of several choices the worst. */
  readonly verification?: AnswerOutcome['verification'];
}

/** Of several choices: all their devices, all their failovers, and exact only if each is. */
export const noteOf = (outcomes: readonly ToldOutcome[], hub: string): IdlewildNote => ({
  ai_generated: true,
  digital_source_type: AI_SOURCE_TYPE,
  devices:
    outcomes.length === 1
      ? (outcomes[0]?.devices ?? []).map((device) => device.name)
      : [...new Set(outcomes.flatMap((outcome) => outcome.devices.map((device) => device.name)))],
  failovers: outcomes.reduce((sum, outcome) => sum + outcome.failovers, 0),
  seed: outcomes[0]?.seed ?? 0,
  exact: outcomes.every((outcome) => outcome.exact),
  hub,
  ...receiptsOf(outcomes),
  ...verificationOf(outcomes),
});

function verificationOf(outcomes: readonly AnswerOutcome[]): Pick<IdlewildNote, 'verification'> {
  const worst = (['differs', 'not_compared', 'verified'] as const).find((result) =>
    outcomes.some(({ verification }) => verification === result),
  );
  return worst === undefined ? {} : { verification: worst };
}

function receiptsOf(outcomes: readonly ToldOutcome[]): Pick<IdlewildNote, 'receipts'> {
  const receipts = outcomes.flatMap(({ receiptText }) => receiptText ?? []);
  return receipts.length === 0 ? {} : { receipts };
}

export interface TokenCounts {
  readonly prompt: number;
  readonly cached: number;
  readonly answer: number;
}

/** `n` choices share each prompt, which counts once: as the first of them saw it. */
export function countTokens(outcomes: readonly AnswerOutcome[], n: number): TokenCounts {
  const firsts = outcomes.filter((_, index) => index % n === 0);
  return {
    prompt: firsts.reduce((sum, outcome) => sum + outcome.promptTokens, 0),
    cached: firsts.reduce((sum, outcome) => sum + outcome.cachedTokens, 0),
    answer: outcomes.reduce((sum, outcome) => sum + outcome.answerTokens, 0),
  };
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** As chat and completions tell it. */
export const usageOf = ({ prompt, cached, answer }: TokenCounts): Usage => ({
  prompt_tokens: prompt,
  completion_tokens: answer,
  total_tokens: prompt + answer,
  prompt_tokens_details: { cached_tokens: cached },
});
