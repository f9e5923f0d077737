/**
 * Invariant 1: an accepted request is never lost. It completes, fails with a reason, or is cancelled; the database says
 * what its caller saw, also across crashes; and a caller hears exactly one end.
 *
 * A caller is told before its end is committed, so a crash within `GRACE_MS` of the end, or while the disk refuses to
 * write, may leave `hub_restarted` for an answer that was delivered, and fewer tokens than it had. A hub that stops in
 * good order on a disk that writes leaves no such thing. A replica that stood still for so long that it was taken for
 * dead is as one that crashed when it did. What a caller under an Idempotency-Key hears as done is done in the
 * database, whatever crashes; while the disk refuses to write it may be told before. One that a steward barred while it
 * was away is refused when it comes back, and its answer may be done all the same (`barred.ts`).
 */
import { HUB_LIMITS } from '@idlewild/hub';
import type { Timed } from '../events.ts';
import type { RequestRow } from '../snapshot.ts';
import { createBarred, type Asker } from './barred.ts';
import type { CreateChecker } from './checker.ts';

/** A commit's company (20 ms) and the turn that it takes. */
const GRACE_MS = 50;

type End = Extract<Timed, { e: 'finished' | 'failed' | 'hungUp' | 'cutOff' | 'refused' }>;

interface Request {
  readonly isKeyed: boolean;
  readonly asker: Asker;
  /** How often its caller came, when last, and whether it got a token since. */
  comings: number;
  cameAtMs: number;
  isTold: boolean;
  /** Of a keyed request there may be several, of which the last counts: one that failed is asked anew. */
  readonly ids: Set<string>;
  replica: string | undefined;
  readonly tokenAtMs: number[];
  end: End | undefined;
  /** When the hub crashed under it, or right after it: what happened before this moment was on the disk by then. */
  writtenUntilMs: number | undefined;
  /** It ended while the disk refused to write. */
  hadDiskTrouble: boolean;
  /** It ended because a steward barred its caller while it was away. */
  isBarred: boolean;
}

export const createAccounting: CreateChecker = (blame, facts) => {
  const requests = new Map<number, Request>();
  const disk = createDiskTrouble();
  const barred = createBarred(facts);
  /** Until when everything was written, and since when it stands still. */
  const paused = new Map<string, { readonly atMs: number; readonly writtenUntilMs: number }>();

  const of = (number: number): Request => {
    const request = requests.get(number);
    if (request === undefined) throw new Error(`request ${number} was never asked`);
    return request;
  };

  function ended(event: End): void {
    const request = of(event.request);
    const wasRefusedLater = request.end?.e === 'hungUp' && event.e === 'refused';
    if (request.end !== undefined && !wasRefusedLater) {
      blame(`request ${event.request} ended twice: ${request.end.e}, then ${event.e}`);
    }
    request.end = event;
    request.hadDiskTrouble = disk.isTroubled(event.atMs);
    request.isBarred = event.e === 'failed' && isBarred(request, event);
  }
  /** At the door, to which it came back; there it was asked who it is at some moment between the two. */
  function isBarred(request: Request, { code, atMs }: Extract<End, { e: 'failed' }>): boolean {
    const { asker, comings, cameAtMs, isTold } = request;
    if (comings < 2 || isTold) return false;
    return [cameAtMs, atMs].some((moment) => barred.mayBeTold(code, asker, moment));
  }

  function crashed(writtenUntilMs: number, replica: string): void {
    for (const request of requests.values()) {
      if (request.replica !== undefined && request.replica !== replica) continue;
      if (request.end === undefined || request.end.atMs >= writtenUntilMs) request.writtenUntilMs ??= writtenUntilMs;
    }
  }

  function accepted({ request: number, id, replica }: Extract<Timed, { e: 'accepted' }>): void {
    const request = of(number);
    request.replica = replica;
    // One that stood still may begin what its caller has long heard the end of.
    if (!request.isKeyed || request.end === undefined) request.ids.add(id);
  }

  function hub({ what, replica, atMs }: Extract<Timed, { e: 'hub' }>): void {
    const since = paused.get(replica) ?? { atMs, writtenUntilMs: disk.writtenUntilMs(atMs) };
    if (what === 'crashed' || (what === 'stopped' && disk.isFailing())) crashed(since.writtenUntilMs, replica);
    const wasLong = atMs - since.atMs > HUB_LIMITS.replicaLiveMs / 2;
    if (what === 'woken' && wasLong) crashed(since.writtenUntilMs, replica);
    if (what === 'paused' || what === 'asleep') paused.set(replica, since);
    else paused.delete(replica);
    if (facts.isAlone && what !== 'started') disk.forget();
  }

  return {
    see(event) {
      barred.see(event);
      switch (event.e) {
        case 'asked':
          return void requests.set(event.request, {
            isKeyed: event.keyed === true,
            asker: { key: event.key, model: event.model },
            comings: 0,
            cameAtMs: event.atMs,
            isTold: false,
            ids: new Set(),
            replica: undefined,
            tokenAtMs: [],
            end: undefined,
            writtenUntilMs: undefined,
            hadDiskTrouble: false,
            isBarred: false,
          });
        case 'came': {
          const request = of(event.request);
          request.comings++;
          request.cameAtMs = event.atMs;
          request.isTold = false;
          return;
        }
        case 'accepted':
          return accepted(event);
        case 'token': {
          const request = of(event.request);
          if (request.end !== undefined) blame(`request ${event.request} got a token after its end (${request.end.e})`);
          request.isTold = true;
          return void request.tokenAtMs.push(event.atMs);
        }
        case 'finished':
        case 'failed':
        case 'hungUp':
        case 'cutOff':
        case 'refused':
          return ended(event);
        case 'fault':
        case 'healed':
          if (event.kind === 'disk') disk.see(event.e, event.atMs);
          return;
        case 'hub':
          return hub(event);
        default:
      }
    },
    inspect({ requests: rows, when }) {
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const row of rows) if (row.state === 'open') blame(`request ${row.id} is still open (${when})`);
      if (when !== 'rest') return;
      for (const [number, request] of requests) {
        if (request.end === undefined) blame(`the caller of request ${number} waits for ever`);
        if (request.ids.size === 0) continue;
        const known = [...request.ids].flatMap((id) => byId.get(id) ?? []);
        const row = known.find(({ state }) => state === 'done') ?? known.at(-1);
        const differs = request.isKeyed ? disagreementOfKeyed : disagreement;
        const wrong = known.length < request.ids.size ? 'it was accepted and is nowhere' : undefined;
        const blamed = wrong ?? (row === undefined ? undefined : differs(request, row));
        if (blamed !== undefined) blame(`request ${number} (${[...request.ids].join(', ')}): ${blamed}`);
        if (known.filter(({ state }) => state === 'done').length > 1) blame(`request ${number} was done twice`);
      }
    },
  };
};

interface DiskTrouble {
  see(what: 'fault' | 'healed', atMs: number): void;
  isFailing(): boolean;
  /** Whether something is still to be written that was refused. */
  isTroubled(atMs: number): boolean;
  /** The connection on which the writes failed is gone. */
  forget(): void;
  /** Everything before this moment is committed at `atMs`. */
  writtenUntilMs(atMs: number): number;
}

/** What failed to be written is tried again a while after the disk has healed. */
function createDiskTrouble(): DiskTrouble {
  let sinceMs = Number.POSITIVE_INFINITY;
  let untilMs = Number.NEGATIVE_INFINITY;
  return {
    see(what, atMs) {
      if (what === 'fault' && atMs > untilMs) sinceMs = atMs;
      untilMs = what === 'fault' ? Number.POSITIVE_INFINITY : atMs + HUB_LIMITS.journalRetryMs + GRACE_MS;
    },
    isFailing: () => untilMs === Number.POSITIVE_INFINITY,
    isTroubled: (atMs) => atMs <= untilMs,
    forget() {
      untilMs = Number.NEGATIVE_INFINITY;
    },
    writtenUntilMs: (atMs) => (atMs <= untilMs ? Math.min(sinceMs, atMs) : atMs) - GRACE_MS,
  };
}

/** How the row differs from what a caller saw that came back until it heard an end. */
function disagreementOfKeyed(
  { end, tokenAtMs, hadDiskTrouble, isBarred }: Request,
  row: RequestRow,
): string | undefined {
  const tokens = tokenAtMs.length;
  const said = `the database says ${row.state} (${row.reason ?? 'no reason'}) after ${row.answer_tokens} tokens`;
  if (end === undefined || end.e === 'hungUp' || hadDiskTrouble || isBarred) return undefined;
  // Its key was revoked while it was away.
  if (end.e === 'failed' && end.code === 'unauthenticated') return undefined;
  if (end.e === 'failed') {
    return row.state === 'failed' || row.state === 'cancelled' ? undefined : `${said}; its caller saw ${end.code}`;
  }
  if (end.e !== 'finished') return `${said}; its caller, who would come back, ended with ${end.e}`;
  return isDoneAs(row, end, tokens) ? undefined : `${said}; its caller saw it done after ${tokens} tokens`;
}

/** `tokens`: how many its caller had. */
const isDoneAs = (row: RequestRow, { outcome }: Extract<End, { e: 'finished' }>, tokens: number): boolean =>
  row.state === 'done' &&
  row.answer_tokens === outcome.answerTokens &&
  outcome.answerTokens === tokens &&
  row.failovers === outcome.failovers &&
  (row.exact === 1) === outcome.exact;

/** How the row differs from what the caller saw. */
function disagreement({ end, tokenAtMs, writtenUntilMs }: Request, row: RequestRow): string | undefined {
  const tokens = tokenAtMs.length;
  const said = `the database says ${row.state} (${row.reason ?? 'no reason'}) after ${row.answer_tokens} tokens`;
  if (end === undefined) return undefined;
  if (row.state === 'failed' && row.reason === null) return 'it failed without a reason';
  if (row.state === 'failed' && row.reason === 'hub_restarted' && writtenUntilMs !== undefined) {
    const written = tokenAtMs.filter((atMs) => atMs < writtenUntilMs).length;
    if (end.e !== 'hungUp' && row.answer_tokens > tokens) return `${said}; its caller saw ${tokens}`;
    return row.answer_tokens < written ? `${said}; its caller saw ${written} in good time` : undefined;
  }
  switch (end.e) {
    case 'finished':
      return isDoneAs(row, end, tokens) ? undefined : `${said}; its caller saw it done after ${tokens} tokens`;
    case 'failed': {
      const state = end.code === 'cancelled' ? 'cancelled' : 'failed';
      const same = row.state === state && row.reason === end.code && row.answer_tokens === tokens;
      return same ? undefined : `${said}; its caller saw ${end.code} after ${tokens} tokens`;
    }
    case 'hungUp':
      return row.state === 'cancelled' || end.late === true ? undefined : `${said}; its caller hung up`;
    case 'cutOff':
      return `${said}; the hub died before its caller heard of an end`;
    case 'refused':
      return `${said}; its caller was refused with ${end.code}`;
  }
}
