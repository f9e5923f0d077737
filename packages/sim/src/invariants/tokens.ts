/**
 * Invariant 3: in an interrupted answer no emitted token changes, repeats or is lost; within a numeric class the whole
 * answer is that of the uninterrupted engine, and `exact` tells whether it is.
 *
 * The engine is a pure function of the work and the class, so what each token must be is known without running it. Of
 * a request under an Idempotency-Key its caller sees the tokens over several connections, and no frames: each token is
 * one that a class which was asked would give, and whether they are those that were accepted is for `leases.ts`.
 */
import { simulatedAnswer, simulatedText } from '@idlewild/agent/testing';
import type { AnswerWork } from '@idlewild/protocol';
import type { AnswerOutcome } from '@idlewild/hub';
import type { Timed } from '../events.ts';
import type { CreateChecker } from './checker.ts';

interface Request {
  readonly work: Omit<AnswerWork, 'tokens'>;
  /** What may be spent bounds it: it may be shorter than the uninterrupted one, and nothing else. */
  isBounded: boolean;
  readonly isKeyed: boolean;
  /** How often its caller came. */
  returns: number;
  readonly tokens: number[];
  text: string;
  /** Classes of the devices whose frames the caller saw, in order; of a keyed request, of all that were asked. */
  readonly families: Set<number>;
  /** What each class would answer. */
  readonly expected: Map<number, ReturnType<typeof simulatedAnswer>>;
}

export const createTokens: CreateChecker = (blame, facts) => {
  const requests = new Map<number, Request>();
  const of = (number: number): Request => {
    const request = requests.get(number);
    if (request === undefined) throw new Error(`request ${number} was never asked`);
    return request;
  };
  const expectedOf = ({ work, expected }: Request, family: number): ReturnType<typeof simulatedAnswer> => {
    const { contextTokens, saltOf } = facts;
    const known = expected.get(family) ?? simulatedAnswer(work, { salt: saltOf(family), contextTokens });
    expected.set(family, known);
    return known;
  };
  const familyOf = (device: string | undefined): number | undefined =>
    device === undefined ? undefined : facts.deviceOf(device)?.traits.family;

  function token(event: Extract<Timed, { e: 'token' }>): void {
    const request = of(event.request);
    const { tokens } = request;
    const { i, id, s } = event;
    const wrong = (what: string): void => blame(`request ${event.request} got ${what}`);
    if (i !== tokens.length) wrong(`token ${i} where ${tokens.length} was due`);
    const family = familyOf(event.via?.device);
    if (request.isKeyed && ![...request.families].some((each) => expectedOf(request, each).tokens[i] === id)) {
      wrong(`${id} as token ${i}, which none of its devices would give`);
    }
    if (family !== undefined) {
      request.families.add(family);
      const due = expectedOf(request, family).tokens[i];
      if (due !== id) wrong(`${id} as token ${i}; the engine gives ${due ?? 'none'}`);
    }
    if (s !== simulatedText(id)) wrong(`"${s}" as the text of ${id}`);
    tokens.push(id);
    request.text += s;
  }

  function finished(number: number, outcome: AnswerOutcome, device: string | undefined): void {
    const request = of(number);
    const family = familyOf(device);
    if (family !== undefined) request.families.add(family);
    const families = [...request.families];
    const [first] = families;
    if (first === undefined) return blame(`request ${number} was finished by nobody`);
    const isWholeOf = (each: number): boolean => {
      const due = expectedOf(request, each);
      const isBegun = request.tokens.every((id, at) => id === due.tokens[at]);
      if (request.isBounded && outcome.finish === 'length' && isBegun)
        return request.tokens.length < due.tokens.length || due.finish === 'length';
      return (
        due.finish === outcome.finish &&
        due.text === request.text + outcome.s &&
        due.tokens.length === request.tokens.length &&
        due.tokens.every((id, at) => id === request.tokens[at])
      );
    };
    const whole = expectedOf(request, first);
    if (families.length === 1 && !isWholeOf(first)) {
      const got = `${request.tokens.length} tokens (${outcome.finish})`;
      const due = `${whole.tokens.length} (${whole.finish})`;
      blame(`request ${number} differs from the uninterrupted answer: ${got} of ${due}`);
    }
    // Nobody writes down which of several attempts made which token: one that another replica went on with may be
    // called inexact that is not.
    const isTrue = request.isKeyed
      ? outcome.exact
        ? families.some(isWholeOf)
        : families.length > 1 || request.returns > 1
      : outcome.exact === (families.length === 1);
    if (!isTrue) blame(`request ${number} says exact: ${outcome.exact}, and ${families.length} classes made it`);
    if (outcome.answerTokens !== request.tokens.length) {
      blame(`request ${number} says ${outcome.answerTokens} tokens; ${request.tokens.length} came`);
    }
  }

  return {
    see(event) {
      switch (event.e) {
        case 'asked':
          return void requests.set(event.request, {
            work: event.work,
            isBounded: false,
            isKeyed: event.keyed === true,
            returns: 0,
            tokens: [],
            text: '',
            families: new Set(),
            expected: new Map(),
          });
        case 'held': {
          const request = requests.get(event.request);
          if (request !== undefined) request.isBounded = true;
          return;
        }
        case 'came':
          return void of(event.request).returns++;
        case 'ordered': {
          // Who asked for something that nobody asked for here is the matter of another invariant.
          if (!requests.has(event.request)) return;
          const { tokens, isKeyed, families } = of(event.request);
          if (isKeyed) {
            const family = familyOf(event.device);
            return void (family !== undefined && families.add(family));
          }
          const same =
            (event.tokens.length === tokens.length || !facts.isAlone) &&
            event.tokens.every((id, at) => id === tokens[at]);
          // To another replica an order may be on its way for long.
          if (same) return;
          const [sent, seen] = [event.tokens.length, tokens.length];
          return blame(`request ${event.request} went on from ${sent} tokens; its caller has ${seen}`);
        }
        case 'token':
          return token(event);
        case 'finished':
          return finished(event.request, event.outcome, event.via?.device);
        default:
      }
    },
  };
};
