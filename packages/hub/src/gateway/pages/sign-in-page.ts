/**
 * The page on which people sign in, and see and change how they do. Plain HTML whose forms work without a script; the
 * little script that is there, and the style, are let in by their hashes and nothing else is.
 */
import { createHash } from 'node:crypto';
import { html, trusted, type Html } from './escape.ts';
import { SIGN_IN_SCRIPT } from './sign-in-script.ts';
import { SIGN_IN_STYLE } from './sign-in-style.ts';

/** What every page has. */
export interface Frame {
  /** Path in front of everything of this territory, without a slash at its end. */
  readonly base: string;
  readonly community: string;
  /** Said on top, in red or not. */
  readonly fault?: string | undefined;
  readonly note?: string | undefined;
  /** Whether passkeys can be used where this browser is; else where they could. */
  readonly passkeys: { readonly isPossible: boolean; readonly elsewhere?: string | undefined };
}

export interface DoorFacts {
  readonly providers: readonly { readonly id: string; readonly name: string }[];
  /** Communities of this hub in which this browser was signed in; `undefined`: there is none but this. */
  readonly others: readonly { readonly name: string; readonly path: string }[] | undefined;
}

export interface AccountFacts {
  readonly name: string;
  /** Ways of signing in can be added and removed for a while after signing in. */
  readonly isRecent: boolean;
  readonly passkeys: readonly { readonly id: string; readonly name: string; readonly line: string }[];
  readonly accounts: readonly { readonly provider: string; readonly name: string }[];
  /** Communities to which she signed in lately in this browser, too. */
  readonly elsewhere: readonly string[];
  /** Whether it goes back to herself, and not to a link that somebody made for her. */
  readonly isOwn: boolean;
  /** Those that can be linked. */
  readonly providers: readonly { readonly id: string; readonly name: string }[];
  readonly sessions: readonly {
    readonly id: string;
    readonly label: string;
    readonly line: string;
    readonly isThis: boolean;
  }[];
}

/** A program that asks to be let in. */
export interface AskerFacts {
  readonly userCode: string;
  readonly label: string;
  readonly address: string;
  readonly asked: string;
}

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

const STYLE = trusted(`<style>${SIGN_IN_STYLE}</style>`);
const SCRIPT = trusted(`<script>${SIGN_IN_SCRIPT}</script>`);

/** With every page. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': [
    "default-src 'none'",
    `script-src ${hashOf(SIGN_IN_SCRIPT)}`,
    `style-src ${hashOf(SIGN_IN_STYLE)}`,
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cache-control': 'no-store',
  // With "no-referrer" browsers would hide from us where our own forms come from.
  'referrer-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
};

export function page(frame: Frame, title: string, content: readonly Html[], head: Html = trusted('')): string {
  const { base, community, fault = '', note, passkeys } = frame;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        ${head}
        <title>${title} · ${community}</title>
        ${STYLE}
      </head>
      <body data-base="${base}" data-passkeys="${passkeys.isPossible ? 'yes' : 'no'}">
        <main>
          <header>
            <div class="mark">Idlewild</div>
            <h1>${title}</h1>
          </header>
          <section id="fault" class="fault" role="alert" tabindex="-1" ${trusted(fault === '' ? 'hidden' : '')}>
            ${fault}
          </section>
          ${note === undefined ? undefined : html`<section class="note" role="status">${note}</section>`} ${content}
        </main>
        ${SCRIPT}
      </body>
    </html>`.text;
}

/** A passkey of another community is unknown here: only a session of it can say that she is the same. */
function othersOf(community: string, others: DoorFacts['others']): Html | undefined {
  if (others === undefined) return undefined;
  return html`<div id="others" class="quiet">
    <p>
      Invited to ${community}, and in another community of this hub already? Sign in there first, in this browser, and
      open the invitation again: then you can join as yourself, and a passkey that you used there works here, too.
    </p>
    ${others.map(({ name, path }) => html`<p><a href="${path}">Sign in to ${name}</a></p>`)}
  </div>`;
}

export function doorPage(frame: Frame, { providers, others }: DoorFacts): string {
  const { base, community } = frame;
  const { elsewhere } = frame.passkeys;
  return page(frame, `Sign in to ${community}`, [
    html`<section class="ways">
      <button id="passkey" class="main" data-needs-passkeys hidden>Use a passkey</button>
      ${providers.map(
        ({ id, name }) => html`<a class="button" href="${base}/sign-in/with/${id}">Continue with ${name}</a>`,
      )}
      <p class="quiet" data-lacks-passkeys>
        ${
          elsewhere === undefined
            ? 'Passkeys need a hub with a name, a browser that knows them, and scripts.'
            : html`Passkeys work at <a id="elsewhere" href="${elsewhere}">${elsewhere}</a>.`
        }
      </p>
    </section>`,
    html`<section>
      <details id="with-code" ${trusted(providers.length === 0 ? 'open' : '')}>
        <summary>I was given a code</summary>
        <form method="post" action="${base}/sign-in/code">
          <label
            >Code
            <input
              id="code"
              class="code"
              name="code"
              required
              maxlength="80"
              autocomplete="off"
              autocapitalize="off"
              spellcheck="false"
          /></label>
          <label
            >What you want to be called, if you are new here
            <input name="name" maxlength="64" autocomplete="name" placeholder="empty: as your invitation says"
          /></label>
          <button id="enter" class="main">Sign in</button>
        </form>
        ${othersOf(community, others)}
      </details>
    </section>`,
    html`<p class="quiet">
      No password is asked for here, ever. Lost your passkey? A steward can give you a new code.
    </p>`,
  ]);
}

const button = (action: string, label: string, fields: Readonly<Record<string, string>> = {}): Html =>
  html`<form method="post" action="${action}">
    ${Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`)}
    <button>${label}</button>
  </form>`;

function waysOf(frame: Frame, facts: AccountFacts): Html {
  const { isRecent, passkeys, accounts, providers } = facts;
  const { base } = frame;
  const { elsewhere } = frame.passkeys;
  return html`<section>
    <h2>How you sign in</h2>
    ${
      passkeys.length + accounts.length === 0
        ? html`<p class="note">You have no way to come back yet. Add a passkey, so that you need no code next time.</p>`
        : html`<ul>
            ${passkeys.map(
              ({ id, name, line }) =>
                html`<li>
                  <div>
                    ${name}
                    <div class="quiet">${line}</div>
                  </div>
                  ${isRecent ? button(`${base}/sign-in/passkeys/remove`, 'Remove', { id }) : undefined}
                </li>`,
            )}
            ${accounts.map(
              ({ provider, name }) =>
                html`<li>
                  <div>
                    ${name}
                    <div class="quiet">linked account</div>
                  </div>
                  ${isRecent ? button(`${base}/sign-in/unlink`, 'Unlink', { provider }) : undefined}
                </li>`,
            )}
          </ul>`
    }
    ${
      isRecent
        ? html`<div class="ways">
            <div data-needs-passkeys hidden>
              <label
                >Name of a new passkey
                <input id="passkey-name" maxlength="64" placeholder="my phone" autocomplete="off"
              /></label>
              ${
                facts.elsewhere.length === 0
                  ? undefined
                  : html`<label
                      ><input id="everywhere" type="checkbox" checked /> also for ${facts.elsewhere.join(', ')}, where
                      you are signed in here as well</label
                    >`
              }
              <button id="add-passkey" class="main">Add a passkey</button>
            </div>
            <p class="quiet" data-lacks-passkeys>
              ${
                elsewhere === undefined
                  ? 'Passkeys need a hub with a name, a browser that knows them, and scripts.'
                  : html`Passkeys work at <a href="${elsewhere}">${elsewhere}</a>.`
              }
            </p>
            ${providers.map(({ id, name }) => button(`${base}/sign-in/link`, `Link ${name}`, { provider: id }))}
          </div>`
        : html`<p class="quiet">To change this, sign in once more: it was a while ago.</p>`
    }
  </section>`;
}

export function accountPage(frame: Frame, facts: AccountFacts): string {
  const { base, community } = frame;
  return page(frame, `${facts.name}, signed in to ${community}`, [
    facts.isOwn
      ? trusted('')
      : html`<p class="note">
          You came in by a link that somebody made for you, or by what was added after one. That proves who you are in
          ${community}, and in no other community of this hub.
        </p>`,
    waysOf(frame, facts),
    html`<section>
      <h2>Let a program in</h2>
      <p class="quiet">A program such as <span class="code">idlewild sign-in</span> shows a code of eight letters.</p>
      <form method="post" action="${base}/sign-in/program">
        <label
          >Its code
          <input
            id="user-code"
            class="code"
            name="userCode"
            required
            maxlength="20"
            autocomplete="off"
            autocapitalize="characters"
            spellcheck="false"
        /></label>
        <button>Look at it</button>
      </form>
    </section>`,
    html`<section>
      <h2>Where you are signed in</h2>
      <ul>
        ${facts.sessions.map(
          ({ id, label, line, isThis }) =>
            html`<li>
              <div>
                ${label}
                <div class="quiet">${line}</div>
              </div>
              ${
                isThis
                  ? html`<span class="quiet">this one</span>`
                  : button(`${base}/sign-in/end`, 'End', { session: id })
              }
            </li>`,
        )}
      </ul>
      <div class="pair">
        ${button(`${base}/sign-in/out`, 'Sign out')}
        ${button(`${base}/sign-in/out`, 'Sign out everywhere', { everywhere: 'yes' })}
      </div>
    </section>`,
  ]);
}

export function programPage(frame: Frame, { userCode, label, address, asked }: AskerFacts): string {
  const action = `${frame.base}/sign-in/program/answer`;
  return page(frame, 'Let this program in?', [
    html`<section>
      <p><strong>${label}</strong><br /><span class="quiet">asked ${asked}, from ${address}</span></p>
      <p>It will be able to do whatever you may do in ${frame.community}, until you end it.</p>
      <p class="fault">If you did not start it yourself just now, say no: somebody may be trying to sign in as you.</p>
      <div class="pair">
        ${button(action, 'No', { userCode, answer: 'no' })} ${button(action, 'Let it in', { userCode, answer: 'yes' })}
      </div>
    </section>`,
    html`<p class="quiet"><a href="${frame.base}/sign-in">Back</a></p>`,
  ]);
}

/** On the way to a provider: a form may lead nowhere else, so a page of ours does. */
export function leavingPage(frame: Frame, provider: string, url: string): string {
  const head = html`<meta http-equiv="refresh" content="0;url=${url}" />`;
  return page(
    frame,
    `On to ${provider}`,
    [html`<section><a class="button" href="${url}" rel="noreferrer">Continue to ${provider}</a></section>`],
    head,
  );
}

/** Something went wrong before it was known who asks. */
export const faultPage = (frame: Frame): string =>
  page(frame, `Sign in to ${frame.community}`, [
    html`<section><a class="button" href="${frame.base}/sign-in">Back to the sign-in page</a></section>`,
  ]);
