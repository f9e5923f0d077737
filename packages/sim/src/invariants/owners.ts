/**
 * Invariant 2 in the database: an answer has one owner, and one replica at a time has a duty. What a stale owner writes
 * changes nothing; an owner changes only with its epoch, and never under one that is alive; an end is written once. A
 * duty is taken only when it has lapsed or was given back, each time under the next epoch, and what an earlier holder
 * tells devices is not passed on to them once a later one was heard.
 */
import type { Timed } from '../events.ts';
import type { CreateChecker } from './checker.ts';

type Wrote = Extract<Timed, { e: 'wrote' }>;

/** Until its row is written again. */
const BEAT_MS_MAX = 5_000;

export const createOwners: CreateChecker = (blame) => {
  /** Since when each is awake; those that are not are not in it. */
  const awake = new Map<string, number>();

  function request({ subject, writer, owners, epochs, states, atMs }: Wrote): void {
    const [owner, next] = owners;
    const what = `request ${subject} of ${owner} (epoch ${epochs[0]}) was made ${states[1]} of ${next} by ${writer}`;
    if (epochs[1] < epochs[0]) blame(`${what}, under the older epoch ${epochs[1]}`);
    if (states[0] !== 'open') return blame(`${what}, having been ${states[0]} already`);
    if (next !== owner) {
      if (next !== writer || epochs[1] !== epochs[0] + 1) blame(`${what}, under epoch ${epochs[1]}`);
      return;
    }
    if (states[1] !== 'failed hub_restarted') {
      if (writer !== owner) blame(`${what}, which does not own it`);
      return;
    }
    const sinceMs = awake.get(owner);
    if (sinceMs !== undefined && atMs - sinceMs > BEAT_MS_MAX) blame(`${what}, although its owner is alive`);
  }
  return {
    see(event) {
      if (event.e === 'hub') {
        const isAwake = event.what === 'started' || event.what === 'woken';
        if (isAwake) awake.set(event.replica, event.atMs);
        else awake.delete(event.replica);
      }
      if (event.e !== 'wrote') return;
      if (event.table === 'requests') request(event);
      if (event.table === 'journal') {
        blame(`${event.writer} wrote in the journal of request ${event.subject}, which is ${event.owners[0]}'s`);
      }
    },
  };
};

export const createDuties: CreateChecker = (blame) => {
  /** The latest epoch of the duty that each home has heard of. */
  const heard = new Map<string, number>();
  return {
    see(event) {
      if (event.e === 'wrote' && event.table === 'duties') {
        const { subject, writer, owners, epochs, states } = event;
        const what = `the duty "${subject}" went from ${owners[0]} (epoch ${epochs[0]}) to ${owners[1]} (${epochs[1]})`;
        if (owners[1] !== writer) blame(`${what}, as ${writer} had it`);
        if (epochs[1] !== epochs[0] + 1) blame(`${what}, and not under the next epoch`);
        if (states[0] === 'held') blame(`${what}, which had not lapsed`);
      }
      if (event.e !== 'placed' || event.by === undefined) return;
      const { from, duty } = event.by;
      const latest = heard.get(event.replica) ?? 0;
      if (duty < latest) {
        const said = `what ${from} said by epoch ${duty} of its duty`;
        blame(`${event.replica} passed on to ${event.device} ${said}, after ${latest}`);
      }
      heard.set(event.replica, Math.max(latest, duty));
    },
  };
};
