/**
 * Whether somebody may do something: roles, policies and standing put together, and a decision for whoever asks.
 *
 * Everything that a decision rests on is as the database had it at most half a second ago (`people/versions.ts`), and
 * the decision is known at once where nothing changed since the last. What is not permitted is refused; where the
 * database does not answer, nothing is permitted.
 */
import { IdlewildError, codeOf, type DataClass, type MaybePromise } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { actorOf, type Principal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import { createDirectory, type Directory, type Standing } from '../people/directory.ts';
import type { PeopleVersions } from '../people/versions.ts';
import { isOfSuspended, type Action } from './actions.ts';
import { barOf, barred } from './bars.ts';
import { loadCedar, type Answer } from './cedar.ts';
import { decide, forbidden, tell, type Told } from './decide.ts';
import { createPermit, type Leave, type Permit } from './permit.ts';
import type { Policy, Readers, Resource, Said, Tier } from './port.ts';
import { reachOf, somewhere } from './reach.ts';
import type { Question } from './slice.ts';
import { createStateReader, type State } from './state.ts';
import { createThings } from './things.ts';

export interface PolicyDeps {
  readonly db: Database;
  /** The database's time. */
  readonly now: () => number;
  readonly territory: string;
  readonly versions: PeopleVersions;
  readonly log: Log;
}

export interface TerritoryPolicy extends Policy {
  /** Checks, and gives what can be asked again while what was permitted goes on. */
  permit(asker: Principal, action: Action, on: Resource, said?: Said): MaybePromise<Permit>;
  /** As `explain`, of somebody who is only spoken of, under policies that may not hold yet. */
  tell(standing: Standing, question: Question, state?: State): Promise<Told>;
  /** What holds now. */
  state(): MaybePromise<State>;
  readonly directory: Directory;
  stop(): void;
}

/** A decision, and what it was made of. */
interface Decided {
  readonly state: State;
  readonly standing: Standing;
  /** As it was asked. */
  readonly asked: Question;
  /** As it was decided: where some devices may and others not, of some that may. */
  readonly question: Question;
  readonly answer: Answer;
}

const TIERS: readonly Tier[] = ['own', 'vetted', 'member', 'public'];

export async function createPolicy(deps: PolicyDeps): Promise<TerritoryPolicy> {
  const { db, now, territory, versions } = deps;
  const states = createStateReader({ ...deps, cedar: await loadCedar() });
  const directory = createDirectory({ db, now, territory });
  const things = createThings(db, territory);
  const state = (): MaybePromise<State> => then(versions.fresh(), (version) => states.at(version));

  function ask(asker: Principal, action: Action, on: Resource, said: Said): MaybePromise<Decided> {
    if (asker.territory !== territory || on.territory !== territory) throw crossing(asker, action);
    return then(versions.fresh(), (version) =>
      then(states.at(version), (current) =>
        then(directory.standingOf(asker, version, isOfSuspended(action)), (standing) =>
          then(things.whole(action, on, version), (whole) => {
            const asked: Question = { action, on: whole, said, atMs: now() };
            const question = somewhere(current, standing, asked);
            const isSuspended = standing.actors.length === 0;
            const answer = isSuspended ? OF_SUSPENDED : decide(current, standing, question);
            return { state: current, standing, asked, question, answer };
          }),
        ),
      ),
    );
  }

  const policy: TerritoryPolicy = {
    check: (asker, action, on, said = {}) => then(ask(asker, action, on, said), require),
    permit(asker, action, on, said = {}) {
      const again = (): MaybePromise<Leave> =>
        then(ask(asker, action, on, said), (decided) => {
          require(decided);
          const { standing, asked } = decided;
          return { untilMs: standing.untilMs, reach: reachOf(states.current, standing, asked) };
        });
      return then(again(), (leave) => createPermit({ versions, now, leave, again }));
    },
    allows(asker, action, on, said = {}) {
      try {
        const asked = ask(asker, action, on, said);
        return asked instanceof Promise ? asked.then(isAllowed).catch(isRefusal) : isAllowed(asked);
      } catch (error) {
        return isRefusal(error);
      }
    },
    async explain(asker, action, on, said = {}) {
      const { state: held, standing, asked } = await ask(asker, action, on, said);
      return told(held, standing, asked);
    },
    tell: async (standing, question, under) => {
      const version = await versions.fresh();
      const held = under ?? (await states.at(version));
      const whole = { ...question, on: await things.whole(question.action, question.on, version) };
      return withReaders(held, whole, told(held, standing, whole));
    },
    tiersFor: (dataClass) => then(state(), (held) => readersOf(held, territory, dataClass)),
    state,
    directory,
    stop: () => states.stop(),
  };
  return policy;
}

function require({ state, standing, question, answer }: Decided): void {
  if (!answer.isAllowed) throw forbidden(tell(state, standing, question, answer), question);
  const bar = barOf(state, standing, question);
  if (bar !== undefined) throw barred(bar, question);
}

function told(state: State, standing: Standing, asked: Question): Told {
  const question = somewhere(state, standing, asked);
  const pools = reachOf(() => state, standing, asked).pools();
  const said = tell(state, standing, question, decide(state, standing, question), pools);
  const bar = said.isAllowed ? barOf(state, standing, question) : undefined;
  if (bar === undefined) return said;
  const { message, needed, decidedBy } = bar;
  return { isAllowed: false, decidedBy: [decidedBy], rolesThatMay: [], needed, message };
}

/** Her standing is nobody's, and known for these acts alone. */
const OF_SUSPENDED: Answer = { isAllowed: true, decidedBy: ['own-devices-of-the-suspended'], failed: [] };

const isAllowed = ({ answer }: Decided): boolean => answer.isAllowed;

/** False for what refuses; anything else is thrown on: a database that does not answer says nothing. */
function isRefusal(error: unknown): false {
  const code = codeOf(error);
  if (code === 'forbidden' || code === 'unauthenticated') return false;
  throw error;
}

/** Decided with everything else that is asked of devices in general: a policy sees the tier and the class. */
function readersOf(state: State, territory: string, dataClass: DataClass): Readers {
  const tiers = new Set<Tier>();
  const forbids = new Map<Tier, readonly string[]>();
  for (const tier of TIERS) {
    const { isAllowed: may, decidedBy } = mayRead(state, territory, dataClass, tier);
    if (may) tiers.add(tier);
    else if (decidedBy.length > 0) forbids.set(tier, decidedBy);
  }
  return { tiers, forbids };
}

function mayRead(state: State, territory: string, dataClass: DataClass, tier: Tier): Answer {
  const question: Question = { action: 'readText', on: { territory, id: dataClass }, said: {}, atMs: 0 };
  const actor = { type: 'Tier', id: tier, territory, roles: [], groups: [] } as const;
  const standing = { actors: [actor], signature: `tier ${tier}`, untilMs: Number.POSITIVE_INFINITY };
  return decide(state, standing, question);
}

/** Who may ask is answered by devices that may read: what forbids these is told, and where it forbids all, that. */
function withReaders(state: State, { action, on, said: { dataClass } }: Question, asker: Told): Told {
  if (!asker.isAllowed || action !== 'answer' || dataClass === undefined) return asker;
  const answers = TIERS.map((tier) => ({ tier, answer: mayRead(state, on.territory, dataClass, tier) }));
  const forbids = answers.filter(({ answer }) => !answer.isAllowed).flatMap(({ answer }) => answer.decidedBy);
  if (forbids.length === 0) return asker;
  const decidedBy = [...new Set(forbids)];
  const by = decidedBy.map((id) => `"${id}"`).join(', ');
  const readers = answers.filter(({ answer }) => answer.isAllowed).map(({ tier }) => tier);
  if (readers.length > 0)
    return {
      ...asker,
      message: `${asker.message}; by ${by} only devices of the tiers ${readers.join(' and ')} read ${dataClass} texts`,
    };
  const needed = `a steward can show and change it: idlewild policy show ${decidedBy[0]?.split('/', 1)[0]}`;
  const message = `${asker.message}, but ${by} lets no device read ${dataClass} texts; ${needed}`;
  return { isAllowed: false, decidedBy, rolesThatMay: [], needed, message };
}

const crossing = (asker: Principal, action: Action): IdlewildError =>
  new IdlewildError('forbidden', `${actorOf(asker)} belongs to another territory, and nothing crosses a territory`, {
    details: { action, decidedBy: ['one-territory'], rolesThatMay: [], needed: 'a key of this territory' },
  });

/** At once where `value` is there. */
function then<From, To>(value: MaybePromise<From>, work: (value: From) => MaybePromise<To>): MaybePromise<To> {
  return value instanceof Promise ? value.then(work) : work(value);
}
