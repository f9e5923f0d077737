/** Limits of keys and what they used, under /api: a caller sees its own usage, a steward everybody's. */
import { IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import { dayText, readUsage } from '../../callers/usage.ts';
import type { Database } from '../../db/schema.ts';
import type { KeyFacts, Keys } from '../../identity/keys.ts';
import { actorOf, type KeyLimits } from '../../identity/principal.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Models } from '../../models/registry.ts';
import type { Policy } from '../../policy/port.ts';
import { onId } from './resources.ts';
import { principal, typed, type App } from '../server.ts';

export interface CallerRoutesDeps {
  readonly territory: { readonly id: string };
  readonly db: Database;
  readonly keys: Keys;
  readonly models: Pick<Models, 'resolve'>;
  readonly policy: Pick<Policy, 'check' | 'allows'>;
  readonly nowMs: () => number;
}

const DAY_MS = 86_400_000;
/** Without `from`: the last thirty days. */
const DAYS_SHOWN = 30;
/** A limit above this is none: a token a microsecond. */
const PER_MINUTE_MAX = 60_000_000;

const perMinute = z.int().min(1).max(PER_MINUTE_MAX);
/** As a key is made. */
export const keyLimitsSchema = {
  requestsPerMinute: z.union([perMinute, z.literal('none')]).optional(),
  tokensPerMinute: z.union([perMinute, z.literal('none')]).optional(),
};
const limitChange = z.union([perMinute, z.enum(['none', 'default'])]).optional();
const day = z.iso.date().describe('A day in UTC, such as 2027-01-31.');

/** How a key's limits are told: `null` is what holds for every key of the territory. */
export const limitsView = ({ requestsPerMinute, tokensPerMinute }: KeyLimits): object => ({
  requestsPerMinute: requestsPerMinute ?? null,
  tokensPerMinute: tokensPerMinute ?? null,
});

export const callerRoutes =
  (deps: CallerRoutesDeps) =>
  (app: App): void => {
    const { territory, db, keys, models, policy } = deps;
    typed(app).route({
      method: 'PATCH',
      url: '/api/keys/:id',
      config: { action: 'limitKey', resource: onId },
      schema: {
        params: z.object({ id: z.string().max(64) }),
        body: z
          .strictObject({ requestsPerMinute: limitChange, tokensPerMinute: limitChange })
          .refine((body) => Object.keys(body).length > 0, 'names no limit'),
        summary: 'Limits a key; a limit that is not named stays',
        tags: ['keys'],
      },
      handler: async (request) => {
        const actor = actorOf(principal(request));
        const order = { ...request.body, territory: territory.id, id: request.params.id, actor };
        const facts: KeyFacts = await keys.limit(order);
        return { id: facts.id, name: facts.name, ...limitsView(facts) };
      },
    });
    typed(app).route({
      method: 'GET',
      url: '/api/usage',
      config: { action: 'readOwnUsage' },
      schema: {
        querystring: z.strictObject({
          from: day.optional(),
          to: day.optional(),
          key: z.string().max(64).optional(),
          model: z.string().max(128).optional(),
        }),
        summary: 'What keys used, by day and model: their own for callers, all for stewards',
        tags: ['keys'],
      },
      handler: async (request) => {
        const asker = principal(request);
        const { model } = request.query;
        const own = actorOf(asker);
        const seesAll = await policy.allows(asker, 'readUsage', { territory: territory.id });
        const key = request.query.key ?? (seesAll ? undefined : own);
        if (key !== own) await policy.check(asker, 'readUsage', { territory: territory.id });
        const to = request.query.to ?? dayText(deps.nowMs());
        const from = request.query.from ?? dayText(Date.parse(to) - (DAYS_SHOWN - 1) * DAY_MS);
        if (from > to) {
          throw new IdlewildError('invalid_request', `"from": ${from} is after ${to}`, { details: { param: 'from' } });
        }
        const cid = model === undefined ? undefined : (await models.resolve(territory.id, model)).cid;
        const query = { territory: territory.id, key, model: cid, from, to };
        const rows = await readUsage(db, query, HUB_LIMITS.usageRowsMax);
        return rows.map(({ model: modelCid, modelName, ...row }) => ({ ...row, model: modelName ?? modelCid }));
      },
    });
  };
