/**
 * The page that asks whoever opens an invitation, or comes from a provider, and is signed in to another community of
 * this hub, as whom to join: as herself or as somebody new. Nothing is chosen beforehand, and what either leads to is
 * said.
 */
import type { PersonElsewhere } from '../../sign-in/elsewhere.ts';
import { html, type Html } from './escape.ts';
import { page, type Frame } from './sign-in-page.ts';

export interface JoinFacts {
  /** Where the form goes, and what it holds besides. */
  readonly action: 'code' | 'join';
  readonly fields: Readonly<Record<string, string>>;
  /** What the invitation or provider says that she is called; empty: she says it. */
  readonly name: string;
  /** What she said already. */
  readonly said: string;
  readonly people: readonly PersonElsewhere[];
}

const hidden = ([name, value]: readonly [string, string]): Html =>
  html`<input type="hidden" name="${name}" value="${value}" />`;

export function joinPage(frame: Frame, { action, fields, name, said, people }: JoinFacts): string {
  const { base, community } = frame;
  const nameField = (value: string): Html =>
    name === ''
      ? html`<label
          >What you want to be called here
          <input name="name" maxlength="64" value="${value}" required autocomplete="name"
        /></label>`
      : html`<p class="quiet">You will be called ${name} here.</p>`;
  const form = (as: string, label: string, value: string): Html =>
    html`<form method="post" action="${base}/sign-in/${action}">
      ${Object.entries({ ...fields, as }).map(hidden)} ${nameField(value)}
      <button>${label}</button>
    </form>`;
  return page(frame, `Join ${community}`, [
    ...people.map(({ person, sessions, refusal }) => {
      const [{ name: called }] = sessions;
      const places = sessions.map((session) => session.community).join(', ');
      return html`<section>
        <h2>As yourself</h2>
        <p>In this browser you are signed in as <strong>${called}</strong> (${places}).</p>
        ${
          refusal === undefined
            ? html`<p class="quiet">
                  You will be one person in both: a passkey with which you signed in there works here, too, and then
                  shows you your devices of both. Whoever has to do with both can tell that it is you.
                </p>
                ${form(person, `Join as ${called}`, said.trim() === '' ? called : said)}`
            : html`<p class="fault">${refusal.charAt(0).toUpperCase() + refusal.slice(1)}.</p>`
        }
      </section>`;
    }),
    html`<section>
      <h2>As somebody new</h2>
      <p class="quiet">Nothing will connect you with who you are elsewhere.</p>
      ${form('new', 'Join as somebody new', said)}
    </section>`,
    html`<p class="quiet"><a href="${base}/sign-in">Back</a>; nothing has happened yet.</p>`,
  ]);
}
