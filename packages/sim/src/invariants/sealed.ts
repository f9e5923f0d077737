/**
 * What is sealed: nothing of a prompt is in the open anywhere at the hub, each token that a caller takes is one that
 * the engine gives, the whole is that of the uninterrupted engine where it says so, and nothing of it goes on when its
 * caller is gone.
 */
import { simulatedAnswer, simulatedText } from '@idlewild/agent/testing';
import type { AnswerWork } from '@idlewild/protocol';
import type { Timed } from '../events.ts';
import type { CreateChecker } from './checker.ts';

interface Sealed {
  readonly work: Omit<AnswerWork, 'tokens'>;
  readonly tokens: number[];
  text: string;
  isOver: boolean;
}

export const createSealedChecker: CreateChecker = (blame, facts) => {
  const requests = new Map<number, Sealed>();
  const expected = ({ work }: Sealed, family: number): ReturnType<typeof simulatedAnswer> =>
    simulatedAnswer(work, { salt: facts.saltOf(family), contextTokens: facts.contextTokens });

  function ended(event: Extract<Timed, { e: 'sealedEnd' }>): void {
    const one = requests.get(event.request);
    if (one === undefined || one.isOver) return blame(`sealed request ${event.request} ended twice, or never began`);
    one.isOver = true;
    if (event.how !== 'finished') return;
    const { devices = [], exact = false, finish, s = '', answerTokens } = event;
    const families = new Set(devices.flatMap((id) => facts.deviceOf(id)?.traits.family ?? []));
    if (families.size === 0) return blame(`sealed request ${event.request} was answered by nobody of its community`);
    if (answerTokens !== one.tokens.length) blame(`sealed request ${event.request} does not count what came`);
    const whole = [...families].some((family) => {
      const due = expected(one, family);
      const same = due.tokens.length === one.tokens.length && due.tokens.every((id, at) => id === one.tokens[at]);
      return same && due.finish === finish && due.text === one.text + s;
    });
    if (!whole && (exact || families.size === 1))
      blame(`sealed request ${event.request} differs from the uninterrupted answer`);
    const known = [...families].map((family) => expected(one, family).tokens);
    one.tokens.forEach((id, at) => {
      if (!known.some((tokens) => tokens[at] === id))
        blame(`sealed request ${event.request} took ${id} as token ${at}, which none of its devices gives`);
    });
  }

  return {
    see(event) {
      switch (event.e) {
        case 'sealing':
          return void requests.set(event.request, { work: event.work, tokens: [], text: '', isOver: false });
        case 'unsealed': {
          const one = requests.get(event.request);
          if (one === undefined || one.isOver) return blame(`a token of sealed request ${event.request} came late`);
          if (event.i !== one.tokens.length) blame(`sealed request ${event.request} got token ${event.i} out of turn`);
          if (event.s !== simulatedText(event.id)) blame(`sealed request ${event.request} got another text`);
          one.tokens.push(event.id);
          one.text += event.s;
          return;
        }
        case 'sealedEnd':
          return ended(event);
        case 'overheard':
          return blame(`a sealed prompt is in the open: ${event.where}`);
        case 'ordered':
          if (requests.has(event.request)) blame(`sealed request ${event.request} was sent in the open`);
          return;
        default:
      }
    },
    inspect({ when, sealedOpen }) {
      if (when !== 'rest') return;
      if (sealedOpen > 0) blame(`${sealedOpen} sealed answers go on without their callers`);
      for (const [request, { isOver }] of requests) if (!isOver) blame(`sealed request ${request} never ended`);
    },
  };
};
