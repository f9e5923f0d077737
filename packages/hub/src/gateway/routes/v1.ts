/**
 * OpenAI's endpoints: /v1/chat/completions, /v1/completions, /v1/responses, /v1/models.
 *
 * A body becomes drafts of work, a draft becomes one order for each choice, and all orders of a request are answered
 * together. What OpenAI stores and this hub does not is refused with the reason.
 */
import { IdlewildError, type Clock, type Random } from '@idlewild/protocol';
import { z } from 'zod';
import type { AnswerRequest, Answers } from '../../answers/port.ts';
import type { AnswerReceipts } from '../../answers/receipts.ts';
import type { ScopeOf } from '../../identity/scope.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Model, Models } from '../../models/registry.ts';
import type { Sessions } from '../../session/port.ts';
import { createSlowReaders } from '../../slow-readers.ts';
import type { Use } from '../../use/use.ts';
import { admit, type AdmitDeps } from '../asking/admit.ts';
import { chatRequestSchema, chatWork, type ChatRequest } from '../openai/chat-request.ts';
import { createChoicesFormat } from '../openai/choices-format.ts';
import {
  completionRequestSchema,
  completionWorks,
  promptsOf,
  type CompletionRequest,
} from '../openai/completion-request.ts';
import { answerStream, answerWhole, type AnswerFormat } from '../openai/deliver.ts';
import { modelResource } from '../openai/model-resource.ts';
import { createResponseFormat } from '../openai/response-format.ts';
import { responseRequestSchema, responseWork } from '../openai/response-request.ts';
import { checkBiases, checkSize, refuse, type WorkDraft } from '../openai/work.ts';
import { sharesOf } from '../asking/spend-hook.ts';
import { typed, type App, type FastifyReply, type FastifyRequest } from '../server.ts';
import { wantedDrafts } from '../asking/wanted.ts';

/** Of whatever answers: a hub, or what seals prompts on their way to one. */
export interface AskDeps extends AdmitDeps {
  readonly answers: Pick<Answers, 'submit'>;
  readonly models: { resolve(territory: string, name: string): Promise<AskedModel> };
  readonly scopeOf: ScopeOf;
  readonly receipts: AnswerReceipts;
  readonly use: Pick<Use, 'judge'>;
  readonly hub: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** As far as a request for text depends on it. */
export interface AskedModel {
  readonly cid: string;
  readonly manifest: Pick<Model['manifest'], 'kind' | 'vocabularyTokens'>;
}

export interface V1Deps extends AskDeps {
  readonly models: Models;
  readonly sessions: Pick<Sessions, 'list'>;
  readonly territory: { readonly id: string; readonly name: string };
}

export const v1Routes =
  (deps: V1Deps) =>
  (app: App): void => {
    askRoutes(deps)(app);
    modelRoutes(app, deps);
    notKeptRoutes(app);
  };

export const askRoutes =
  (deps: AskDeps) =>
  (app: App): void => {
    const ask = createAsk(deps);
    typed(app).route({
      method: 'POST',
      url: '/v1/chat/completions',
      config: { action: 'answer', resource: 'later' },
      schema: { body: chatRequestSchema, summary: 'Answers a conversation', tags: ['answers'] },
      handler: async (request, reply) => {
        const { body } = request;
        const draft = chatWork(body, seedOf(body, request, deps.random));
        return ask(request, reply, body, [draft], choicesFormat(deps, request, body, [draft]));
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/v1/completions',
      config: { action: 'answer', resource: 'later' },
      schema: { body: completionRequestSchema, summary: 'Goes on from a text', tags: ['answers'] },
      handler: async (request, reply) => {
        const { body } = request;
        const drafts = completionWorks(body, seedOf(body, request, deps.random));
        const n = body.n ?? 1;
        const echo = body.echo === true ? promptsOf(body).flatMap((text) => Array<string>(n).fill(text)) : [];
        return ask(request, reply, body, drafts, choicesFormat(deps, request, body, drafts, echo));
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/v1/responses',
      config: { action: 'answer', resource: 'later' },
      schema: { body: responseRequestSchema, summary: 'Answers a conversation, as a response', tags: ['answers'] },
      handler: async (request, reply) => {
        const { body } = request;
        const draft = responseWork(body, seedOf({}, request, deps.random));
        const createdAtMs = request.run?.createdAtMs ?? deps.clock.now();
        const now = (): number => deps.clock.now();
        const context = { requestId: request.id, request: body, hub: deps.hub, createdAtMs, now };
        return ask(request, reply, body, [draft], createResponseFormat(context));
      },
    });
  };

/** Without a seed a request gets one and is told, so that its answer can be asked for again; a run always the same. */
const seedOf = (
  { seed }: { readonly seed?: number | null | undefined },
  { run }: FastifyRequest,
  random: Random,
): number =>
  seed === null || seed === undefined ? (run?.seed ?? Math.floor(random.unit() * 2 ** 31)) : Math.abs(seed);

interface AskedBody {
  readonly model: string;
  readonly n?: number | null | undefined;
  readonly stream?: boolean | null | undefined;
  readonly stream_options?: object | null | undefined;
  readonly prompt_cache_key?: string | null | undefined;
}

type Ask = (
  request: FastifyRequest,
  reply: FastifyReply,
  body: AskedBody,
  drafts: readonly WorkDraft[],
  format: AnswerFormat,
) => Promise<unknown>;

/** From drafts to orders, and on to the caller. */
function createAsk({ receipts, use, answers, models, policy, scopeOf, territory, clock }: AskDeps): Ask {
  const readers = createSlowReaders({
    bytesMax: HUB_LIMITS.callerBufferedBytesMax,
    allBytesMax: HUB_LIMITS.callersBufferedBytesMax,
    usualBytes: HUB_LIMITS.usuallyBufferedBytes,
  });
  async function ordersOf(
    request: FastifyRequest,
    reply: FastifyReply,
    body: AskedBody,
    drafts: readonly WorkDraft[],
  ): Promise<AnswerRequest[]> {
    const { cid, manifest } = await models.resolve(territory.id, body.model);
    if (manifest.kind !== 'decoder')
      throw refuse('model', `"${body.model}" is of kind "${manifest.kind}" and makes no text; see /v1/models`);
    const asked = await admit({ policy, territory }, request, cid);
    const named = { model: body.model, text: asked.text, permit: asked.permit };
    const wanted = await wantedDrafts({ use }, request, reply, named, drafts);
    const scope = await scopeOf(asked.key, body.prompt_cache_key ?? undefined);
    const model = { cid, name: body.model };
    const shares = sharesOf(request, drafts.length);
    return wanted.flatMap((draft) => {
      checkSize(draft);
      checkBiases(draft, manifest.vocabularyTokens);
      const spend = shares?.ofPrompt();
      return Array.from({ length: body.n ?? 1 }, (_, choice) => ({
        ...asked,
        territory: territory.id,
        model,
        work: { ...(shares === undefined ? draft : atMost(draft, shares.tokensMax)), choice, scope },
        spend,
      }));
    });
  }
  return async (request, reply, body, drafts, format) => {
    const isStream = body.stream === true;
    if (!isStream && body.stream_options !== undefined && body.stream_options !== null)
      throw refuse('stream_options', 'is only allowed with "stream": true');
    const orders = await ordersOf(request, reply, body, drafts);
    const delivery = { clock, answers, orders, format, request, reply, readers, receipts };
    if (!isStream) return answerWhole(delivery);
    await answerStream(delivery);
    return reply;
  };
}

const atMost = (draft: WorkDraft, tokens: number): WorkDraft => ({
  ...draft,
  tokensMax: Math.min(draft.tokensMax ?? tokens, tokens),
});

function choicesFormat(
  { hub, clock }: AskDeps,
  request: FastifyRequest,
  body: ChatRequest | CompletionRequest,
  drafts: readonly WorkDraft[],
  echo: readonly string[] = [],
): AnswerFormat {
  const n = body.n ?? 1;
  const first = drafts[0];
  const tools = first?.prompt.kind === 'chat' ? first.prompt.tools : undefined;
  return createChoicesFormat({
    kind: 'messages' in body ? 'chat' : 'completion',
    requestId: request.id,
    model: body.model,
    hub,
    nowMs: request.run?.createdAtMs ?? clock.now(),
    includeUsage: body.stream_options?.include_usage === true,
    n,
    choices: n * drafts.length,
    wantsLogprobs: first?.logprobs !== undefined,
    mayCall: tools !== undefined && first?.toolChoice !== 'none',
    echo,
  });
}

function modelRoutes(app: App, { models, sessions, territory }: V1Deps): void {
  const resourceOf = (model: Model): object => modelResource(model, territory, [...sessions.list()]);
  typed(app).route({
    method: 'GET',
    url: '/v1/models',
    config: { action: 'listModels' },
    schema: { summary: 'The models of the territory', tags: ['answers'] },
    handler: async () => ({ object: 'list', data: (await models.list(territory.id)).map(resourceOf) }),
  });
  const params = z.object({ name: z.string() });
  typed(app).route({
    method: 'GET',
    url: '/v1/models/:name',
    config: { action: 'listModels' },
    schema: { params, summary: 'One model', tags: ['answers'] },
    handler: async (request) => resourceOf(await models.show(territory.id, request.params.name)),
  });
  typed(app).route({
    method: 'DELETE',
    url: '/v1/models/:name',
    config: { action: 'listModels' },
    schema: { params, summary: 'Refused: see DELETE /api/models/{name}', tags: ['answers'] },
    handler: async (request) => {
      throw new IdlewildError(
        'not_found',
        `models are not deleted here; a steward removes one with DELETE /api/models/${request.params.name}`,
      );
    },
  });
}

/** What OpenAI keeps after an answer is given. Whoever asks for it learns why there is none. */
const NOT_KEPT: readonly (readonly ['GET' | 'POST' | 'DELETE', string])[] = [
  ['GET', '/v1/responses/:id'],
  ['DELETE', '/v1/responses/:id'],
  ['POST', '/v1/responses/:id/cancel'],
  ['GET', '/v1/responses/:id/input_items'],
  ['GET', '/v1/chat/completions'],
  ['GET', '/v1/chat/completions/:id'],
  ['POST', '/v1/chat/completions/:id'],
  ['DELETE', '/v1/chat/completions/:id'],
  ['GET', '/v1/chat/completions/:id/messages'],
];

function notKeptRoutes(app: App): void {
  for (const [method, url] of NOT_KEPT) {
    typed(app).route({
      method,
      url,
      config: { action: 'answer', resource: 'later' },
      schema: { summary: 'Refused: answers are not kept', tags: ['answers'] },
      handler: async () => {
        throw new IdlewildError(
          'not_found',
          'this hub keeps no answer that was given, so there is none to get, change, cancel or delete; ' +
            'keep what you need, and hang up to cancel',
        );
      },
    });
  }
}
