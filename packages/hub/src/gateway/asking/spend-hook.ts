/**
 * What a request may spend, at the door: held before it is looked at, shared out to its answers, and let go when its
 * response is over.
 *
 * An answer gets at most its part of what is held. Where that is less than it asked for, the response says so:
 * `x-idlewild-tokens-max` is what each answer may have, and one that reaches it ends with "length".
 */
import type { SpendShare } from '../../answers/port.ts';
import type { LimitedKey } from '../../callers/limits.ts';
import type { KeyPrincipal, Principal } from '../../identity/principal.ts';
import type { Wanted } from '../../projects/decide.ts';
import type { SpendRules } from '../../projects/rules.ts';
import { answerShare, type Hold, type Spending } from '../../projects/spending.ts';
import type { FastifyRequest } from '../server.ts';

export interface RequestHold extends Hold {
  readonly wanted: Wanted;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What it may spend, where anything bounds that. */
    hold: RequestHold | undefined;
  }
}

export interface SpendHookDeps {
  readonly spending: Pick<Spending, 'begin' | 'resume'>;
  readonly spendRules: Pick<SpendRules, 'known'>;
}

/** Who is asked to pay; a person who signed in is as a key of her own. */
export function callerOf(principal: Principal | undefined): KeyPrincipal | undefined {
  if (principal?.kind === 'key') return principal;
  if (principal?.kind !== 'person') return undefined;
  const { personId, territory } = principal;
  return { kind: 'key', keyId: personId, person: personId, territory, role: 'member', name: '', dataClass: 'internal' };
}

/** What holds in a minute for all keys of a caller's person together, where a steward set something. */
export async function personLimits(
  { spendRules }: SpendHookDeps,
  { person }: KeyPrincipal,
): Promise<LimitedKey | undefined> {
  if (person === undefined) return undefined;
  const { requestsPerMinute, tokensPerMinute } = (await spendRules.known()).capsOf('person', person) ?? {};
  if (requestsPerMinute === undefined && tokensPerMinute === undefined) return undefined;
  return {
    keyId: person,
    isPerson: true,
    requestsPerMinute: requestsPerMinute ?? 'none',
    tokensPerMinute: tokensPerMinute ?? 'none',
  };
}

/** What of a request and its response matters here. */
export interface Spender {
  readonly request: Pick<FastifyRequest, 'id' | 'run' | 'hold'>;
  readonly reply: {
    readonly raw: { readonly destroyed: boolean; once(event: 'close', act: () => void): unknown };
    header(name: string, value: string): unknown;
  };
  readonly caller: KeyPrincipal;
}

/** Holds what it may use, and sees to it that it is let go. Throws what `Spending.begin` does. */
export async function holdFor(
  { spending }: Pick<SpendHookDeps, 'spending'>,
  { request, reply, caller }: Spender,
  wanted: Wanted,
): Promise<void> {
  const { keyId, person, project } = caller;
  const order = { id: request.id, keyId, person, project, wanted };
  const { run } = request;
  const hold = await (run?.isResumed === true ? spending.resume({ ...order, run: run.id }) : spending.begin(order));
  if (hold === undefined) return;
  request.hold = { ...hold, wanted };
  reply.raw.once('close', hold.over);
  if (reply.raw.destroyed) hold.over();
  if (run !== undefined) {
    const leave = (): void => {
      hold.leave();
      run.leave();
    };
    request.run = { ...run, leave };
  }
  if (wanted.answers > 0 && hold.tokens < wanted.promptTokens + wanted.answerTokens)
    void reply.header('x-idlewild-tokens-max', String(answerShare(hold.tokens, wanted)));
}

/** What the answers to one request may use. */
export interface Shares {
  /** The most that each may have. */
  readonly tokensMax: number;
  /** For all answers to one of its prompts. */
  ofPrompt(): SpendShare;
}

/** `prompts`: how many there are. */
export function sharesOf({ hold }: Pick<FastifyRequest, 'hold'>, prompts: number): Shares | undefined {
  if (hold === undefined) return undefined;
  const { id, tokens, wanted } = hold;
  const answers = Math.max(1, Math.round(wanted.answers / prompts));
  const isAmple = tokens >= wanted.promptTokens + wanted.answerTokens;
  return {
    tokensMax: answerShare(tokens, wanted),
    ofPrompt() {
      let held = Math.floor(tokens / prompts);
      let state: 'unread' | 'asking' | 'known' = 'unread';
      return {
        hold: id,
        began(promptTokens) {
          if (state !== 'unread') return;
          state = 'known';
          const more = promptTokens - Math.floor(wanted.promptTokens / prompts);
          if (more <= 0) return;
          state = 'asking';
          void hold.extend(more).then((got) => {
            held += got;
            state = 'known';
          });
        },
        // What comes while it is asked is let through, a moment of one device, unless there was too little already.
        tokensAfter: (promptTokens) =>
          state === 'asking' && isAmple ? Number.POSITIVE_INFINITY : Math.floor((held - promptTokens) / answers),
      };
    },
  };
}
