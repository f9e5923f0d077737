/**
 * Answers as OpenAI's endpoints ask for them, each sealed to a device: what stands in a proxy where a hub has its
 * queue. There is no other way out of here: a prompt that cannot be sealed is not sent.
 */
import type { SealedClient, SealedClientEvent, VerifiedFinish, Verify } from '@idlewild/client';
import type { AnswerOutcome, AnswerRequest, Answers, AnswerSink } from '@idlewild/hub';
import { IdlewildError, asIdlewildError, newId, type AnswerWork, type Random } from '@idlewild/protocol';

export interface SealingDeps {
  readonly client: Pick<SealedClient, 'answer'>;
  readonly random: Random;
  /** CIDs that models of these names must have. */
  readonly models: ReadonlyMap<string, string>;
  /** How a second device checks every answer; absent: none does. */
  readonly verify?: Verify | undefined;
  readonly tellNeeds?: boolean | undefined;
}

/** At once; a hub keeps no more places for one key. The rest wait their turn. */
const ANSWERS_MAX = 12;

export function createSealingAnswers({
  client,
  random,
  models,
  verify,
  tellNeeds,
}: SealingDeps): Pick<Answers, 'submit'> {
  const waiting: (() => void)[] = [];
  let running = 0;

  async function turn(): Promise<void> {
    if (running >= ANSWERS_MAX) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
  }
  function over(): void {
    running--;
    waiting.shift()?.();
  }

  async function answer(request: AnswerRequest, sink: AnswerSink, signal: AbortSignal): Promise<void> {
    await turn();
    try {
      if (signal.aborted) return;
      const { model, work, text } = request;
      const cid = models.get(model.name);
      const said = { dataClass: text.dataClass === 'public' ? undefined : text.dataClass, cause: text.cause };
      for await (const event of client.answer({ model: model.name, work, cid, verify, tellNeeds, ...said }, { signal }))
        tell(sink, event, work);
    } catch (thrown) {
      if (!signal.aborted) sink.failed(asIdlewildError(thrown, 'answering a sealed prompt'));
    } finally {
      over();
    }
  }

  return {
    async submit(request, sink) {
      const abort = new AbortController();
      void answer(request, sink, abort.signal);
      const cancel = (why: string): void => abort.abort(new IdlewildError('cancelled', why));
      return { request: newId('req', random), cancel };
    },
  };
}

function tell(sink: AnswerSink, event: SealedClientEvent, work: Omit<AnswerWork, 'tokens'>): void {
  switch (event.t) {
    case 'started':
      return sink.started(event.promptTokens);
    case 'token':
      return sink.token(event.i, event.id, event.s, event.calls, event.lp);
    case 'finished':
      return sink.finished(outcomeOf(event, work));
  }
}

/** Its receipt is what its reader can keep: not the device's alone, which says nothing of who vouches for it. */
function outcomeOf(event: VerifiedFinish, { sampling }: Pick<AnswerWork, 'sampling'>): AnswerOutcome {
  const { t: _t, calls, numericClass = '', kept: receipt, proof: _proof, verification, ...finish } = event;
  const result = verification?.result;
  return { ...finish, calls, numericClass, seed: sampling.seed, receipt, verification: result };
}
