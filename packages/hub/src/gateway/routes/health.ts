/** What load balancers and Prometheus ask. The first two tell a stranger nothing but yes or no. */
import type { Metrics } from '../metrics.ts';
import { typed, type App } from '../server.ts';

export const healthRoutes =
  (deps: { readonly metrics: Metrics; readonly isReady: () => Promise<boolean> }) =>
  (app: App): void => {
    /** However many strangers ask, the database is asked once at a time. */
    let asking: Promise<boolean> | undefined;
    const isReady = (): Promise<boolean> => (asking ??= deps.isReady().finally(() => (asking = undefined)));
    typed(app).route({
      method: 'GET',
      url: '/healthz',
      config: { action: 'public' },
      schema: { summary: 'The process is alive', tags: ['hub'] },
      handler: async () => ({ ok: true }),
    });
    typed(app).route({
      method: 'GET',
      url: '/readyz',
      config: { action: 'public' },
      schema: { summary: 'The hub takes requests', tags: ['hub'] },
      handler: async (_request, reply) => {
        const ok = await isReady();
        return reply.status(ok ? 200 : 503).send({ ok });
      },
    });
    typed(app).route({
      method: 'GET',
      url: '/metrics',
      config: { action: 'readMetrics' },
      schema: { summary: 'Prometheus metrics', tags: ['hub'] },
      handler: async (_request, reply) =>
        reply.header('content-type', deps.metrics.contentType).send(await deps.metrics.render()),
    });
  };
