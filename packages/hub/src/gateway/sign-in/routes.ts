/**
 * Signing in and out, for scripts and programs: passkeys, one-time codes, programs that wait to be approved. What a
 * browser needs no script for is in `sign-in/routes-pages.ts`, what stewards do in `sign-in/routes-stewards.ts`.
 *
 * A browser's session goes into a cookie and nowhere else; a program's goes into the answer.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server';
import { z } from 'zod';
import { personOf } from '../../identity/principal.ts';
import { SIGN_IN_LIMITS } from '../../sign-in/limits.ts';
import type { PersonElsewhere } from '../../sign-in/elsewhere.ts';
import type { PasskeyFacts } from '../../sign-in/passkeys.ts';
import type { NewSession, SessionFacts } from '../../sign-in/sessions.ts';
import { checkScript } from '../door/same-origin.ts';
import { principal, typed, type App, type FastifyReply, type FastifyRequest } from '../server.ts';
import type { SignInDoor } from './sign-in-door.ts';
import { idParams, iso, isoOrNull } from '../routes/views.ts';

const { labelCharactersMax, nameCharactersMax, stepMs, approvalAskMs } = SIGN_IN_LIMITS;

/** Base64url of what an authenticator says; the longest is an attestation with its certificates. */
const said = z.string().max(16_384);
const extensions = z.record(z.string().max(64), z.unknown()).optional();
const credential = {
  id: z.string().min(1).max(1_400),
  rawId: z.string().max(1_400),
  type: z.literal('public-key'),
  authenticatorAttachment: z.string().max(32).nullish(),
  clientExtensionResults: extensions,
};
const assertionSchema = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: said,
    authenticatorData: said,
    signature: said,
    userHandle: z.string().max(128).nullish(),
  }),
});
const attestationSchema = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: said,
    attestationObject: said,
    transports: z.array(z.string().max(32)).max(8).optional(),
  }),
});

export const sessionView = (session: SessionFacts, own?: string): object => ({
  id: session.id,
  kind: session.kind,
  via: session.via,
  isOwn: session.isOwn,
  label: session.label,
  signedInAt: iso(session.signedInAtMs),
  seenAt: iso(session.seenAtMs),
  expiresAt: iso(session.expiresAtMs),
  ...(own === undefined ? {} : { isThis: session.id === own }),
});

const passkeyView = (passkey: PasskeyFacts): object => ({
  id: passkey.id,
  name: passkey.name,
  isSynced: passkey.isSynced,
  createdAt: iso(passkey.createdAtMs),
  usedAt: isoOrNull(passkey.usedAtMs),
});

const programView = (session: NewSession): object => ({
  session: session.id,
  person: session.person,
  token: session.token,
  expiresAt: iso(session.expiresAtMs),
});

export const signInRoutes =
  (door: SignInDoor) =>
  (app: App): void => {
    passkeyRoutes(app, door);
    codeRoutes(app, door);
    programRoutes(app, door);
    ownSessionRoutes(app, door);
    ownWayRoutes(app, door);
  };

function setCookie(reply: FastifyReply, cookie: string): void {
  void reply.header('set-cookie', cookie).header('cache-control', 'no-store');
}

function passkeyRoutes(app: App, door: SignInDoor): void {
  const { signIn, cookies, place } = door;
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/passkey/begin',
    config: { action: 'public' },
    schema: { summary: 'What a browser is to ask a passkey', tags: ['signing in'] },
    handler: async (request, reply) => {
      checkScript(place(), request.headers);
      await signIn.throttle.check('address', door.addressOf(request), SIGN_IN_LIMITS.triesPerMinute);
      const { options, step } = await signIn.passkeys.beginSignIn(door.partyOrThrow(request));
      setCookie(reply, cookies.set('passkey', step, stepMs));
      return options;
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/passkey',
    config: { action: 'public' },
    schema: { body: assertionSchema, summary: 'Signs a browser in with a passkey', tags: ['signing in'] },
    handler: async (request, reply) => {
      checkScript(place(), request.headers);
      const response = request.body as unknown as AuthenticationResponseJSON;
      const step = cookies.read(request.headers.cookie, 'passkey');
      const session = await door.attempt(request, { via: 'passkey', what: response.id, steps: 2 }, () =>
        signIn.passkeys.signIn(door.partyOrThrow(request), { response, step, label: door.labelOf(request) }),
      );
      setCookie(reply, cookies.clear('passkey'));
      await door.letIn(request, reply, session);
      return { session: session.id, person: session.person, expiresAt: iso(session.expiresAtMs) };
    },
  });
}

/** Secrets, as in `Authorization`. */
const sessionsOf = z.array(z.string().max(128)).max(SIGN_IN_LIMITS.sessionsElsewhereMax).default([]);

function onePerson([found, another]: readonly PersonElsewhere[]): PersonElsewhere['sessions'] {
  if (found !== undefined && another === undefined) return found.sessions;
  throw new IdlewildError(
    'invalid_request',
    found === undefined
      ? 'none of these sessions is one of another community of this hub any more; sign in there again'
      : 'these are sessions of several people; send those of one',
    { details: { param: 'sessions' } },
  );
}

function codeRoutes(app: App, door: SignInDoor): void {
  const { signIn } = door;
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/code',
    config: { action: 'public' },
    schema: {
      body: z.strictObject({
        code: z.string().max(128),
        name: z.string().max(nameCharactersMax).optional(),
        label: z.string().max(labelCharactersMax).default('a program'),
        sessions: sessionsOf,
      }),
      summary:
        'Signs a program in with a one-time code; with sessions of other communities of this hub, as the person ' +
        'whose they are',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const { code, name, label, sessions } = request.body;
      const session = await door.attempt(request, { via: 'link', what: code }, async () => {
        const as = sessions.length === 0 ? undefined : onePerson(await door.shownElsewhere(request, sessions));
        return signIn.links.redeem(code, { kind: 'program', label, name, as });
      });
      return reply.status(201).header('cache-control', 'no-store').send(programView(session));
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/code/look',
    config: { action: 'public' },
    schema: {
      body: z.strictObject({ code: z.string().max(128), sessions: sessionsOf }),
      summary: 'What a one-time code is good for, and who could join with it as themselves',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const { code, sessions } = request.body;
      const link = await door.attempt(request, { via: 'link', what: code }, () => signIn.links.look(code));
      const isInvitation = link.person === undefined && sessions.length > 0;
      const people = isInvitation ? await door.shownElsewhere(request, sessions) : [];
      return reply
        .header('cache-control', 'no-store')
        .send({
          kind: link.person === undefined ? 'invitation' : 'link',
          community: door.territory.name,
          name: link.name,
          people: people.map(({ person, sessions: [first, ...rest], refusal = null }) => ({
            person,
            name: first.name,
            communities: [first, ...rest].map(({ community }) => community),
            refusal,
          })),
        });
    },
  });
}

function programRoutes(app: App, door: SignInDoor): void {
  const { signIn, place } = door;
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/programs',
    config: { action: 'public' },
    schema: {
      body: z.strictObject({ label: z.string().max(labelCharactersMax).default('a program') }),
      summary: 'Asks that somebody approve a program in a browser',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const address = door.addressOf(request);
      await signIn.throttle.check('address', address, SIGN_IN_LIMITS.triesPerMinute);
      const asking = await signIn.approvals.ask({ label: request.body.label, address });
      return reply
        .status(201)
        .header('cache-control', 'no-store')
        .send({
          secret: asking.secret,
          userCode: asking.userCode,
          url: `${place().url.replace(/\/$/, '')}/sign-in`,
          expiresAt: iso(asking.expiresAtMs),
          askEveryMs: approvalAskMs,
        });
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/programs/claim',
    config: { action: 'public' },
    schema: {
      body: z.strictObject({ secret: z.string().max(128) }),
      summary: 'The session of a program that was approved; 202 while nobody has answered',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const { secret } = request.body;
      await signIn.throttle.check('askers', door.addressOf(request), SIGN_IN_LIMITS.asksPerMinute);
      await signIn.throttle.check('asks', secret, SIGN_IN_LIMITS.asksOnOnePerMinute);
      const session = await signIn.approvals.claim(secret);
      void reply.header('cache-control', 'no-store');
      if (session === undefined) return reply.status(202).send({ waiting: true });
      return reply.status(201).send(programView(session));
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/sign-in/programs/answer',
    config: { action: 'manageOwnSignIn' },
    schema: {
      body: z.strictObject({ userCode: z.string().max(32), approve: z.boolean() }),
      summary: 'Lets a program in as oneself, or refuses it',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const { session: by } = await door.mustBeSignedIn(request);
      const { userCode, approve: isApproved } = request.body;
      await signIn.throttle.check('person', by.person, SIGN_IN_LIMITS.triesOnOnePerMinute);
      await signIn.approvals.answer({ userCode, by, isApproved });
      return reply.status(204).send();
    },
  });
}

/** The person who asks, by a session or a key of their own. */
function ownPerson(request: FastifyRequest): string {
  const person = personOf(principal(request));
  if (person === undefined)
    throw new IdlewildError('conflict', 'this key is nobody’s own, and has no sessions; sign in');
  return person;
}

function ownSessionRoutes(app: App, door: SignInDoor): void {
  const { signIn, cookies } = door;
  const ownId = (request: FastifyRequest): string | undefined => {
    const asker = principal(request);
    return asker.kind === 'person' ? asker.session : undefined;
  };
  typed(app).route({
    method: 'GET',
    url: '/api/sessions',
    config: { action: 'manageOwnSignIn' },
    schema: { summary: 'Where one is signed in', tags: ['signing in'] },
    handler: async (request) => {
      const sessions = await signIn.sessions.list(ownPerson(request));
      return sessions.map((session) => sessionView(session, ownId(request) ?? ''));
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/sessions/:id',
    config: { action: 'manageOwnSignIn' },
    schema: { params: idParams, summary: 'Ends a session of one’s own', tags: ['signing in'] },
    handler: async (request, reply) => {
      const person = ownPerson(request);
      await signIn.sessions.end({ actor: person, person, id: request.params.id });
      return reply.status(204).send();
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/sessions',
    config: { action: 'manageOwnSignIn' },
    schema: { summary: 'Signs out everywhere', tags: ['signing in'] },
    handler: async (request) => {
      const person = ownPerson(request);
      return { ended: await signIn.sessions.end({ actor: person, person }) };
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/session',
    // Whoever may do nothing else may go.
    config: { action: 'public' },
    schema: { summary: 'Signs out: ends the session that this is asked with', tags: ['signing in'] },
    handler: async (request, reply) => {
      const who = await door.mustBeSignedIn(request);
      const person = who.principal.personId;
      await signIn.sessions.end({ actor: person, person, id: who.session.id });
      return reply.status(204).header('set-cookie', cookies.clear('session')).send();
    },
  });
}

function ownWayRoutes(app: App, door: SignInDoor): void {
  const { signIn, cookies } = door;
  typed(app).route({
    method: 'GET',
    url: '/api/passkeys',
    config: { action: 'manageOwnSignIn' },
    schema: { summary: 'One’s own passkeys', tags: ['signing in'] },
    handler: async (request) => (await signIn.passkeys.list(ownPerson(request))).map(passkeyView),
  });
  typed(app).route({
    method: 'POST',
    url: '/api/passkeys/begin',
    config: { action: 'manageOwnSignIn' },
    schema: { summary: 'What a browser is to ask of a new passkey', tags: ['signing in'] },
    handler: async (request, reply) => {
      const who = await door.recently(request);
      const { options, step } = await signIn.passkeys.beginAdding(door.partyOrThrow(request), who);
      setCookie(reply, cookies.set('add-passkey', step, stepMs));
      return options;
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/passkeys',
    config: { action: 'manageOwnSignIn' },
    schema: {
      body: z.strictObject({
        name: z.string().max(nameCharactersMax).default(''),
        response: attestationSchema,
        everywhere: z.boolean().default(false),
      }),
      summary:
        'Adds a passkey, with `everywhere` also to the communities of this hub to which the same person signed in ' +
        'lately in this browser; the session is made anew',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const who = await door.recently(request);
      const response = request.body.response as unknown as RegistrationResponseJSON;
      const step = cookies.read(request.headers.cookie, 'add-passkey');
      const label = request.body.name.trim() === '' ? door.labelOf(request) : request.body.name;
      const alsoIn = request.body.everywhere ? await door.sameElsewhere(request, who) : [];
      const answer = { response, step, label, alsoIn };
      const { passkey, session } = await signIn.passkeys.add(door.partyOrThrow(request), who, answer);
      setCookie(reply, cookies.clear('add-passkey'));
      void reply.header('set-cookie', cookies.set('session', session.token, session.expiresAtMs - door.clock.now()));
      return reply.status(201).send(passkeyView(passkey));
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/passkeys/:id',
    config: { action: 'manageOwnSignIn' },
    schema: {
      params: idParams,
      summary: 'Removes a passkey of one’s own, and ends what was opened with it',
      tags: ['signing in'],
    },
    handler: async (request, reply) => {
      const { personId: person, session } = (await door.recently(request)).principal;
      await signIn.passkeys.remove({ person, id: request.params.id, actor: person, session });
      return reply.status(204).send();
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/accounts',
    config: { action: 'manageOwnSignIn' },
    schema: { summary: 'Accounts with providers that one can sign in with', tags: ['signing in'] },
    handler: async (request) =>
      (await signIn.providers.identities(ownPerson(request))).map(({ provider, providerName, createdAtMs }) => ({
        provider,
        name: providerName,
        linkedAt: iso(createdAtMs),
      })),
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/accounts/:id',
    config: { action: 'manageOwnSignIn' },
    schema: { params: idParams, summary: 'Unlinks the account with a provider', tags: ['signing in'] },
    handler: async (request, reply) => {
      const who = await door.recently(request);
      const person = who.principal.personId;
      await signIn.providers.unlink({ person, provider: request.params.id, actor: person });
      return reply.status(204).send();
    },
  });
}
