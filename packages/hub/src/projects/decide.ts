/**
 * Whether a request may be begun, and how much it gets: pure, from the amounts that a transaction has locked.
 *
 * There are up to two ways to pay. The regular one: an allocation of the project where there is a project, nobody where
 * there is none and none is required; it is bounded by every cap. The floor: what each active member has every day,
 * whatever else is spent; it is bounded by the caps of the key and the person, for these are set against them, and by
 * the territory's, of which it is set aside beforehand. A way that has all that is wanted is taken, the regular one
 * first; else the one that has more, if that is enough to begin; else the request is refused, with every number.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { AccountKind } from '../db/schema/projects.ts';
import { PROJECT_LIMITS } from './limits.ts';

/** What a request may use at most. */
export interface Wanted {
  /** Of its prompts, as far as anybody can say before they are read. */
  readonly promptTokens: number;
  /** Of all its answers together. */
  readonly answerTokens: number;
  /** How many answers; 0 for vectors and labels. */
  readonly answers: number;
  /** Nobody can lower what it asks for: it is end-to-end encrypted. */
  readonly isWhole?: boolean;
}

/** How an account stands on its day. */
export interface Standing {
  readonly tokens: number;
  readonly held: number;
  readonly requests: number;
}

/** One thing that bounds a way. */
export interface Bound {
  readonly kind: AccountKind | 'allocation';
  readonly subject: string;
  /** Absent: of these it bounds none. */
  readonly tokens?: { readonly most: number; readonly spent: number; readonly held: number } | undefined;
  readonly requests?: { readonly most: number; readonly spent: number } | undefined;
  /** Known only afterwards: one that is spent stops the next request. */
  readonly deviceMs?: { readonly most: number; readonly spent: number } | undefined;
}

export interface Way {
  /** An allocation's id, `floor`, or nobody. */
  readonly payer: string | null;
  readonly bounds: readonly Bound[];
}

export interface Decision {
  readonly payer: string | null;
  /** What is held for it. */
  readonly tokens: number;
}

const tokensLeft = ({ tokens }: Bound): number =>
  tokens === undefined ? Number.POSITIVE_INFINITY : tokens.most - tokens.spent - tokens.held;
const requestsLeft = ({ requests }: Bound): number =>
  requests === undefined ? Number.POSITIVE_INFINITY : requests.most - requests.spent;

const isClosed = (bound: Bound): boolean =>
  requestsLeft(bound) < 1 || (bound.deviceMs !== undefined && bound.deviceMs.spent >= bound.deviceMs.most);

const tokensIn = ({ bounds }: Way): number => Math.min(...bounds.map(tokensLeft));

const roomIn = ({ bounds }: Way): number =>
  bounds.some(isClosed) ? Number.NEGATIVE_INFINITY : Math.min(...bounds.map(tokensLeft));

/** The least with which it makes sense to begin: the prompts, and a token for each answer. */
const leastOf = ({ promptTokens, answerTokens, answers, isWhole = false }: Wanted): number =>
  promptTokens + (isWhole ? answerTokens : answers);

/**
 * What a capped territory has for others than floors: those of all members are set aside first. With more members than
 * floors fit into the cap everybody's is smaller; see `floorOf`.
 */
export function regularBound(
  most: { readonly tokens: number | undefined; readonly requests: number | undefined },
  all: Standing,
  floors: Standing,
  aside: { readonly tokens: number; readonly requests: number },
): Bound {
  const { tokens, requests } = most;
  const count = { spent: all.tokens - floors.tokens, held: all.held - floors.held };
  return {
    kind: 'territory',
    subject: '',
    tokens: tokens === undefined ? undefined : { most: Math.max(0, tokens - aside.tokens), ...count },
    requests:
      requests === undefined
        ? undefined
        : { most: Math.max(0, requests - aside.requests), spent: all.requests - floors.requests },
  };
}

/** Of one member: all of them together fit into the territory's cap. */
export const floorOf = (floor: number, most: number | undefined, members: number): number =>
  most === undefined ? floor : Math.min(floor, Math.floor(most / Math.max(1, members)));

/** How much more than it has a way could give, of what is wanted. */
export function moreOf(ways: readonly Way[], payer: string | null, wanted: number): number {
  const way = ways.find((one) => one.payer === payer);
  return way === undefined ? 0 : Math.max(0, Math.min(wanted, tokensIn(way)));
}

/** `undefined`: no way has enough. */
export function decide(ways: readonly Way[], wanted: Wanted): Decision | undefined {
  const most = wanted.promptTokens + wanted.answerTokens;
  const rooms = ways.map((way) => ({ way, room: roomIn(way) }));
  const ample = rooms.find(({ room }) => room >= most);
  if (ample !== undefined) return { payer: ample.way.payer, tokens: most };
  // Of several that have too little the first that has the most.
  const [best] = rooms.toSorted((a, b) => b.room - a.room);
  if (best === undefined || best.room < Math.max(1, leastOf(wanted))) return undefined;
  return { payer: best.way.payer, tokens: best.room };
}

/** Who asks, as an error names it. */
export interface Asker {
  /** Name of the project, where there is one. */
  readonly project?: string | undefined;
  /** Whether a project is all that is missing. */
  readonly needsProject: boolean;
  /** When what is counted by the day begins anew. */
  readonly renewsAtMs: number;
  readonly nowMs: number;
}

const count = (amount: number): string => Math.max(0, Math.floor(amount)).toLocaleString('en-US');

/** Why no way has enough, what is spent and left, when it renews and whom to ask. */
export function refusal(ways: readonly Way[], wanted: Wanted, asker: Asker): IdlewildError {
  const least = Math.max(1, leastOf(wanted));
  const [first] = ways;
  const tight = first === undefined ? undefined : tightest(first, least);
  const said = ways.flatMap((way) => {
    const bound = tightest(way, least);
    return bound === undefined ? [] : [sayBound(bound, least)];
  });
  if (asker.needsProject) said.unshift('this community grants by project, and this key belongs to none');
  if (asker.project !== undefined && (first === undefined || first.payer === null))
    said.unshift(`the project ${asker.project} has no allocation now`);
  const held = ways.find((way) => roomIn(way) >= 0 && roomWithHeld(way) >= least);
  if (held !== undefined) {
    const message = `${said.join('; ')}; the rest is held by requests that are being answered: try again in a moment`;
    const details = { limit: 'tokens', retryAfterSeconds: PROJECT_LIMITS.heldRetrySeconds };
    return new IdlewildError('rate_limit_exceeded', message, { details });
  }
  const isDaily = ways.some((way) => tightest(way, least)?.kind !== 'allocation' && way.bounds.length > 0);
  const renews = isDaily ? `; what is counted by the day renews at ${new Date(asker.renewsAtMs).toISOString()}` : '';
  const isAllocation = asker.project !== undefined && (tight === undefined || tight.kind === 'allocation');
  const more = isAllocation
    ? `ask for more with "idlewild projects ask ${asker.project}", which a steward grants`
    : asker.needsProject
      ? 'ask with a key of a project, or have one made with "idlewild projects create"'
      : 'ask a steward to change the cap';
  const needs = `this request needs at least about ${count(least)} tokens`;
  return new IdlewildError(
    isAllocation || asker.needsProject ? 'allocation_spent' : 'spend_cap',
    `${needs}, and ${said.join('; ')}${renews}; ${more}`,
    {
      details: {
        limit: tight?.kind ?? 'allocation',
        ...(isDaily ? { retryAfterSeconds: Math.max(1, Math.ceil((asker.renewsAtMs - asker.nowMs) / 1_000)) } : {}),
      },
    },
  );
}

const roomWithHeld = ({ bounds }: Way): number =>
  Math.min(...bounds.map((bound) => tokensLeft(bound) + (bound.tokens?.held ?? 0)));

/** What stops a way; of several the one that has least. */
function tightest({ bounds }: Way, least: number): Bound | undefined {
  const spent = bounds.find(isClosed);
  if (spent !== undefined) return spent;
  const short = bounds.filter((bound) => tokensLeft(bound) < least);
  return short.toSorted((a, b) => tokensLeft(a) - tokensLeft(b))[0];
}

const NAMES: Readonly<Record<Bound['kind'], string>> = {
  territory: 'the community’s day',
  project: 'the project’s day',
  key: 'the key’s day',
  person: 'the person’s day',
  floor: 'the daily floor',
  floors: 'the daily floors together',
  allocation: 'the allocation',
};

function sayBound(bound: Bound, least: number): string {
  const name = bound.kind === 'allocation' ? `the allocation ${bound.subject}` : NAMES[bound.kind];
  if (requestsLeft(bound) < 1) return `${name} of ${count(bound.requests?.most ?? 0)} requests is spent`;
  if (isClosed(bound)) return `${name} has no device time left`;
  const { most, spent, held } = bound.tokens ?? { most: 0, spent: 0, held: 0 };
  const open = held > 0 ? `, ${count(held)} held` : '';
  const left = count(Math.min(least, tokensLeft(bound)));
  return `${name} of ${count(most)} tokens has ${left} left (${count(spent)} spent${open})`;
}
