/** What may be spent, by whom, and what was, under /api: caps, the daily floor, what is left, showback. */
import { IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import { dayNumber, dayText } from '../../callers/usage.ts';
import type { Database } from '../../db/schema.ts';
import { CAP_KINDS } from '../../db/schema/projects.ts';
import { actorOf } from '../../identity/principal.ts';
import type { Policy } from '../../policy/port.ts';
import { PROJECT_LIMITS } from '../../projects/limits.ts';
import { unknownProject, type Projects } from '../../projects/projects.ts';
import type { Caps, SpendRules } from '../../projects/rules.ts';
import { readShowback, SHOWBACK_BY } from '../../projects/showback.ts';
import type { SpendLevel, Spending } from '../../projects/spending.ts';
import { principal, typed, type App } from '../server.ts';
import { callerOf } from '../asking/spend-hook.ts';
import { iso } from './views.ts';

export interface SpendingRoutesDeps {
  readonly territory: { readonly id: string };
  readonly db: Database;
  readonly projects: Pick<Projects, 'get' | 'of'>;
  readonly spendRules: SpendRules;
  readonly spending: Pick<Spending, 'standing'>;
  readonly policy: Pick<Policy, 'allows'>;
  readonly nowMs: () => number;
}

const tags = ['spending'];
const DAY_MS = 86_400_000;
const DAYS_SHOWN = 30;
const HOUR_MS = 3_600_000;

export const spendingRoutes =
  (deps: SpendingRoutesDeps) =>
  (app: App): void => {
    leftRoute(app, deps);
    capRoutes(app, deps);
    showbackRoute(app, deps);
  };

const levelView = ({ kind, subject, tokens, requests }: SpendLevel): object => ({
  kind,
  subject,
  tokens: tokens === undefined ? null : { ...tokens, left: Math.max(0, tokens.most - tokens.spent - tokens.held) },
  requests: requests === undefined ? null : { ...requests, left: Math.max(0, requests.most - requests.spent) },
});

function leftRoute(app: App, { spending }: SpendingRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/spending',
    config: { action: 'readOwnUsage' },
    schema: { summary: 'What bounds the asker today, and what is left', tags },
    handler: async (request) => {
      const caller = callerOf(principal(request));
      if (caller === undefined) throw new IdlewildError('forbidden', 'a device spends nothing');
      const { levels, renewsAtMs } = await spending.standing(caller);
      return { levels: levels.map(levelView), renewsAt: iso(renewsAtMs) };
    },
  });
}

const cap = z.union([z.int().min(1).max(PROJECT_LIMITS.tokensMax), z.literal('none')]).optional();
const capsView = ({ tokensPerDay, requestsPerDay, tokensPerMinute, requestsPerMinute }: Caps): object => ({
  tokensPerDay: tokensPerDay ?? null,
  requestsPerDay: requestsPerDay ?? null,
  tokensPerMinute: tokensPerMinute ?? null,
  requestsPerMinute: requestsPerMinute ?? null,
});

/** No person's id: a cap of each who has none of her own. */
const EVERYBODY = 'everybody';
const shown = (kind: string, subject: string): string => (kind === 'person' && subject === '' ? EVERYBODY : subject);

function capRoutes(app: App, { territory, spendRules, projects }: SpendingRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/caps',
    config: { action: 'readShowback' },
    schema: { summary: 'The daily floor, whether work needs an allocation, and all caps', tags },
    handler: async () => {
      const caps = await spendRules.caps();
      return {
        settings: await spendRules.settings(),
        caps: caps.map(({ kind, subject, ...rest }) => ({ kind, subject: shown(kind, subject), ...capsView(rest) })),
      };
    },
  });
  typed(app).route({
    method: 'PATCH',
    url: '/api/caps',
    config: { action: 'capSpending' },
    schema: {
      body: z.strictObject({
        kind: z.enum(CAP_KINDS),
        subject: z
          .string()
          .max(64)
          .optional()
          .describe(
            'Id of the key or person, id or name of the project; of a person also "everybody": who has no own.',
          ),
        tokensPerDay: cap,
        requestsPerDay: cap,
        tokensPerMinute: cap,
        requestsPerMinute: cap,
      }),
      summary: 'Caps the territory, a project, a key or a person; a cap that is not named stays',
      tags,
    },
    handler: async (request) => {
      const { kind, subject: named = '', ...caps } = request.body;
      check(kind, named, caps);
      const isAll = kind === 'person' && named === EVERYBODY;
      const subject = kind === 'project' ? (await projects.get(named)).id : isAll ? '' : named;
      const now = await spendRules.setCaps({ kind, subject, caps, actor: actorOf(principal(request)) });
      return { kind, subject: kind === 'territory' ? territory.id : shown(kind, subject), ...capsView(now) };
    },
  });
  typed(app).route({
    method: 'PATCH',
    url: '/api/caps/settings',
    config: { action: 'capSpending' },
    schema: {
      body: z.strictObject({
        allocations: z.enum(['optional', 'required']).optional(),
        floorTokens: z.int().min(0).max(PROJECT_LIMITS.tokensMax).optional(),
        floorRequests: z.int().min(0).max(PROJECT_LIMITS.tokensMax).optional(),
      }),
      summary: 'Changes the daily floor, and whether work needs an allocation',
      tags,
    },
    handler: async (request) => {
      const given = Object.entries(request.body).filter(([, value]) => value !== undefined);
      return spendRules.change(actorOf(principal(request)), Object.fromEntries(given));
    },
  });
}

type CapBody = { readonly [Name in keyof Caps]?: number | 'none' | undefined };

function check(kind: (typeof CAP_KINDS)[number], subject: string, caps: CapBody): void {
  const refuse = (param: string, why: string): IdlewildError =>
    new IdlewildError('invalid_request', `"${param}" ${why}`, { details: { param } });
  if ((kind === 'territory') !== (subject === ''))
    throw refuse('subject', kind === 'territory' ? 'is not named for the territory' : `must name the ${kind}`);
  if (Object.values(caps).every((value) => value === undefined))
    throw refuse('tokensPerDay', 'or another cap is needed');
  if (kind === 'person') return;
  const minute = (['tokensPerMinute', 'requestsPerMinute'] as const).find((name) => caps[name] !== undefined);
  if (minute === undefined) return;
  throw refuse(minute, kind === 'key' ? 'of a key is set by PATCH /api/keys/{id}' : 'is for people');
}

const day = z.iso.date().describe('A day in UTC, such as 2027-01-31.');

function showbackRoute(app: App, { territory, db, projects, policy, nowMs }: SpendingRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/showback',
    config: { action: 'readOwnUsage' },
    schema: {
      querystring: z.strictObject({
        from: day.optional(),
        to: day.optional(),
        by: z.enum(SHOWBACK_BY).optional(),
        project: z.string().max(64).optional().describe('Id or name.'),
      }),
      summary: 'What was used, by project unless said: the asker sees her own and her projects, stewards everything',
      tags,
    },
    handler: async (request) => {
      const asker = principal(request);
      const { by = 'project', project } = request.query;
      const to = request.query.to ?? dayText(nowMs());
      const from = request.query.from ?? dayText(Date.parse(to) - (DAYS_SHOWN - 1) * DAY_MS);
      if (from > to) throw wrong(`"from": ${from} is after ${to}`);
      if (by === 'device' && dayNumber(to) - dayNumber(from) >= PROJECT_LIMITS.deviceDaysMax)
        throw wrong(`"from": by device at most ${PROJECT_LIMITS.deviceDaysMax} days are shown at once`);
      const seesAll = await policy.allows(asker, 'readShowback', { territory: territory.id });
      const own = seesAll ? undefined : [...(await projects.of(asker))];
      const asked = project === undefined ? undefined : (await projects.get(project)).id;
      if (asked !== undefined && own?.includes(asked) === false) throw unknownProject(project ?? '');
      const caller = callerOf(asker);
      const rows = await readShowback(db, {
        territory: territory.id,
        by,
        from,
        to,
        project: asked,
        ...(own === undefined ? {} : { only: { projects: own, person: caller?.person, key: caller?.keyId } }),
      });
      return rows.map(({ deviceMs, ...row }) => ({ ...row, deviceHours: deviceMs / HOUR_MS }));
    },
  });
}

const wrong = (message: string): IdlewildError =>
  new IdlewildError('invalid_request', message, { details: { param: 'from' } });
