/** Vectors and labels of texts: OpenAI's /v1/embeddings and vLLM's /v1/classify. */
import type { Clock } from '@idlewild/protocol';
import type { EmbedOutcome, EmbedRequest, Embeddings } from '../embeddings/embeddings.ts';
import { actorOf } from '../identity/principal.ts';
import type { Models } from '../models/registry.ts';
import {
  classifyAnswer,
  classifyRequestSchema,
  cutOf,
  embeddingsAnswer,
  embeddingsRequestSchema,
  expectKind,
  inputsOf,
} from './openai/embeddings-request.ts';
import { textOf } from './said.ts';
import { principal, typed, type App, type FastifyReply, type FastifyRequest } from './server.ts';

export interface EmbeddingsRoutesDeps {
  readonly embeddings: Pick<Embeddings, 'submit'>;
  readonly models: Pick<Models, 'resolve'>;
  readonly territory: { readonly id: string };
  readonly hub: string;
  readonly clock: Clock;
}

export const embeddingsRoutes =
  ({ embeddings, models, territory, hub, clock }: EmbeddingsRoutesDeps) =>
  (app: App): void => {
    /** A caller that hangs up cancels its request. */
    async function ask(
      request: FastifyRequest,
      reply: FastifyReply,
      order: Pick<EmbedRequest, 'model' | 'kind' | 'inputs'>,
    ): Promise<EmbedOutcome> {
      const abort = new AbortController();
      const onClose = (): void => abort.abort();
      reply.raw.once('close', onClose);
      const key = actorOf(principal(request));
      const text = textOf(request);
      return embeddings
        .submit({ ...order, territory: territory.id, key, text }, abort.signal)
        .finally(() => reply.raw.off('close', onClose));
    }

    typed(app).route({
      method: 'POST',
      url: '/v1/embeddings',
      config: { action: 'answer', resource: 'later' },
      schema: { body: embeddingsRequestSchema, summary: 'Makes vectors of texts', tags: ['answers'] },
      handler: async (request, reply) => {
        const { body } = request;
        const inputs = inputsOf(body.input);
        const { cid, manifest } = await models.resolve(territory.id, body.model);
        expectKind('encoder', body.model, manifest, '/v1/embeddings');
        const cut = cutOf(body, manifest);
        const model = { cid, name: body.model, dimensions: manifest.dimensions ?? 0 };
        const outcome = await ask(request, reply, { model, kind: 'embed', inputs });
        return embeddingsAnswer(body, outcome, cut, hub);
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/v1/classify',
      config: { action: 'answer', resource: 'later' },
      schema: { body: classifyRequestSchema, summary: 'Says which labels fit texts', tags: ['answers'] },
      handler: async (request, reply) => {
        const { body } = request;
        const inputs = inputsOf(body.input);
        const { cid, manifest } = await models.resolve(territory.id, body.model);
        expectKind('classifier', body.model, manifest, '/v1/classify');
        const { labels = [] } = manifest;
        const model = { cid, name: body.model, dimensions: labels.length };
        const outcome = await ask(request, reply, { model, kind: 'classify', inputs });
        const nowMs = request.run?.createdAtMs ?? clock.now();
        const facts = { id: `classify-${request.id}`, model: body.model, labels, nowMs };
        return classifyAnswer(facts, outcome, hub);
      },
    });
  };
