/** OpenAI's endpoints: /v1/chat/completions, /v1/completions, /v1/models. */
import { IdlewildError, LIMITS, type Clock, type Prompt, type Random } from '@idlewild/protocol';
import { z } from 'zod';
import type { Answers } from '../answers/answers.ts';
import { actorOf } from '../identity/principal.ts';
import type { Models } from '../models/registry.ts';
import {
  CHAT,
  COMPLETION,
  chatPrompt,
  chatRequestSchema,
  completionRequestSchema,
  workOf,
  type ChatRequest,
  type CompletionRequest,
  type Shape,
} from './openai.ts';
import { principal, typed, type App, type FastifyReply, type FastifyRequest } from './server.ts';
import { answerStream, answerWhole } from './stream.ts';

export interface V1Deps {
  readonly answers: Answers;
  readonly models: Models;
  readonly territory: { readonly id: string; readonly name: string };
  readonly hub: string;
  readonly clock: Clock;
  readonly random: Random;
}

export const v1Routes =
  (deps: V1Deps) =>
  (app: App): void => {
    const { answers, models, territory, clock, random } = deps;

    async function answer(
      request: FastifyRequest,
      reply: FastifyReply,
      body: ChatRequest | CompletionRequest,
      prompt: Prompt,
      shape: Shape,
    ): Promise<unknown> {
      const promptBytes = Buffer.byteLength(
        prompt.kind === 'text' ? prompt.text : prompt.messages.map((message) => message.content).join(''),
      );
      if (promptBytes > LIMITS.promptBytesMax) {
        throw new IdlewildError(
          'body_too_large',
          `the prompt of ${promptBytes} bytes is over the limit of ${LIMITS.promptBytesMax}`,
        );
      }
      const model = await models.resolve(territory.id, body.model);
      const context = {
        answers,
        hub: deps.hub,
        nowMs: clock.now(),
        id: `${shape.idPrefix}${request.id}`,
        model: body.model,
        shape,
        includeUsage: body.stream_options?.include_usage === true,
      };
      const order = {
        territory: territory.id,
        key: actorOf(principal(request)),
        model: { cid: model.cid, name: body.model },
        work: workOf(body, prompt, random),
      };
      if (body.stream === true) {
        await answerStream(context, order, reply);
        return reply;
      }
      if (body.stream_options !== undefined && body.stream_options !== null) {
        throw new IdlewildError('invalid_request', '"stream_options" is only allowed with "stream": true', {
          details: { param: 'stream_options' },
        });
      }
      return answerWhole(context, order, request);
    }

    typed(app).route({
      method: 'POST',
      url: '/v1/chat/completions',
      config: { action: 'answer' },
      schema: { body: chatRequestSchema, summary: 'Answers a conversation', tags: ['answers'] },
      handler: async (request, reply) => answer(request, reply, request.body, chatPrompt(request.body), CHAT),
    });
    typed(app).route({
      method: 'POST',
      url: '/v1/completions',
      config: { action: 'answer' },
      schema: { body: completionRequestSchema, summary: 'Goes on from a text', tags: ['answers'] },
      handler: async (request, reply) =>
        answer(request, reply, request.body, { kind: 'text', text: request.body.prompt }, COMPLETION),
    });

    const asOpenAi = (model: { name: string; addedAtMs: number }): object => ({
      id: model.name,
      object: 'model',
      created: Math.floor(model.addedAtMs / 1000),
      owned_by: territory.name,
    });
    typed(app).route({
      method: 'GET',
      url: '/v1/models',
      config: { action: 'listModels' },
      schema: { summary: 'The models of the territory', tags: ['answers'] },
      handler: async () => ({ object: 'list', data: (await models.list(territory.id)).map(asOpenAi) }),
    });
    typed(app).route({
      method: 'GET',
      url: '/v1/models/:name',
      config: { action: 'listModels' },
      schema: { params: z.object({ name: z.string() }), summary: 'One model', tags: ['answers'] },
      handler: async (request) => asOpenAi(await models.show(territory.id, request.params.name)),
    });
  };
