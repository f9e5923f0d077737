/** What stewards do about signing in: invite, help somebody back in, end sessions, say which providers to trust. */
import { z } from 'zod';
import { IdlewildError, messageOf } from '@idlewild/protocol';
import { actorOf } from '../../identity/principal.ts';
import { SIGN_IN_LIMITS } from '../../sign-in/limits.ts';
import type { NewLink } from '../../sign-in/links.ts';
import { checkedUrl } from '../../sign-in/oidc/guarded-fetch.ts';
import type { Provider } from '../../sign-in/oidc/providers.ts';
import { sessionView } from './routes.ts';
import { isOnLoopback } from '../door/same-origin.ts';
import { principal, typed, type App } from '../server.ts';
import type { SignInDoor } from './sign-in-door.ts';
import { idParams, iso, nameField } from '../routes/views.ts';

const { nameCharactersMax, groupsPerInvitation, linkMsMax, memberLinkMsMax, secretBytesMax, admissionsMax } =
  SIGN_IN_LIMITS;

const seconds = (msMax: number) =>
  z
    .int()
    .min(60)
    .max(msMax / 1_000);

export const signInStewardRoutes =
  (door: SignInDoor) =>
  (app: App): void => {
    invitationRoutes(app, door);
    memberRoutes(app, door);
    providerRoutes(app, door);
  };

/** In the fragment, which no browser sends and no log sees. */
const linkView = (door: SignInDoor, { id, code, expiresAtMs }: NewLink): object => ({
  id,
  code,
  url: `${door.place().url.replace(/\/$/, '')}/sign-in#code=${code}`,
  expiresAt: iso(expiresAtMs),
});

function invitationRoutes(app: App, door: SignInDoor): void {
  const { links } = door.signIn;
  typed(app).route({
    method: 'POST',
    url: '/api/people/invitations',
    config: { action: 'invitePerson' },
    schema: {
      body: z.strictObject({
        name: z.string().max(nameCharactersMax).optional(),
        role: z.string().min(1).max(nameCharactersMax).default('member'),
        groups: z.array(z.string().max(64)).max(groupsPerInvitation).default([]),
        expiresInSeconds: seconds(linkMsMax).optional(),
      }),
      summary: 'Invites a person; the code is shown this once',
      tags: ['people'],
    },
    handler: async (request, reply) => {
      const { expiresInSeconds, ...invitation } = request.body;
      const expiresInMs = expiresInSeconds === undefined ? undefined : expiresInSeconds * 1_000;
      const link = await links.invite({ by: principal(request), ...invitation, expiresInMs });
      return reply.status(201).header('cache-control', 'no-store').send(linkView(door, link));
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/people/invitations',
    config: { action: 'invitePerson' },
    schema: { summary: 'Invitations and links that can still be used, without their codes', tags: ['people'] },
    handler: async () =>
      (await links.list()).map((link) => ({
        id: link.id,
        person: link.person ?? null,
        name: link.name,
        role: link.role,
        createdBy: link.createdBy,
        createdAt: iso(link.createdAtMs),
        expiresAt: iso(link.expiresAtMs),
      })),
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/people/invitations/:id',
    config: { action: 'invitePerson' },
    schema: { params: idParams, summary: 'Withdraws an invitation or a link', tags: ['people'] },
    handler: async (request, reply) => {
      await links.withdraw({ by: principal(request), id: request.params.id });
      return reply.status(204).send();
    },
  });
}

function memberRoutes(app: App, door: SignInDoor): void {
  const { links, sessions } = door.signIn;
  const ofMember = z.object({ id: z.string().max(64), session: z.string().max(64) });
  typed(app).route({
    method: 'POST',
    url: '/api/members/:id/link',
    config: { action: 'linkMember' },
    schema: {
      params: idParams,
      body: z.strictObject({ expiresInSeconds: seconds(memberLinkMsMax).optional() }),
      summary: 'A one-time link that signs a member in, for one who lost every way; shown this once',
      tags: ['people'],
    },
    handler: async (request, reply) => {
      const { expiresInSeconds } = request.body;
      const expiresInMs = expiresInSeconds === undefined ? undefined : expiresInSeconds * 1_000;
      const link = await links.linkFor({ by: principal(request), person: request.params.id, expiresInMs });
      return reply.status(201).header('cache-control', 'no-store').send(linkView(door, link));
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/members/:id/sessions',
    config: { action: 'endSessions' },
    schema: { params: idParams, summary: 'Where a member is signed in', tags: ['people'] },
    handler: async (request) => (await sessions.list(request.params.id)).map((session) => sessionView(session)),
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/members/:id/sessions',
    config: { action: 'endSessions' },
    schema: { params: idParams, summary: 'Signs a member out everywhere', tags: ['people'] },
    handler: async (request) => ({
      ended: await sessions.end({ actor: actorOf(principal(request)), person: request.params.id }),
    }),
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/members/:id/sessions/:session',
    config: { action: 'endSessions' },
    schema: { params: ofMember, summary: 'Ends a session of a member', tags: ['people'] },
    handler: async (request, reply) => {
      const { id: person, session: id } = request.params;
      await sessions.end({ actor: actorOf(principal(request)), person, id });
      return reply.status(204).send();
    },
  });
}

const providerView = (provider: Provider): object => ({
  id: provider.id,
  name: provider.name,
  issuer: provider.issuer,
  clientId: provider.clientId,
  hasSecret: provider.hasSecret,
  allowDomains: provider.admission.domains,
  allowClaims: provider.admission.claims.map(({ name, value }) => `${name}=${value}`),
  role: provider.role,
  createdAt: iso(provider.createdAtMs),
});

const DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$/;
const CLAIM = /^([A-Za-z0-9_:./-]{1,100})=(.{1,200})$/;

const claimOf = (text: string): { name: string; value: string } => {
  const [, name, value] = CLAIM.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return { name, value };
  throw new IdlewildError('invalid_request', `the claim ${JSON.stringify(text)} is not NAME=VALUE`, {
    details: { param: 'allowClaims' },
  });
};

/** Throws `invalid_request` for what no provider could be at, before anything is fetched. */
function checkIssuer(issuer: string, isLocal: boolean): void {
  try {
    checkedUrl(issuer, isLocal);
  } catch (error) {
    throw new IdlewildError(
      'invalid_request',
      `${messageOf(error)}; an issuer is its address, as in https://login.example`,
      { details: { param: 'issuer' } },
    );
  }
}

function providerRoutes(app: App, door: SignInDoor): void {
  const { signIn, place } = door;
  const { providers } = signIn;
  typed(app).route({
    method: 'GET',
    url: '/api/providers',
    config: { action: 'manageSignIn' },
    schema: { summary: 'OpenID providers with which people sign in', tags: ['people'] },
    handler: async () => (await providers.list()).map(providerView),
  });
  typed(app).route({
    method: 'POST',
    url: '/api/providers',
    config: { action: 'manageSignIn' },
    schema: {
      body: z.strictObject({
        name: nameField(nameCharactersMax).trim().min(1),
        issuer: z.string().max(512),
        clientId: z.string().min(1).max(256),
        clientSecret: z.string().min(1).max(secretBytesMax).optional(),
        allowDomains: z.array(z.string().max(253)).max(admissionsMax).default([]),
        allowClaims: z.array(z.string().max(302)).max(admissionsMax).default([]),
        role: z.string().min(1).max(nameCharactersMax).default('member'),
      }),
      summary: 'Trusts an OpenID provider to say who somebody is',
      tags: ['people'],
    },
    handler: async (request, reply) => {
      const { allowDomains, allowClaims, issuer, ...order } = request.body;
      const domains = allowDomains.map((domain) => domain.toLowerCase());
      const wrong = domains.find((domain) => !DOMAIN.test(domain));
      if (wrong !== undefined)
        throw new IdlewildError('invalid_request', `${JSON.stringify(wrong)} is no domain`, {
          details: { param: 'allowDomains' },
        });
      const admission = { domains, claims: allowClaims.map(claimOf) };
      signIn.place.isOnLoopback = isOnLoopback(place());
      checkIssuer(issuer, isOnLoopback(place()));
      // Before it is kept, so that whoever mistyped it learns it here and not from somebody locked out.
      await signIn.throttle.check('person', actorOf(principal(request)), SIGN_IN_LIMITS.triesOnOnePerMinute);
      await signIn.probe(issuer, order.clientId);
      const actor = actorOf(principal(request));
      const provider = await providers.add({ ...order, issuer, admission, actor });
      const back = `${place().url.replace(/\/$/, '')}/sign-in/back/${provider.id}`;
      return reply.status(201).send({ ...providerView(provider), returnUrl: back });
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/providers/:id',
    config: { action: 'manageSignIn' },
    schema: { params: idParams, summary: 'Trusts a provider no longer, and forgets whom it knew', tags: ['people'] },
    handler: async (request, reply) => {
      await providers.remove({ id: request.params.id, actor: actorOf(principal(request)) });
      return reply.status(204).send();
    },
  });
}
