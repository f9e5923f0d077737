/** Policies of a territory, why a decision falls as it does, and models that are stopped, under /api. */
import { codeOf, type Clock } from '@idlewild/protocol';
import { z } from 'zod';
import { actorOf } from '../../identity/principal.ts';
import type { Models } from '../../models/registry.ts';
import {
  askedFields,
  policyCasesSchema,
  questionOf,
  runCases,
  standingIn,
  type CaseDirectory,
} from '../../policy/cases.ts';
import { loadCedar, SCHEMA } from '../../policy/cedar.ts';
import type { Change, PolicyDesk } from '../../policy/desk.ts';
import { POLICY_LIMITS } from '../../policy/limits.ts';
import type { TerritoryPolicy } from '../../policy/policy.ts';
import { onModelOf } from './resources.ts';
import { principal, typed, type App } from '../server.ts';
import { iso, nameParams } from './views.ts';

export interface PolicyRoutesDeps {
  readonly territory: { readonly id: string };
  readonly policy: TerritoryPolicy;
  readonly policyDesk: PolicyDesk;
  readonly models: Pick<Models, 'resolve' | 'show'>;
  readonly clock: Pick<Clock, 'now' | 'after'>;
}

const why = z.string().max(POLICY_LIMITS.whyCharactersMax);
const texts = z
  .array(z.strictObject({ name: z.string().min(1).max(64), text: z.string().max(POLICY_LIMITS.textBytesMax) }))
  .min(1)
  .max(POLICY_LIMITS.textsMax);

export const policyRoutes =
  (deps: PolicyRoutesDeps) =>
  (app: App): void => {
    readRoutes(app, deps);
    changeRoutes(app, deps);
    askRoutes(app, deps);
    stopRoutes(app, deps);
  };

const changeView = ({ changed, cells, circumstantial }: Change): object => ({
  changed,
  changes: cells,
  circumstantial,
});

function readRoutes(app: App, { policy, policyDesk }: PolicyRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/policy',
    config: { action: 'readPolicy' },
    schema: {
      summary: 'Everything that holds: what is built in, roles, and policies of the territory',
      tags: ['policy'],
    },
    handler: async () => {
      const { rules } = await policy.state();
      const cedar = await loadCedar();
      const textOf = (json: Parameters<typeof cedar.policyToText>[0]): string => {
        const answer = cedar.policyToText(json);
        return answer.type === 'success' ? answer.text : '';
      };
      const own = await policyDesk.list();
      return {
        version: rules.version,
        schema: SCHEMA,
        policies: [...rules.policies].map(([id, json]) => ({ id, text: textOf(json) })),
        own: own.map(({ changedAtMs, ...each }) => ({ ...each, changedAt: iso(changedAtMs) })),
      };
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/policy/:name/history',
    config: { action: 'readPolicy' },
    schema: { params: nameParams, summary: 'Every state that a policy was in, newest first', tags: ['policy'] },
    handler: async (request) => {
      const states = await policyDesk.history(request.params.name);
      return states.map(({ changedAtMs, text, ...each }) => ({
        ...each,
        text: text ?? null,
        changedAt: iso(changedAtMs),
      }));
    },
  });
}

function changeRoutes(app: App, { policyDesk }: PolicyRoutesDeps): void {
  typed(app).route({
    method: 'PUT',
    url: '/api/policy',
    config: { action: 'changePolicy' },
    schema: {
      body: z.strictObject({ policies: texts, why: why.default(''), dryRun: z.boolean().optional() }),
      summary: 'Changes policies of the territory, all or none; says what roles may that they might not, or no more',
      tags: ['policy'],
    },
    handler: async (request) => {
      const { policies, why: reason, dryRun } = request.body;
      if (dryRun === true) return changeView(await policyDesk.preview(policies));
      return changeView(await policyDesk.apply(policies, { actor: actorOf(principal(request)), why: reason }));
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/policy/:name',
    config: { action: 'changePolicy' },
    schema: {
      params: nameParams,
      querystring: z.strictObject({ why: why.default('') }),
      summary: 'Takes a policy of the territory away; what it said stays in its history',
      tags: ['policy'],
    },
    handler: async (request) => {
      const act = { actor: actorOf(principal(request)), why: request.query.why };
      return changeView(await policyDesk.remove(request.params.name, act));
    },
  });
}

function askRoutes(app: App, deps: PolicyRoutesDeps): void {
  const { territory, policy, policyDesk, clock } = deps;
  const directory: CaseDirectory = {
    standingOf: (id) => policy.directory.standingOfId(id),
    modelOf: modelOf(deps),
    tell: (standing, question, state) => policy.tell(standing, question, state),
    pause: () => new Promise((resolve) => void clock.after(0, resolve)),
  };
  typed(app).route({
    method: 'POST',
    url: '/api/policy/explain',
    config: { action: 'readSelf' },
    schema: {
      body: z.strictObject({ as: z.string().min(1).max(128).optional(), ...askedFields }),
      summary: 'Why somebody may do something or not; who asks of another needs to be allowed to read policies',
      tags: ['policy'],
    },
    handler: async (request) => {
      const { as, ...asked } = request.body;
      const asker = principal(request);
      if (as !== undefined && as !== actorOf(asker))
        await policy.check(asker, 'readPolicy', { territory: territory.id });
      const standing = await standingIn(as ?? actorOf(asker), territory.id, directory);
      const question = await questionOf(asked, territory.id, clock.now(), directory);
      return policy.tell(standing, question);
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/policy/test',
    config: { action: 'readPolicy' },
    schema: {
      body: z.strictObject({ cases: policyCasesSchema, policies: texts.optional() }),
      summary: 'Holds cases against the policies that hold, or that are proposed',
      tags: ['policy'],
    },
    handler: async (request) => {
      const { cases, policies } = request.body;
      if (policies === undefined) return runCases(await policy.state(), territory.id, cases, directory);
      return policyDesk.under(policies, (state) => runCases(state, territory.id, cases, directory));
    },
  });
}

const modelOf =
  ({ models, territory }: PolicyRoutesDeps) =>
  async (name: string): Promise<string> => {
    try {
      return (await models.resolve(territory.id, name)).cid;
    } catch (error) {
      if (codeOf(error) === 'model_not_found') return name;
      throw error;
    }
  };

function stopRoutes(app: App, { territory, models, policyDesk }: PolicyRoutesDeps): void {
  for (const [word, act, summary] of [
    ['stop', policyDesk.stopModel, 'Stops a model: it takes no request, and what it answers ends, everywhere'],
    ['allow', policyDesk.allowModel, 'Lets a stopped model answer again'],
  ] as const) {
    typed(app).route({
      method: 'POST',
      url: `/api/models/:name/${word}`,
      config: { action: 'stopModel', resource: onModelOf(models, territory.id) },
      schema: { params: nameParams, body: z.strictObject({ why: why.default('') }), summary, tags: ['models'] },
      handler: async (request, reply) => {
        const { name } = request.params;
        const { cid } = await models.show(territory.id, name);
        await act(cid, { name, actor: actorOf(principal(request)), why: request.body.why });
        return reply.status(204).send();
      },
    });
  }
}
