/** What became of requests, under /api. */
import { actorOf } from '../../identity/principal.ts';
import type { ApiDeps } from '../api-deps.ts';
import { principal, typed, type App } from '../server.ts';
import { LISTED_MAX, iso, isoOrNull } from './views.ts';

export const recordRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    const { territory, db } = deps;
    typed(app).route({
      method: 'GET',
      url: '/api/requests',
      config: { action: 'readOwnRequests' },
      schema: { summary: "What became of this key's latest requests; never their text", tags: ['answers'] },
      handler: async (request) => {
        const rows = await db
          .selectFrom('requests')
          .selectAll()
          .where('territory_id', '=', territory.id)
          .where('key_id', '=', actorOf(principal(request)))
          .orderBy('created_at_ms', 'desc')
          .limit(LISTED_MAX)
          .execute();
        return rows.map((row) => ({
          id: row.id,
          model: row.model_cid,
          state: row.state,
          reason: row.reason,
          createdAt: iso(row.created_at_ms),
          finishedAt: isoOrNull(row.finished_at_ms),
          promptTokens: row.prompt_tokens,
          answerTokens: row.answer_tokens,
          failovers: row.failovers,
          exact: row.exact === 1,
        }));
      },
    });
  };
