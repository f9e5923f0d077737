/**
 * No policy is written that nobody could take back: where somebody is a steward for good, one such steward goes on
 * being able to read and to change the policies, be it at some hour of the week only.
 *
 * Whoever forbids everything to everybody forbids it also to whoever would mend it. It knows the stewards as they are
 * now; who is put out of a group later may be the last whom a policy leaves in.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { createDirectory, type Standing } from '../people/directory.ts';
import type { Place } from '../people/standing.ts';
import { stewardsIn } from '../people/stewards.ts';
import type { Action } from './actions.ts';
import type { Answer } from './cedar.ts';
import { decide } from './decide.ts';
import type { State } from './state.ts';

const MENDING = ['readPolicy', 'changePolicy'] as const satisfies Action[];
const HOUR_MS = 3_600_000;
/** All that is said of these acts is the hour and the day of the week. */
const WEEK_HOURS = 168;

/** Throws `policy_invalid`, which names the policies, where nobody of those who could mend these would. */
export async function requireWayBack(source: Database, place: Place, before: State, after: State): Promise<void> {
  const { territory, nowMs } = place;
  const directory = createDirectory({ db: source, now: () => nowMs, territory });
  const stewards = await stewardsIn(source, place);
  const lasting = stewards.filter(({ untilMs }) => untilMs === null);
  const asked = lasting.length > 0 ? lasting : stewards;
  const lost: Standing[] = [];
  for (const id of new Set(asked.map((steward) => steward.id))) {
    const standing = await directory.standingOfId(id);
    if (mends(after, standing, place)) return;
    if (mends(before, standing, place)) lost.push(standing);
  }
  const [one] = lost;
  if (one === undefined) return;
  const actions = MENDING.filter((action) => !isOpen(after, one, action, place));
  const by = new Set(actions.flatMap((action) => namesOf(answerAt(after, one, action, territory, nowMs))));
  const names = [...by].map((id) => `"${id}"`).join(', ');
  throw new IdlewildError(
    'policy_invalid',
    `the policy ${names} would take ${actions.join(' and ')} from every lasting steward: nobody could see it, change ` +
      'it or take it away again; leave stewards out of it, as in: unless { principal in Role::"steward" }',
    { details: { policies: [...by], actions } },
  );
}

const mends = (state: State, standing: Standing, place: Place): boolean =>
  MENDING.every((action) => isOpen(state, standing, action, place));

/** At some hour of a week. */
function isOpen(state: State, standing: Standing, action: Action, { territory, nowMs }: Place): boolean {
  for (let hour = 0; hour < WEEK_HOURS; hour++)
    if (answerAt(state, standing, action, territory, nowMs + hour * HOUR_MS).isAllowed) return true;
  return false;
}

const answerAt = (state: State, standing: Standing, action: Action, territory: string, atMs: number): Answer =>
  decide(state, standing, { action, on: { territory }, said: {}, atMs });

const namesOf = ({ decidedBy, failed }: Answer): string[] => [...decidedBy, ...failed.map(({ id }) => id)];
