/**
 * The text of one answer to a sealed prompt, as far as its receipt needs it: all that its caller has, also what earlier
 * devices told, since their tokens are in the work. It is kept until the answer ends and told to nobody; the hub is
 * given a commitment to it, which is as good as random to who does not have the salt.
 */
import {
  answerTextOf,
  commitmentOf,
  digestAnswer,
  type AnswerWork,
  type CallPart,
  type Crypto,
  type Random,
  type Receipt,
} from '@idlewild/protocol';
import type { EngineEvent } from '@idlewild/engine';
import type { Energy } from '../lending/energy/energy.ts';

type Told = { readonly s: string; readonly calls?: readonly CallPart[] | undefined };
type Finished = Extract<EngineEvent, { t: 'finished' }>;

export interface SealedText {
  add(event: Told): void;
  /** Its end: what the device signs of it. */
  end(event: Finished, work: Pick<AnswerWork, 'sampling'>, energy: Energy | undefined): Promise<Receipt['sealed']>;
  /** For the hub, once it has ended. */
  told(): { readonly commitment?: Uint8Array; readonly energy?: Energy };
}

const SALT_BYTES = 32;

export function createSealedText({ crypto, random }: { crypto: Crypto; random: Random }): SealedText {
  const parts: Told[] = [];
  let told: { readonly commitment?: Uint8Array; readonly energy?: Energy } = {};
  return {
    add: ({ s, calls }) => void parts.push({ s, calls }),
    async end(event, { sampling }, energy) {
      const digest = await digestAnswer(
        answerTextOf([...(event.before ? [event.before] : []), ...parts, event]),
        crypto,
      );
      const salt = random.bytes(SALT_BYTES);
      const commitment = await commitmentOf(salt, digest, crypto);
      told = { commitment, ...(energy === undefined ? {} : { energy }) };
      return { digest, salt, seed: sampling.seed, finish: event.finish };
    },
    told: () => told,
  };
}
