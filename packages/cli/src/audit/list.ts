/**
 * `idlewild audit list`: what fits what was asked for, as many pages of it as are wanted, and with --follow what comes.
 * Names are looked up here, for whoever may see them: the log itself knows ids alone.
 */
import type { AuditEntry, AuditPage, AuditQuery, Client } from '@idlewild/client';
import { IdlewildError } from '@idlewild/protocol';
import { interruptSignal, type Context } from '../context.ts';
import { knownBehind, namesOf, type Known } from '../text/names.ts';
import { tableLines } from '../text/table.ts';
import { countText, momentText } from '../text/units.ts';

export interface ListOptions {
  readonly actor?: readonly string[];
  readonly action?: readonly string[];
  readonly subject?: readonly string[];
  readonly denied?: boolean;
  /** Milliseconds since 1970. */
  readonly since?: number;
  readonly until?: number;
  readonly before?: number;
  readonly after?: number;
  readonly oldest?: boolean;
  readonly limit: number;
  readonly follow?: boolean;
}

/** The hub gives no more at once. */
const PAGE = 200;
/** Names of one kind that the hub takes. */
const NAMES_MAX = 64;
const POLL_MS = 2_000;
/** An id, and a name of ours; what is longer moves its line alone. */
const CHARACTERS = { number: 6, who: 12, action: 14 };

export async function listAudit(context: Context, client: Client, options: ListOptions): Promise<void> {
  const { actor, subject } = options;
  const isNamed = !context.json || actor !== undefined || subject !== undefined;
  const known: Known = isNamed ? await knownBehind(client) : { members: [], keys: [], devices: [] };
  const query: AuditQuery = {
    actor: actor === undefined ? undefined : checkCount(actor.flatMap((wanted) => actorsCalled(known, wanted))),
    subject: subject === undefined ? undefined : checkCount(subject.flatMap((wanted) => idsCalled(known, wanted))),
    action: options.denied === true ? ['denied'] : options.action,
    since: options.since === undefined ? undefined : new Date(options.since).toISOString(),
    until: options.until === undefined ? undefined : new Date(options.until).toISOString(),
    order: options.oldest === true ? 'oldest' : 'newest',
  };
  const called = namesOf([...known.members, ...known.keys, ...known.devices]);
  const found = await readPages(client, query, options);
  if (options.follow === true) return follow(context, client, { query, found, called });
  context.show(found, () => (found.entries.length === 0 ? ['no entries'] : entryLines(found.entries, called)));
  noteBeside(context, found, options);
}

async function readPages(client: Client, query: AuditQuery, options: ListOptions): Promise<AuditPage> {
  const isOldest = query.order === 'oldest';
  const entries: AuditEntry[] = [];
  let place: AuditQuery = { beforeSeq: options.before, afterSeq: options.after };
  for (;;) {
    const limit = Math.min(PAGE, options.limit - entries.length);
    const page = await client.audit.list({ ...query, ...place, limit });
    entries.push(...page.entries);
    const isDone = page.next === null || entries.length >= options.limit;
    if (isDone || !page.intact) return { ...page, entries };
    place = isOldest
      ? { afterSeq: page.next, beforeSeq: options.before }
      : { beforeSeq: page.next, afterSeq: options.after };
  }
}

interface Following {
  readonly query: AuditQuery;
  readonly found: AuditPage;
  readonly called: (id: string) => string;
}

/** The oldest first, and no titles again. */
async function follow(context: Context, client: Client, { query, found, called }: Following): Promise<void> {
  const signal = interruptSignal();
  let shown = query.order === 'oldest' ? found.entries : found.entries.toReversed();
  let after = found.last;
  let isFirst = true;
  while (!signal.aborted) {
    if (context.json) for (const entry of shown) context.printJson(entry);
    else for (const line of entryLines(shown, called).slice(isFirst ? 0 : 1)) context.print(line);
    isFirst = false;
    await pause(POLL_MS, signal);
    if (signal.aborted) return;
    const page = await client.audit.list({ ...query, until: undefined, order: 'oldest', afterSeq: after });
    if (!page.intact) context.note(brokenText(page));
    shown = page.entries;
    after = page.next ?? page.last;
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done);
  });

function entryLines(entries: readonly AuditEntry[], called: (id: string) => string): string[] {
  return tableLines(
    [
      { title: 'NUMBER', align: 'right', characters: CHARACTERS.number },
      { title: 'WHEN' },
      { title: 'ACTOR', characters: CHARACTERS.who },
      { title: 'ACTION', characters: CHARACTERS.action },
      { title: 'SUBJECT', characters: CHARACTERS.who },
      { title: 'DETAILS' },
    ],
    entries.map(({ seq, at, actor, action, subject, details }) => [
      String(seq),
      momentText(Date.parse(at)),
      called(actor),
      action,
      called(subject),
      Object.entries(details)
        .map(([name, value]) => `${name}=${called(String(value))}`)
        .join(' '),
    ]),
  );
}

const brokenText = ({ why }: AuditPage): string => `this log does not hold: ${why}; run \`idlewild audit verify\``;

function noteBeside(context: Context, { intact, why, ...page }: AuditPage, { oldest = false }: ListOptions): void {
  if (!intact) context.note(brokenText({ intact, ...page, ...(why === undefined ? {} : { why }) }));
  if (page.actions !== undefined)
    context.note(`no entry has such an action; those that there are: ${page.actions.join(', ')}`);
  if (page.next === null) return;
  const way = oldest ? `later ones: --oldest --after ${page.next}` : `older ones: --before ${page.next}`;
  context.note(`${countText(page.entries.length, 'entry', 'entries')}; ${way}`);
}

/** What acts as somebody: she herself, and the keys that are hers. */
function actorsCalled(known: Known, wanted: string): string[] {
  const ids = idsCalled(known, wanted);
  const hers = known.keys.filter(({ person }) => person !== null && ids.includes(person.id));
  return [...new Set([...ids, ...hers.map(({ id }) => id)])];
}

/** What nobody is called is taken as it is: `hub`, `stranger`, the name of a model, the id of whom nobody knows. */
function idsCalled({ members, keys, devices }: Known, wanted: string): string[] {
  const named = [...members, ...keys, ...devices].filter(({ name }) => name === wanted);
  return [wanted, ...named.map(({ id }) => id)];
}

function checkCount(ids: readonly string[]): readonly string[] {
  if (ids.length <= NAMES_MAX) return ids;
  const message = `these are ${ids.length} people, keys and devices, and a search takes ${NAMES_MAX}; name some by id`;
  throw new IdlewildError('usage', message);
}
