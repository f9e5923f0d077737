/** Projects and what they are allocated, under /api. What may be spent, and what was, is in `routes/spending.ts`. */
import { codeOf } from '@idlewild/protocol';
import { z } from 'zod';
import { ALLOCATION_STATES } from '../../db/schema/projects.ts';
import { actorOf, type Principal } from '../../identity/principal.ts';
import type { Resource, Policy } from '../../policy/port.ts';
import type { Allocation, AllocationEvent, Amounts } from '../../projects/allocation.ts';
import type { Allocations } from '../../projects/allocations.ts';
import { PROJECT_LIMITS } from '../../projects/limits.ts';
import { unknownProject, type Project, type Projects } from '../../projects/projects.ts';
import { principal, typed, type App, type FastifyRequest } from '../server.ts';
import { idParams, iso, isoOrNull } from './views.ts';

export interface ProjectRoutesDeps {
  readonly territory: { readonly id: string };
  readonly projects: Projects;
  readonly allocations: Allocations;
  readonly policy: Pick<Policy, 'allows'>;
  readonly nowMs: () => number;
}

const tags = ['projects'];
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
/** Of what is asked for without a time. */
const DAYS_ASKED = 30;

export const projectRoutes =
  (deps: ProjectRoutesDeps) =>
  (app: App): void => {
    readProjects(app, deps);
    changeProjects(app, deps);
    readAllocations(app, deps);
    askRoute(app, deps);
    withdrawRoute(app, deps);
    decideRoutes(app, deps);
  };

/** The project of `:id`, which may also be its name. */
const onProject =
  ({ projects }: Pick<ProjectRoutesDeps, 'projects'>) =>
  async (request: FastifyRequest): Promise<Partial<Resource>> => {
    const { id } = request.params as { readonly id: string };
    try {
      return { project: (await projects.get(id)).id };
    } catch (error) {
      if (codeOf(error) === 'not_found') return { project: id };
      throw error;
    }
  };

/** Whether somebody sees a project: who is in it does, and whom a policy lets see it, or all. */
async function visibleTo(
  { territory, projects, policy }: ProjectRoutesDeps,
  asker: Principal,
): Promise<(project: string) => Promise<boolean>> {
  const own = await projects.of(asker);
  return async (project) =>
    own.has(project) || (await policy.allows(asker, 'showProject', { territory: territory.id, project }));
}

/** Throws `not_found` for what is not there and for what the asker does not see, which are the same to her. */
async function seenProject(deps: ProjectRoutesDeps, request: FastifyRequest, wanted: string): Promise<Project> {
  const project = await deps.projects.get(wanted);
  const isVisible = await visibleTo(deps, principal(request));
  if (!(await isVisible(project.id))) throw unknownProject(wanted);
  return project;
}

const projectView = ({ createdAtMs, closedAtMs, ...project }: Project): object => ({
  ...project,
  createdAt: iso(createdAtMs),
  closedAt: isoOrNull(closedAtMs),
});

const amountsView = ({ tokens, deviceMs, bytes }: Amounts): object => ({
  tokens,
  deviceHours: deviceMs === undefined ? null : deviceMs / HOUR_MS,
  bytes,
});

const allocationView = (allocation: Allocation): object => {
  const { asked, granted, fromMs, toMs, spentTokens, spentDeviceMs, heldTokens, createdAtMs, ...rest } = allocation;
  return {
    ...rest,
    asked: amountsView(asked),
    granted: amountsView(granted),
    spent: amountsView({ tokens: spentTokens, deviceMs: spentDeviceMs, bytes: 0 }),
    heldTokens,
    leftTokens: Math.max(0, granted.tokens - spentTokens - heldTokens),
    from: iso(fromMs),
    to: iso(toMs),
    createdAt: iso(createdAtMs),
  };
};

const eventView = ({ act, atMs, actor, fromMs, toMs, note, ...amounts }: AllocationEvent): object => ({
  act,
  at: iso(atMs),
  actor,
  ...amountsView(amounts),
  from: iso(fromMs),
  to: iso(toMs),
  note,
});

function readProjects(app: App, deps: ProjectRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/projects',
    config: { action: 'listProjects' },
    schema: { summary: 'Projects by name: those that the asker is in, for stewards and auditors all', tags },
    handler: async (request) => {
      const isVisible = await visibleTo(deps, principal(request));
      const shown: object[] = [];
      for (const project of await deps.projects.list())
        if (await isVisible(project.id)) shown.push(projectView(project));
      return shown;
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/projects/:id',
    config: { action: 'listProjects' },
    schema: { params: idParams, summary: 'One project, by id or name, with its allocations', tags },
    handler: async (request) => {
      const project = await seenProject(deps, request, request.params.id);
      const allocations = await deps.allocations.list(project.id);
      return { ...projectView(project), allocations: allocations.map(allocationView) };
    },
  });
}

function changeProjects(app: App, deps: ProjectRoutesDeps): void {
  const { projects } = deps;
  typed(app).route({
    method: 'POST',
    url: '/api/projects',
    config: { action: 'createProject' },
    schema: {
      body: z.strictObject({
        name: z.string().max(PROJECT_LIMITS.nameCharactersMax),
        purpose: z.string().max(64).describe('A cause, such as education.'),
        description: z.string().max(PROJECT_LIMITS.descriptionCharactersMax).optional(),
      }),
      summary: 'Makes a project, which its maker leads',
      tags,
    },
    handler: async (request, reply) => {
      const maker = principal(request);
      const { description = '', ...body } = request.body;
      const made = await projects.create({ ...body, description, maker, actor: actorOf(maker) });
      return reply.status(201).send(projectView(made));
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/projects/:id/close',
    config: { action: 'changeProject', resource: onProject(deps) },
    schema: { params: idParams, summary: 'Closes a project for good; its allocations end', tags },
    handler: async (request) => {
      const { id } = await projects.get(request.params.id);
      return projectView(await projects.close(id, actorOf(principal(request))));
    },
  });
}

const instant = z.iso
  .datetime({ offset: true })
  .or(z.iso.date())
  .describe('A time, or the first moment of a day, UTC.');
const amounts = {
  tokens: z.int().min(0).max(PROJECT_LIMITS.tokensMax),
  deviceHours: z
    .number()
    .positive()
    .max(PROJECT_LIMITS.deviceMsMax / HOUR_MS),
  bytes: z.int().min(0).max(PROJECT_LIMITS.bytesMax),
};
const note = z.string().max(PROJECT_LIMITS.noteCharactersMax);
const msOf = (hours: number): number => Math.round(hours * HOUR_MS);

function readAllocations(app: App, deps: ProjectRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/allocations',
    config: { action: 'listProjects' },
    schema: {
      querystring: z.strictObject({ state: z.enum(ALLOCATION_STATES).optional() }),
      summary: 'Allocations of the projects that the asker sees, newest first',
      tags,
    },
    handler: async (request) => {
      const isVisible = await visibleTo(deps, principal(request));
      const { state } = request.query;
      const shown: object[] = [];
      for (const allocation of await deps.allocations.list())
        if ((state === undefined || allocation.state === state) && (await isVisible(allocation.project)))
          shown.push(allocationView(allocation));
      return shown;
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/allocations/:id',
    config: { action: 'listProjects' },
    schema: { params: idParams, summary: 'One allocation, with all that was done with it', tags },
    handler: async (request) => {
      const allocation = await deps.allocations.get(request.params.id);
      await seenProject(deps, request, allocation.project);
      const history = await deps.allocations.history(allocation.id);
      return { ...allocationView(allocation), history: history.map(eventView) };
    },
  });
}

function askRoute(app: App, deps: ProjectRoutesDeps): void {
  typed(app).route({
    method: 'POST',
    url: '/api/projects/:id/allocations',
    config: { action: 'askAllocation', resource: onProject(deps) },
    schema: {
      params: idParams,
      body: z.strictObject({
        tokens: amounts.tokens,
        deviceHours: amounts.deviceHours.optional(),
        bytes: amounts.bytes.optional(),
        from: instant.optional(),
        to: instant.optional(),
        why: note,
      }),
      summary: 'Asks for an allocation, from now for thirty days unless said',
      tags,
    },
    handler: async (request, reply) => {
      const { tokens, deviceHours, bytes = 0, from, to, why } = request.body;
      const { id: project } = await deps.projects.get(request.params.id);
      const fromMs = from === undefined ? deps.nowMs() : Date.parse(from);
      const asked = await deps.allocations.ask({
        project,
        tokens,
        deviceMs: deviceHours === undefined ? undefined : msOf(deviceHours),
        bytes,
        fromMs,
        toMs: to === undefined ? fromMs + DAYS_ASKED * DAY_MS : Date.parse(to),
        why,
        actor: actorOf(principal(request)),
      });
      return reply.status(201).send(allocationView(asked));
    },
  });
}

/** The project of the allocation that is named; what is not there has none. */
const onAllocation =
  ({ allocations }: ProjectRoutesDeps) =>
  async (request: FastifyRequest): Promise<{ project: string }> => {
    const { id } = request.params as { readonly id: string };
    try {
      return { project: (await allocations.get(id)).project };
    } catch (error) {
      if (codeOf(error) === 'not_found') return { project: id };
      throw error;
    }
  };

function withdrawRoute(app: App, deps: ProjectRoutesDeps): void {
  typed(app).route({
    method: 'POST',
    url: '/api/allocations/:id/withdraw',
    config: { action: 'askAllocation', resource: onAllocation(deps) },
    schema: {
      params: idParams,
      body: z.strictObject({ note: note.optional() }),
      summary: 'Withdraws what was asked for, as long as nobody answered',
      tags,
    },
    handler: async (request) => {
      const order = { id: request.params.id, note: request.body.note ?? '', actor: actorOf(principal(request)) };
      return allocationView(await deps.allocations.withdraw(order));
    },
  });
}

function decideRoutes(app: App, { allocations }: ProjectRoutesDeps): void {
  typed(app).route({
    method: 'POST',
    url: '/api/allocations/:id/grant',
    config: { action: 'grantAllocation' },
    schema: {
      params: idParams,
      body: z.strictObject({
        tokens: amounts.tokens.optional(),
        deviceHours: z.union([amounts.deviceHours, z.literal('none')]).optional(),
        bytes: amounts.bytes.optional(),
        from: instant.optional(),
        to: instant.optional(),
        note: note.optional(),
      }),
      summary: 'Grants what was asked or something else, or changes what was granted',
      tags,
    },
    handler: async (request) => {
      const { tokens, deviceHours, bytes, from, to, note: said = '' } = request.body;
      const granted = await allocations.grant({
        id: request.params.id,
        tokens,
        deviceMs: typeof deviceHours === 'number' ? msOf(deviceHours) : deviceHours,
        bytes,
        fromMs: from === undefined ? undefined : Date.parse(from),
        toMs: to === undefined ? undefined : Date.parse(to),
        note: said,
        actor: actorOf(principal(request)),
      });
      return allocationView(granted);
    },
  });
  for (const [act, summary] of [
    ['deny', 'Denies what was asked for'],
    ['end', 'Ends what was granted, at once'],
  ] as const)
    typed(app).route({
      method: 'POST',
      url: `/api/allocations/:id/${act}`,
      config: { action: 'grantAllocation' },
      schema: { params: idParams, body: z.strictObject({ note: note.optional() }), summary, tags },
      handler: async (request) => {
        const order = { id: request.params.id, note: request.body.note ?? '', actor: actorOf(principal(request)) };
        return allocationView(await allocations[act](order));
      },
    });
}
