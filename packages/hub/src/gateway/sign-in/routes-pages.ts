/**
 * The sign-in page and its forms, which need no script: codes, providers, sessions, programs to let in.
 *
 * Every form must come from a page of this hub. What goes wrong is said on the page. After a form the browser is sent
 * on (303), so that going back or reloading does nothing twice. Addresses hold no secrets: codes come in bodies, and a
 * provider's answer is worth nothing without the cookie of the browser that began.
 */
import { parse } from 'node:querystring';
import { IdlewildError, asIdlewildError } from '@idlewild/protocol';
import { SIGN_IN_LIMITS } from '../../sign-in/limits.ts';
import type { PersonElsewhere } from '../../sign-in/elsewhere.ts';
import type { SignedIn } from '../../sign-in/sessions.ts';
import { checkSameOrigin, originOf } from '../door/same-origin.ts';
import type { App, FastifyReply, FastifyRequest } from '../server.ts';
import {
  PAGE_HEADERS,
  accountPage,
  doorPage,
  faultPage,
  leavingPage,
  programPage,
  type Frame,
} from '../pages/sign-in-page.ts';
import { joinPage } from '../pages/join-page.ts';
import type { SignInDoor } from './sign-in-door.ts';

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

/** The longest holds a code and a name. */
const FORM_BYTES_MAX = 4_096;
const HIDDEN = { hide: true } as const;

export const signInPageRoutes =
  (door: SignInDoor) =>
  (app: App): void => {
    // Bodies that browsers send without a script are read here and on no other route.
    void app.register(async (scope) => {
      scope.addContentTypeParser(
        'application/x-www-form-urlencoded',
        { parseAs: 'string', bodyLimit: FORM_BYTES_MAX },
        (_request, body, done) => done(null, parse(String(body), '&', '=', { maxKeys: 8 })),
      );
      const pages = createPages(door);
      const page = (method: 'GET' | 'POST', url: string, handler: Handler): void => {
        scope.route({ method, url, config: { action: 'public' }, schema: HIDDEN, handler: pages.sayFaults(handler) });
      };
      page('GET', '/sign-in', pages.show);
      // Whoever types the hub's address into a browser.
      scope.get('/', { config: { action: 'public' }, schema: HIDDEN }, async ({ headers }, reply) => {
        if (headers.accept?.includes('text/html') === true) return pages.goHome(reply);
        throw new IdlewildError('not_found', 'there is no GET /; see /api/openapi.json');
      });
      wayIn(door, pages, page);
      account(door, pages, page);
    });
  };

type AddPage = (method: 'GET' | 'POST', url: string, handler: Handler) => void;

const field = (request: FastifyRequest, name: string): string => {
  const value = (request.body as Record<string, unknown> | null | undefined)?.[name];
  return typeof value === 'string' ? value : '';
};
const param = (request: FastifyRequest): string => (request.params as { id: string }).id;

interface Pages {
  readonly show: Handler;
  sayFaults(handler: Handler): Handler;
  frameOf(request: FastifyRequest, more?: Pick<Frame, 'fault' | 'note'>): Frame;
  send(reply: FastifyReply, status: number, text: string): unknown;
  goHome(reply: FastifyReply): unknown;
}

function createPages(door: SignInDoor): Pages {
  const { signIn, territory } = door;
  const frameOf: Pages['frameOf'] = (request, more = {}) => ({
    base: door.base(),
    community: territory.name,
    passkeys: { isPossible: door.party(request) !== undefined, elsewhere: door.elsewhere(request) },
    ...more,
  });
  const send: Pages['send'] = (reply, status, text) => reply.status(status).headers(PAGE_HEADERS).send(text);

  async function showDoor(request: FastifyRequest, frame: Frame): Promise<string> {
    await signIn.throttle.check('askers', door.addressOf(request), SIGN_IN_LIMITS.asksPerMinute);
    const others = await door.placesElsewhere(request);
    return doorPage(frame, { providers: await signIn.providers.list(), others });
  }

  async function showAccount(request: FastifyRequest, who: SignedIn, frame: Frame): Promise<string> {
    const { personId } = who.principal;
    const [passkeys, accounts, providers, sessions] = [
      await signIn.passkeys.list(personId),
      await signIn.providers.identities(personId),
      await signIn.providers.list(),
      await signIn.sessions.list(personId),
    ];
    const linked = new Set(accounts.map(({ provider }) => provider));
    return accountPage(frame, {
      name: who.name,
      isRecent: door.isRecent(who),
      isOwn: who.session.isOwn,
      elsewhere: (await door.sameElsewhere(request, who)).map(({ community }) => community),
      passkeys: passkeys.map(({ id, name, isSynced, createdAtMs, usedAtMs }) => ({
        id,
        name,
        line: [
          isSynced ? 'synced' : 'on one device',
          `added ${day(createdAtMs)}`,
          usedAtMs === undefined ? 'not used yet' : `used ${day(usedAtMs)}`,
        ].join(' · '),
      })),
      accounts: accounts.map(({ provider, providerName }) => ({ provider, name: providerName })),
      providers: providers.filter(({ id }) => !linked.has(id)),
      sessions: sessions.map(({ id, label, signedInAtMs, seenAtMs }) => ({
        id,
        label,
        line: `signed in ${day(signedInAtMs)} · seen ${moment(seenAtMs)}`,
        isThis: id === who.session.id,
      })),
    });
  }

  async function render(request: FastifyRequest, frame: Frame): Promise<string> {
    const who = await door.look(request);
    return who === undefined ? showDoor(request, frame) : showAccount(request, who, frame);
  }

  return {
    frameOf,
    send,
    goHome: (reply) => reply.status(303).header('location', `${door.base()}/sign-in`).send(),
    show: async (request, reply) => send(reply, 200, await render(request, frameOf(request))),
    sayFaults: (handler) => async (request, reply) => {
      try {
        return await handler(request, reply);
      } catch (thrown) {
        const error = asIdlewildError(thrown, 'the sign-in page');
        // The server's own way, which says what is ours to know only to the log.
        if (error.status >= 500 && error.code !== 'source_unreachable') throw error;
        const frame = frameOf(request, { fault: sentence(error) });
        retryAfter(reply, error);
        return send(reply, error.status, await render(request, frame).catch(() => faultPage(frame)));
      }
    },
  };
}

function retryAfter(reply: FastifyReply, { details }: IdlewildError): void {
  if (typeof details.retryAfterSeconds === 'number')
    void reply.header('retry-after', String(details.retryAfterSeconds));
}

const sentence = ({ message }: IdlewildError): string => `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const moment = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;

/** With a code, and by a provider. */
function wayIn(door: SignInDoor, pages: Pages, page: AddPage): void {
  const { signIn, cookies, place } = door;
  const home = (reply: FastifyReply): unknown =>
    reply.status(303).header('location', `${door.base()}/sign-in`).header('cache-control', 'no-store').send();
  const backTo = (request: FastifyRequest, provider: string): string =>
    `${originOf(place(), request.headers)}${door.base()}/sign-in/back/${provider}`;

  page('POST', '/sign-in/code', async (request, reply) => {
    checkSameOrigin(place(), request.headers);
    const code = field(request, 'code').trim();
    const name = field(request, 'name').slice(0, 4 * SIGN_IN_LIMITS.nameCharactersMax);
    const people = await door.peopleElsewhere(request);
    const chosen = field(request, 'as');
    if (chosen === '' && people.length > 0) {
      const link = await door.attempt(request, { via: 'link', what: code }, () => signIn.links.look(code));
      if (link.person === undefined) {
        const facts = { action: 'code', fields: { code }, name: link.name, said: name, people } as const;
        return pages.send(reply, 200, joinPage(pages.frameOf(request), facts));
      }
    }
    const as = chosen === '' || chosen === 'new' ? undefined : sessionsOf(people, chosen);
    const who = { kind: 'browser', label: door.labelOf(request), name, as } as const;
    const session = await door.attempt(request, { via: 'link', what: code }, () => signIn.links.redeem(code, who));
    await door.letIn(request, reply, session);
    return home(reply);
  });
  page('GET', '/sign-in/with/:id', async (request, reply) => {
    await signIn.throttle.check('address', door.addressOf(request), SIGN_IN_LIMITS.triesPerMinute);
    const { url, step } = await signIn.accounts.begin(param(request), backTo(request, param(request)));
    void reply.header('set-cookie', cookies.set('provider', step, SIGN_IN_LIMITS.stepMs));
    return reply.status(303).header('location', url.href).header('cache-control', 'no-store').send();
  });
  page('GET', '/sign-in/back/:id', async (request, reply) => {
    const provider = param(request);
    const step = cookies.read(request.headers.cookie, 'provider');
    const came = new URL(backTo(request, provider));
    came.search = request.url.includes('?') ? request.url.slice(request.url.indexOf('?')) : '';
    const present = await door.look(request);
    void reply.header('set-cookie', cookies.clear('provider'));
    const people = await door.peopleElsewhere(request);
    const coming = { provider, came, step, label: door.labelOf(request), present };
    const { accounts } = signIn;
    const done = await door.attempt(request, { via: 'provider', what: `${provider} ${step ?? ''}`, steps: 2 }, () =>
      people.length === 0 ? accounts.finish(coming) : accounts.finishOrAsk(coming),
    );
    if ('name' in done) {
      void reply.header('set-cookie', cookies.set('join', done.step, SIGN_IN_LIMITS.stepMs));
      const facts = { action: 'join', fields: {}, name: done.name, said: '', people } as const;
      return pages.send(reply, 200, joinPage(pages.frameOf(request), facts));
    }
    await door.letIn(request, reply, done);
    return home(reply);
  });
  page('POST', '/sign-in/join', async (request, reply) => {
    checkSameOrigin(place(), request.headers);
    const step = cookies.read(request.headers.cookie, 'join');
    const chosen = field(request, 'as');
    const as = chosen === 'new' ? undefined : sessionsOf(await door.peopleElsewhere(request), chosen);
    const session = await door.attempt(request, { via: 'provider', what: `join ${step ?? ''}` }, () =>
      signIn.accounts.join({ step, label: door.labelOf(request), as }),
    );
    void reply.header('set-cookie', cookies.clear('join'));
    await door.letIn(request, reply, session);
    return home(reply);
  });
}

function sessionsOf(people: readonly PersonElsewhere[], chosen: string): PersonElsewhere['sessions'] {
  const found = people.find(({ person }) => person === chosen);
  if (found !== undefined) return found.sessions;
  throw new IdlewildError(
    'unauthenticated',
    'you were signed out of your other community meanwhile; sign in there, then open the link again',
  );
}

/** For somebody who is signed in. */
function account(door: SignInDoor, pages: Pages, page: AddPage): void {
  const { signIn, cookies, place } = door;
  const { goHome } = pages;

  page('POST', '/sign-in/out', async (request, reply) => {
    const who = await door.mustBeSignedIn(request, 'form');
    const { personId: person, session } = who.principal;
    const isEverywhere = field(request, 'everywhere') === 'yes';
    await signIn.sessions.end({ actor: person, person, ...(isEverywhere ? {} : { id: session }) });
    void reply.header('set-cookie', cookies.clear('session'));
    return goHome(reply);
  });
  page('POST', '/sign-in/end', async (request, reply) => {
    const { personId: person } = (await door.mustBeSignedIn(request, 'form')).principal;
    await signIn.sessions.end({ actor: person, person, id: field(request, 'session') });
    return goHome(reply);
  });
  page('POST', '/sign-in/passkeys/remove', async (request, reply) => {
    const { personId: person, session } = (await door.recently(request, 'form')).principal;
    await signIn.passkeys.remove({ person, id: field(request, 'id'), actor: person, session });
    return goHome(reply);
  });
  page('POST', '/sign-in/unlink', async (request, reply) => {
    const { personId: person } = (await door.recently(request, 'form')).principal;
    await signIn.providers.unlink({ person, provider: field(request, 'provider'), actor: person });
    return goHome(reply);
  });
  page('POST', '/sign-in/link', async (request, reply) => {
    const who = await door.recently(request, 'form');
    const id = field(request, 'provider');
    await signIn.throttle.check('person', who.principal.personId, SIGN_IN_LIMITS.triesOnOnePerMinute);
    const back = `${originOf(place(), request.headers)}${door.base()}/sign-in/back/${encodeURIComponent(id)}`;
    const { url, step, provider } = await signIn.accounts.begin(id, back, who);
    void reply.header('set-cookie', cookies.set('provider', step, SIGN_IN_LIMITS.stepMs));
    return pages.send(reply, 200, leavingPage(pages.frameOf(request), provider.name, url.href));
  });
  page('POST', '/sign-in/program', async (request, reply) => {
    const { personId } = (await door.mustBeSignedIn(request, 'form')).principal;
    await signIn.throttle.check('person', personId, SIGN_IN_LIMITS.triesOnOnePerMinute);
    const userCode = field(request, 'userCode');
    const { label, address, askedAtMs } = await signIn.approvals.look(userCode);
    const asker = { userCode, label, address, asked: moment(askedAtMs) };
    return pages.send(reply, 200, programPage(pages.frameOf(request), asker));
  });
  page('POST', '/sign-in/program/answer', async (request, reply) => {
    const { session: by } = await door.mustBeSignedIn(request, 'form');
    await signIn.throttle.check('person', by.person, SIGN_IN_LIMITS.triesOnOnePerMinute);
    const isApproved = field(request, 'answer') === 'yes';
    await signIn.approvals.answer({ userCode: field(request, 'userCode'), by, isApproved });
    return goHome(reply);
  });
}
