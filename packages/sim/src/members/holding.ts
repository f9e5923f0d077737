/**
 * What a request may spend, as the gateway sees to it (`gateway/asking/spend-hook.ts`), without HTTP: held before
 * anything is asked of devices, shared out, and let go when the response is over.
 */
import {
  estimateUse,
  holdFor,
  sharesOf,
  type AnswerRequest,
  type AnswerSink,
  type Hub,
  type KeyPrincipal,
  type Run,
} from '@idlewild/hub';
import { codeOf, textsOfPrompt, type AnswerWork, type Prompt } from '@idlewild/protocol';
import type { Text } from '../callers/texts.ts';
import type { HubProcess } from '../machines/hub-process.ts';
import type { Record } from '../record.ts';

export type Work = Omit<AnswerWork, 'tokens'>;

export interface Order {
  /** Of the response: a run's is the same on every replica. */
  readonly id: string;
  readonly principal: KeyPrincipal;
  /** What the request's body says of it, and where it is sent. */
  readonly path: string;
  readonly body: object;
  /** Where it is carried out under an Idempotency-Key. */
  readonly run?: Run | undefined;
  /** Another replica goes on with it. */
  leave?(): void;
}

export interface HoldWatch {
  /** `id`, as it is in the database. */
  held(id: string, tokens: number, tokensMax: number): void;
  refused(id: string, code: string): void;
}

export interface Holding {
  readonly hold: { readonly id: string; readonly tokens: number; extend(tokens: number): Promise<number> } | undefined;
  /** The most that its answer may have. */
  readonly tokensMax: number | undefined;
  readonly spend: AnswerRequest['spend'];
  /** The response is over. */
  close(): void;
  /** Another replica goes on with it, and with what is held. */
  leave(): void;
}

/** What an answer is taken for that does not say how long it may be (docs/projects.md). */
const UNSAID_TOKENS = 4_096;

/** Throws what refuses it. */
export async function holding(hub: Hub, order: Order, watch: HoldWatch): Promise<Holding> {
  const { id, principal, path, body, run, leave = () => {} } = order;
  const closing: (() => void)[] = [];
  const raw = { destroyed: false, once: (_: 'close', act: () => void) => void closing.push(act) };
  const request: Parameters<typeof holdFor>[1]['request'] = {
    id,
    run: run === undefined ? undefined : { ...run, leave, heard: [] },
    hold: undefined,
  };
  const wanted = estimateUse(path, body, UNSAID_TOKENS);
  try {
    await holdFor(hub, { request, reply: { raw, header: () => {} }, caller: principal }, wanted);
  } catch (error) {
    watch.refused(id, codeOf(error) ?? 'internal');
    throw error;
  }
  const shares = sharesOf(request, 1);
  const { hold } = request;
  if (hold !== undefined && shares !== undefined) watch.held(hold.id, hold.tokens, shares.tokensMax);
  return {
    hold,
    tokensMax: shares?.tokensMax,
    spend: shares?.ofPrompt(),
    close() {
      raw.destroyed = true;
      for (const act of closing.splice(0)) act();
    },
    leave: () => (request.run === undefined ? leave() : request.run.leave()),
  };
}

/** Where a prompt is asked, and with which body. */
export function bodyOf({ prompt, tokensMax }: Work): Pick<Order, 'path' | 'body'> {
  const max = tokensMax === undefined ? {} : { max_tokens: tokensMax };
  return prompt.kind === 'text'
    ? { path: '/v1/completions', body: { prompt: prompt.text, ...max } }
    : { path: '/v1/chat/completions', body: { messages: prompt.messages, ...max } };
}

export const atMost = (work: Work, tokens: number | undefined): Work =>
  tokens === undefined ? work : { ...work, tokensMax: Math.min(work.tokensMax ?? tokens, tokens) };

/** The response is over with its answer. */
export const closing = (sink: AnswerSink, { close }: Pick<Holding, 'close'>): AnswerSink => ({
  ...sink,
  finished(outcome) {
    sink.finished(outcome);
    close();
  },
  failed(error) {
    sink.failed(error);
    close();
  },
});

/** Events of what is held for a request, as far as its process lives to tell. */
export const holdWatch = (record: Record, request: number, process: Pick<HubProcess, 'give'>): HoldWatch => ({
  held: (hold, tokens, tokensMax) => process.give(() => record.note({ e: 'held', request, hold, tokens, tokensMax })),
  refused: (hold, code) => process.give(() => record.note({ e: 'unheld', request, hold, code })),
});

export interface Admission {
  readonly principal: KeyPrincipal;
  readonly model: string;
  readonly text: Text;
  /** None where it is sealed. */
  readonly prompt: Prompt | undefined;
}

/** Whether it may be answered by the model. Throws what refuses it. */
export function permitted(
  { policy, territory }: Hub,
  principal: KeyPrincipal,
  { cid: id, text, isSealed }: { readonly cid: string; readonly text: Text; readonly isSealed: boolean },
) {
  const { dataClass, cause: purpose } = text;
  const on = { territory: territory.id, id, project: principal.project };
  return policy.permit(principal, 'answer', on, { dataClass, purpose, isSealed });
}

/** Whether it may be answered by the model, and is wanted. Throws what refuses it. */
export async function admitted(hub: Hub, { principal, model, text: said, prompt }: Admission) {
  const territory = hub.territory.id;
  const { cid } = await hub.models.resolve(territory, model);
  const isSealed = prompt === undefined;
  const permit = await permitted(hub, principal, { cid, text: said, isSealed });
  const text = { ...said, person: principal.person };
  const texts = prompt === undefined ? [] : textsOfPrompt(prompt);
  const wanted = { model, text, permit, texts, isSealed, isCompletion: prompt?.kind === 'text' };
  await hub.use.judge(principal, wanted, new AbortController().signal);
  return { cid, permit, text };
}
