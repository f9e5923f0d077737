/** What became of requests, and the audit log, under /api. */
import { hex } from '@idlewild/protocol';
import { z } from 'zod';
import { actorOf } from '../identity/principal.ts';
import type { ApiDeps } from './api-deps.ts';
import { principal, typed, type App } from './server.ts';
import { LISTED_MAX, iso, isoOrNull } from './views.ts';

export const recordRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    const { territory, db, audit } = deps;
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
    typed(app).route({
      method: 'GET',
      url: '/api/audit',
      config: { action: 'readAudit' },
      schema: {
        querystring: z.strictObject({ beforeSeq: z.coerce.number().int().min(1).optional() }),
        summary: 'The audit log, newest first, and whether its chain holds',
        tags: ['hub'],
      },
      handler: async (request) => {
        const { beforeSeq } = request.query;
        const entries = await audit.list({
          territory: territory.id,
          limit: LISTED_MAX,
          ...(beforeSeq === undefined ? {} : { beforeSeq }),
        });
        const verdict = await audit.verify(territory.id);
        return {
          intact: verdict.intact,
          ...(verdict.intact ? {} : { brokenAt: verdict.seq, why: verdict.why }),
          entries: entries.map(({ seq, atMs, actor, action, subject, details, hash }) => ({
            seq,
            at: iso(atMs),
            actor,
            action,
            subject,
            details,
            hash: hex(hash),
          })),
        };
      },
    });
  };
