/**
 * What may be spent: no cap and no allocation is gone beyond by what is held and spent together, whenever something is
 * held; what was refused is neither held nor charged; who has a bound is not answered without a hold; each answer is
 * charged once, as much as its caller was given; and at rest nothing is held, and the hub's sums are those of the
 * answers.
 *
 * The accounts are kept here once more, from what was committed, in that order (`members/booked.ts`), and from what
 * callers heard: none of the hub's own sums is asked before the end. A cap that is lowered below what is spent lets
 * nothing begin; what runs is answered to its end, and prompts may have more tokens than anybody thought.
 */
import type { CallerKey } from '../callers/callers.ts';
import type { Booked } from '../members/booked.ts';
import type { CreateChecker } from './checker.ts';

type Fact<Kind extends Booked['t']> = Extract<Booked, { t: Kind }>;

interface Hold {
  readonly id: string;
  readonly day: number;
  readonly payer: string | null;
  readonly accounts: readonly string[];
  /** Of these the ones that were capped while it was held. */
  readonly capped: Set<string>;
  left: number;
  ended: number;
}

interface Account {
  tokens: number;
  /** Begun before midnight and ended after it while nothing counted it: in usage it is the day's on which it ended. */
  late: number;
  held: number;
  requests: number;
}

interface Cap {
  readonly tokens: number | null;
  readonly requests: number | null;
}

const WHOLE = 'territory ';
const FLOORS = 'floors ';
const isOfFloor = (name: string): boolean => name === FLOORS || name.startsWith('floor ');
/** As docs/projects.md says, until a steward says otherwise. */
const FLOOR: Fact<'floor'> = { t: 'floor', needs: 'optional', tokens: 10_000, requests: 50 };
/** A replica knows of a change half a second later; a second with what is on its way. */
const KNOWN_MS = 1_000;

export const createSpending: CreateChecker = (blame, facts) => {
  const books = createBooks(blame, (id) => facts.keyOf(id));
  const refused = new Set<string>();
  /** By request as callers number them. */
  const asked = new Map<number, { readonly key: string; readonly atMs: number; isHeld: boolean; tokens?: number }>();
  const numbers = new Map<string, number>();
  let wokenAtMs = Number.NEGATIVE_INFINITY;

  /** Accepted without a hold, since it was read last what bounds whom: a cap may have gone meanwhile. */
  let unheld: number[] = [];
  function checkUnheld(): void {
    for (const request of unheld) {
      const { key, atMs } = asked.get(request) ?? { key: '', atMs: 0 };
      const sinceMs = books.boundSinceMs(key);
      if (sinceMs !== undefined && Math.max(sinceMs, wokenAtMs) + KNOWN_MS < atMs)
        blame(`request ${request} of ${key} was accepted and holds nothing, and something bounds it`);
    }
    unheld = [];
  }

  return {
    see(event) {
      switch (event.e) {
        case 'hub':
          if (event.what === 'woken') wokenAtMs = event.atMs;
          return;
        case 'asked':
          return void asked.set(event.request, { key: event.key, atMs: event.atMs, isHeld: false });
        case 'held': {
          const one = asked.get(event.request);
          if (one !== undefined) one.isHeld = true;
          return;
        }
        case 'unheld':
          if (books.knows(event.hold))
            blame(`request ${event.request} was refused (${event.code}), and holds something`);
          return void refused.add(event.hold);
        case 'accepted':
          numbers.set(event.id, event.request);
          if (asked.get(event.request)?.isHeld === false) unheld.push(event.request);
          return;
        case 'read':
          return checkUnheld();
        case 'finished': {
          const one = asked.get(event.request);
          if (one !== undefined) one.tokens = event.outcome.promptTokens + event.outcome.answerTokens;
          return;
        }
        case 'booked': {
          const { fact } = event;
          if (fact.t === 'hold' && refused.has(fact.id))
            blame(`${fact.id} was refused, and holds ${fact.tokens} tokens`);
          return books.book(fact, event.atMs);
        }
        default:
      }
    },
    inspect({ when, spending }) {
      if (when !== 'rest' || spending === undefined) return;
      for (const end of books.ends()) {
        const given = asked.get(numbers.get(end.id) ?? Number.NaN)?.tokens;
        if (end.state === 'done' && given !== undefined && given !== end.tokens)
          blame(`${end.id} is charged with ${end.tokens} tokens, and its caller was given ${given}`);
      }
      for (const held of spending.holds) blame(`${held} is held at rest`);
      for (const { name, day, tokens, held } of spending.days) {
        if (held !== 0) blame(`${name} has ${held} tokens held at rest`);
        const { tokens: due, late } = books.account(name, day);
        if (tokens < due || tokens > due + late)
          blame(`${name} has spent ${tokens} tokens on day ${day}, and answers were ${due}`);
      }
      for (const { id, spent, held } of spending.allocations) {
        if (held !== 0) blame(`the allocation ${id} has ${held} tokens held at rest`);
        const due = books.account(id, undefined).tokens;
        if (spent !== due) blame(`the allocation ${id} has spent ${spent} tokens, and answers were ${due}`);
      }
    },
  };
};

/** The accounts, from what was committed. */
function createBooks(blame: (what: string) => void, keyOf: (id: string) => CallerKey | undefined) {
  const accounts = new Map<string, Account>();
  const holds = new Map<string, Hold>();
  const ever = new Set<string>();
  const caps = new Map<string, Cap>();
  const granted = new Map<string, number>();
  const active = new Set<string>();
  const over: Fact<'end'>[] = [];
  /** Since when a subject has a cap of the day, and all have to have an allocation. */
  const cappedSinceMs = new Map<string, number>();
  let floor = FLOOR;

  const subjectsOf = (id: string): string[] => {
    const { person, project } = keyOf(id) ?? {};
    return [WHOLE, `key ${id}`, ...(person ? [`person ${person}`] : []), ...(project ? [`project ${project}`] : [])];
  };
  const account = (name: string, day: number | undefined): Account => {
    const id = `${name} ${day ?? ''}`;
    const known = accounts.get(id) ?? { tokens: 0, late: 0, held: 0, requests: 0 };
    accounts.set(id, known);
    return known;
  };
  /** Of a person those of everybody, as far as she has none of her own. */
  const capOf = (name: string): Cap => {
    const own = caps.get(name);
    const all = name.startsWith('person ') ? caps.get('person ') : undefined;
    return { tokens: own?.tokens ?? all?.tokens ?? null, requests: own?.requests ?? all?.requests ?? null };
  };
  const isCapped = (name: string): boolean => capOf(name).tokens !== null || capOf(name).requests !== null;
  const each = (hold: Hold, act: (account: Account, name: string) => void): void => {
    for (const name of hold.accounts) act(account(name, hold.day), name);
    if (hold.payer !== null && hold.payer !== 'floor') act(account(hold.payer, undefined), hold.payer);
  };
  const total = ({ tokens, held }: Account): number => tokens + held;

  /** Whether what was just held goes beyond something. */
  function check(hold: Hold, isNew: boolean): void {
    const { id, day, payer } = hold;
    const wrong = (name: string, what: string): void => blame(`${id} goes beyond ${name}: ${what}`);
    for (const name of hold.accounts) {
      if (isOfFloor(name)) continue;
      // A project's cap is not asked of the floor, which is there when a project has nothing.
      if (payer === 'floor' && name.startsWith('project ')) continue;
      const { tokens, requests } = capOf(name);
      const now = account(name, day);
      if (tokens !== null && total(now) > tokens) wrong(name, `${now.tokens} + ${now.held} of ${tokens} tokens`);
      if (isNew && requests !== null && now.requests > requests) wrong(name, `${now.requests} of ${requests} requests`);
    }
    const whole = capOf(WHOLE);
    if (payer === 'floor') {
      const person = hold.accounts.find((name) => name.startsWith('floor ')) ?? '';
      const now = account(person, day);
      const most = Math.min(
        floor.tokens,
        whole.tokens === null ? floor.tokens : Math.floor(whole.tokens / active.size),
      );
      if (total(now) > most) wrong(person, `${now.tokens} + ${now.held} of ${most} tokens`);
      return;
    }
    if (payer !== null) {
      const now = account(payer, undefined);
      const most = granted.get(payer) ?? 0;
      if (total(now) > most) wrong(payer, `${now.tokens} + ${now.held} of ${most} tokens`);
    }
    if (whole.tokens === null) return;
    const most = Math.max(0, whole.tokens - floor.tokens * active.size);
    const regular = total(account(WHOLE, day)) - total(account(FLOORS, day));
    if (regular > most) wrong('what the floors leave', `${regular} of ${most} tokens`);
  }

  const take = ({ id, key, day, payer, tokens }: Fact<'hold'>): void => {
    const { person } = keyOf(key) ?? {};
    const ofFloor = payer === 'floor' && person !== undefined ? [`floor ${person}`, FLOORS] : [];
    const names = subjectsOf(key);
    const capped = new Set(names.filter(isCapped));
    const hold: Hold = { id, day, payer, accounts: [...names, ...ofFloor], capped, left: tokens, ended: 0 };
    holds.set(id, hold);
    ever.add(id);
    each(hold, (of) => {
      of.held += tokens;
      of.requests++;
    });
    check(hold, true);
  };
  function more({ id, tokens }: Fact<'more'>): void {
    const hold = holds.get(id);
    if (hold === undefined) return blame(`${id} holds more, and held nothing`);
    hold.left += tokens;
    each(hold, (of) => void (of.held += tokens));
    check(hold, false);
  }
  function end(fact: Fact<'end'>): void {
    over.push(fact);
    const { hold: id, tokens, key, day } = fact;
    const hold = id === null ? undefined : holds.get(id);
    if (hold === undefined) {
      if (id !== null && tokens > 0) blame(`${fact.id} ended after ${id} was let go, which it is charged to`);
      for (const name of subjectsOf(key)) {
        const of = account(name, day);
        of.tokens += tokens;
        of.requests++;
      }
      return;
    }
    // Usage has it on the day it ended: a cap that is set later may find it there, and one of the day before does not.
    const late = hold.day === day ? [] : hold.accounts.filter((name) => !hold.capped.has(name) && !isOfFloor(name));
    for (const name of late) account(name, day).late += tokens;
    const held = Math.min(tokens, hold.left);
    hold.left -= held;
    hold.ended++;
    each(hold, (of, name) => {
      if (late.includes(name)) of.late += tokens;
      else of.tokens += tokens;
      of.held -= held;
    });
  }
  function gone(id: string): void {
    const hold = holds.get(id);
    if (hold === undefined) return blame(`${id} was let go, and held nothing`);
    holds.delete(id);
    each(hold, (of) => {
      of.held -= hold.left;
      if (hold.ended === 0) of.requests--;
    });
  }
  function cap({ kind, subject, tokens, requests }: Fact<'cap'>, atMs: number): void {
    const name = `${kind} ${subject}`;
    caps.set(name, { tokens, requests });
    for (const hold of holds.values()) for (const own of hold.accounts) if (isCapped(own)) hold.capped.add(own);
    if (tokens === null && requests === null) cappedSinceMs.delete(name);
    else if (!cappedSinceMs.has(name)) cappedSinceMs.set(name, atMs);
  }

  return {
    account,
    knows: (hold: string) => ever.has(hold),
    ends: () => over,
    /** Since when nobody may be answered by this key without a hold. */
    boundSinceMs(key: string): number | undefined {
      const names = subjectsOf(key);
      if (names.some((name) => name.startsWith('project '))) return 0;
      const all = [...names, 'person '].filter((name) => name !== 'person ' || keyOf(key)?.person !== undefined);
      const since = all.flatMap((name) => cappedSinceMs.get(name) ?? []);
      return since.length === 0 ? undefined : Math.min(...since);
    },
    book(fact: Booked, atMs: number): void {
      switch (fact.t) {
        case 'hold':
          return take(fact);
        case 'more':
          return more(fact);
        case 'end':
          return end(fact);
        case 'gone':
          return gone(fact.id);
        case 'cap':
          return cap(fact, atMs);
        case 'floor':
          floor = fact;
          return;
        case 'member':
          return void (fact.state === 'active' ? active.add(fact.id) : active.delete(fact.id));
        case 'allocation':
          return void granted.set(fact.id, fact.state === 'granted' ? fact.tokens : 0);
      }
    },
  };
}
