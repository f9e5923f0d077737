/** Rules of use and appeals against what they refused, under /api. Everybody may read the rules. */
import { IdlewildError, useRulesSchema } from '@idlewild/protocol';
import { z } from 'zod';
import { APPEAL_STATES } from '../../db/schema/use.ts';
import { actorOf } from '../../identity/principal.ts';
import type { Models } from '../../models/registry.ts';
import type { Groups } from '../../people/groups.ts';
import { OWN_LEAVE } from '../../policy/permit.ts';
import type { Policy } from '../../policy/port.ts';
import type { Appeal, Appeals } from '../../use/appeals.ts';
import { USE_LIMITS } from '../../use/limits.ts';
import type { RulesVersion, Use } from '../../use/use.ts';
import { textOf } from '../asking/said.ts';
import { principal, typed, type App, type FastifyRequest } from '../server.ts';
import { idParams, iso, isoOrNull } from './views.ts';

export interface UseRoutesDeps {
  readonly territory: { readonly id: string };
  readonly use: Use;
  readonly appeals: Appeals;
  readonly policy: Pick<Policy, 'allows'>;
  readonly models: Pick<Models, 'resolve'>;
  readonly people: { readonly groups: Pick<Groups, 'list'> };
}

const DAY_SECONDS = 86_400;
const EXEMPT_SECONDS_MAX = 3_650 * DAY_SECONDS;
const words = z.string().max(USE_LIMITS.wordsCharactersMax);

export const useRoutes =
  (deps: UseRoutesDeps) =>
  (app: App): void => {
    ruleRoutes(app, deps);
    appealRoutes(app, deps);
    decideRoute(app, deps);
  };

const versionView = ({ version, rules, createdBy, createdAtMs, signed }: RulesVersion): object => ({
  version,
  rules,
  createdBy: createdBy ?? null,
  createdAt: isoOrNull(createdAtMs),
  signed: signed ?? null,
});

function ruleRoutes(app: App, deps: UseRoutesDeps): void {
  const { use } = deps;
  typed(app).route({
    method: 'GET',
    url: '/api/use',
    config: { action: 'readUse' },
    schema: { summary: 'The rules of use that hold', tags: ['use'] },
    handler: async () => {
      const [current, { state, untilMs }] = await Promise.all([use.current(), use.signature()]);
      // What a removed key signed is shown no more.
      const signed = state === 'removed' ? null : (current.signed ?? null);
      return { ...versionView(current), signed, signature: state, signedUntil: isoOrNull(untilMs) };
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/use/history',
    config: { action: 'readUse' },
    schema: { summary: 'Versions of the rules of use, newest first', tags: ['use'] },
    handler: async () => (await use.history()).map(versionView),
  });
  typed(app).route({
    method: 'PUT',
    url: '/api/use',
    config: { action: 'changeUse' },
    schema: {
      body: z.strictObject({
        rules: useRulesSchema,
        /** The version that the change was made of; another one by now is not overwritten. */
        after: z.int().min(0).optional(),
        /** A steward's statement of them, as of the version that they will be; encrypted prompts take it. */
        signed: z.base64url().max(USE_LIMITS.signedCharactersMax).optional(),
      }),
      summary: 'Changes the rules of use; from now on, on every replica',
      tags: ['use'],
    },
    handler: async (request) => {
      const { rules, after, signed } = request.body;
      const actor = actorOf(principal(request));
      return { version: await use.apply({ rules, actor, signed, ...(after === undefined ? {} : { after }) }) };
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/use/try',
    config: { action: 'changeUse' },
    schema: {
      body: z.strictObject({
        model: z.string().max(128),
        text: z.string().default(''),
        purpose: z.string().max(64).optional(),
        groups: z.array(z.string().max(64)).max(64).default([]),
        keys: z.array(z.string().max(64)).max(64).default([]).describe('As profiles name them.'),
        sealed: z.boolean().default(false),
      }),
      summary: 'What the rules of use would say to a request, without a record',
      tags: ['use'],
    },
    handler: async (request, reply) => {
      const { model, text, purpose, groups, keys, sealed } = request.body;
      await requireNames(deps, model, groups);
      await requireKeys(deps, keys);
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      const asked = {
        model,
        texts: sealed ? [] : [text],
        isSealed: sealed,
        // An example of whoever looks after the rules: it may be read wherever a text of its class may.
        permit: OWN_LEAVE,
        text: { ...textOf(request), cause: purpose },
      };
      const fault = await use.tryOut(principal(request), asked, { groups, keys }, gone.signal);
      return { isRefused: fault !== undefined, reason: fault?.reason ?? null, why: fault?.why ?? null };
    },
  });
}

/** A name that nothing has would be let by, whatever the rules say. Throws `model_not_found`, `not_found`. */
async function requireNames(
  { territory, models, people }: UseRoutesDeps,
  model: string,
  groups: readonly string[],
): Promise<void> {
  await models.resolve(territory.id, model);
  if (groups.length === 0) return;
  const known = new Set((await people.groups.list(territory.id)).map(({ name }) => name));
  const unknown = groups.find((name) => !known.has(name));
  if (unknown === undefined) return;
  throw new IdlewildError('not_found', `there is no group "${unknown}" here; idlewild groups list shows them`);
}

/** The same of keys: one that no profile names is as if none were said. Throws `not_found`. */
async function requireKeys({ use }: UseRoutesDeps, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  const { profiles = [] } = (await use.current()).rules;
  const named = profiles.flatMap((profile) => profile.keys ?? []);
  const unknown = keys.find((key) => !named.includes(key));
  if (unknown === undefined) return;
  throw new IdlewildError('not_found', `no profile names a key "${unknown}"; idlewild use show --json shows them`);
}

const appealView = (appeal: Appeal): object => ({
  id: appeal.id,
  refusal: appeal.refusal,
  actor: appeal.actor,
  reason: appeal.reason,
  model: appeal.model,
  refusedAt: iso(appeal.refusedAtMs),
  words: appeal.words,
  state: appeal.state,
  createdAt: iso(appeal.createdAtMs),
  dueAt: iso(appeal.dueAtMs),
  decidedBy: appeal.decidedBy,
  decidedAt: isoOrNull(appeal.decidedAtMs),
  note: appeal.note,
});

function appealRoutes(app: App, { territory, appeals, policy }: UseRoutesDeps): void {
  /** Who decides on appeals sees all, everybody else their own. */
  const ownOnly = async (request: FastifyRequest) => {
    const asker = principal(request);
    return (await policy.allows(asker, 'decideAppeals', { territory: territory.id })) ? undefined : asker;
  };
  typed(app).route({
    method: 'GET',
    url: '/api/appeals',
    config: { action: 'appeal' },
    schema: {
      querystring: z.strictObject({ state: z.enum(APPEAL_STATES).optional() }),
      summary: 'Appeals: their own for callers, all for those who decide',
      tags: ['use'],
    },
    handler: async (request) => {
      const listed = await appeals.list({ state: request.query.state, of: await ownOnly(request) });
      return listed.map(appealView);
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/appeals/:id',
    config: { action: 'appeal' },
    schema: { params: idParams, summary: 'One appeal', tags: ['use'] },
    handler: async (request) => appealView(await appeals.show(request.params.id, await ownOnly(request))),
  });
  typed(app).route({
    method: 'POST',
    url: '/api/appeals',
    config: { action: 'appeal' },
    schema: {
      body: z.strictObject({ refusal: z.string().max(64), words: words.min(1) }),
      summary: "Asks a person to look at a refusal by the community's rules of use",
      tags: ['use'],
    },
    handler: async (request, reply) =>
      reply.status(201).send(appealView(await appeals.file(principal(request), request.body))),
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/appeals/:id',
    config: { action: 'appeal' },
    schema: { params: idParams, summary: "Withdraws one's own appeal", tags: ['use'] },
    handler: async (request, reply) => {
      await appeals.withdraw(principal(request), request.params.id);
      return reply.status(204).send();
    },
  });
}

function decideRoute(app: App, { appeals }: UseRoutesDeps): void {
  typed(app).route({
    method: 'POST',
    url: '/api/appeals/:id/decision',
    config: { action: 'decideAppeals' },
    schema: {
      params: idParams,
      body: z.strictObject({
        state: z.enum(['upheld', 'reversed']),
        note: words.optional(),
        exemptSeconds: z.int().min(1).max(EXEMPT_SECONDS_MAX).optional(),
      }),
      summary: 'Decides on an appeal; a reversal lifts that rule for the one who appealed',
      tags: ['use'],
    },
    handler: async (request) => {
      const { state, note, exemptSeconds } = request.body;
      if (state === 'upheld' && exemptSeconds !== undefined) {
        const details = { param: 'exemptSeconds' };
        throw new IdlewildError('invalid_request', '"exemptSeconds" is of a reversal', { details });
      }
      const exemptMs = exemptSeconds === undefined ? undefined : exemptSeconds * 1_000;
      return appealView(await appeals.decide(principal(request), request.params.id, { state, note, exemptMs }));
    },
  });
}
