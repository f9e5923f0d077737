/** Vectors and labels of texts: OpenAI's /v1/embeddings and vLLM's /v1/classify. */
import type { Clock } from '@idlewild/protocol';
import type { EmbedOutcome, EmbedRequest, Embeddings } from '../../embeddings/port.ts';
import type { Models } from '../../models/registry.ts';
import { admit, type AdmitDeps } from '../asking/admit.ts';
import {
  classifyAnswer,
  classifyRequestSchema,
  cutOf,
  embeddingsAnswer,
  embeddingsRequestSchema,
  expectKind,
  inputsOf,
} from '../openai/embeddings-request.ts';
import { typed, type App, type FastifyReply, type FastifyRequest } from '../server.ts';
import { judgeText, type WantedDeps } from '../asking/wanted.ts';

export interface EmbeddingsRoutesDeps extends AdmitDeps, WantedDeps {
  readonly embeddings: Pick<Embeddings, 'submit'>;
  readonly models: Pick<Models, 'resolve'>;
  readonly territory: { readonly id: string };
  readonly hub: string;
  readonly clock: Clock;
}

export const embeddingsRoutes =
  ({ embeddings, models, policy, use, territory, hub, clock }: EmbeddingsRoutesDeps) =>
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
      const admitted = await admit({ policy, territory }, request, order.model.cid);
      const { text, permit } = admitted;
      await judgeText({ use }, request, reply, { model: order.model.name, text, permit, texts: order.inputs });
      return embeddings
        .submit({ ...order, ...admitted, territory: territory.id, hold: request.hold?.id }, abort.signal)
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
