/**
 * Invariant 1: an accepted request is never lost. It completes, fails with a reason, or is cancelled; the database says
 * what its caller saw, also across crashes; and a caller hears exactly one end.
 *
 * A caller is told before its end is committed, so a crash within `GRACE_MS` of the end, or while the disk refuses to
 * write, may leave `hub_restarted` for an answer that was delivered, and fewer tokens than it had. A hub that stops in
 * good order on a disk that writes leaves no such thing.
 */
import { HUB_LIMITS } from '@idlewild/hub';
import type { Timed } from '../events.ts';
import type { RequestRow } from '../snapshot.ts';
import type { CreateChecker } from './checker.ts';

/** A commit's company (20 ms) and the turn that it takes. */
const GRACE_MS = 50;

type End = Extract<Timed, { e: 'finished' | 'failed' | 'hungUp' | 'cutOff' | 'refused' }>;

interface Request {
  id: string | undefined;
  readonly tokenAtMs: number[];
  end: End | undefined;
  /** When the hub crashed under it, or right after it: what happened before this moment was on the disk by then. */
  writtenUntilMs: number | undefined;
}

export const createAccounting: CreateChecker = (blame) => {
  const requests = new Map<number, Request>();
  const disk = createDiskTrouble();

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
  }

  function crashed(atMs: number): void {
    const writtenUntilMs = disk.writtenUntilMs(atMs);
    for (const request of requests.values()) {
      if (request.end === undefined || request.end.atMs >= writtenUntilMs) request.writtenUntilMs ??= writtenUntilMs;
    }
  }

  return {
    see(event) {
      switch (event.e) {
        case 'asked':
          return void requests.set(event.request, {
            id: undefined,
            tokenAtMs: [],
            end: undefined,
            writtenUntilMs: undefined,
          });
        case 'accepted':
          of(event.request).id = event.id;
          return;
        case 'token': {
          const request = of(event.request);
          if (request.end !== undefined) blame(`request ${event.request} got a token after its end (${request.end.e})`);
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
          if (event.what === 'crashed' || (event.what === 'stopped' && disk.isFailing())) crashed(event.atMs);
          if (event.what !== 'started') disk.forget();
          return;
        default:
      }
    },
    inspect({ requests: rows, when }) {
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const row of rows) if (row.state === 'open') blame(`request ${row.id} is still open (${when})`);
      if (when !== 'rest') return;
      for (const [number, request] of requests) {
        if (request.end === undefined) blame(`the caller of request ${number} waits for ever`);
        if (request.id === undefined) continue;
        const row = byId.get(request.id);
        const wrong = row === undefined ? 'it was accepted and is nowhere' : disagreement(request, row);
        if (wrong !== undefined) blame(`request ${number} (${request.id}): ${wrong}`);
      }
    },
  };
};

interface DiskTrouble {
  see(what: 'fault' | 'healed', atMs: number): void;
  isFailing(): boolean;
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
    forget() {
      untilMs = Number.NEGATIVE_INFINITY;
    },
    writtenUntilMs: (atMs) => (atMs <= untilMs ? Math.min(sinceMs, atMs) : atMs) - GRACE_MS,
  };
}

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
    case 'finished': {
      const { answerTokens, failovers, exact } = end.outcome;
      const same =
        row.state === 'done' &&
        row.answer_tokens === answerTokens &&
        answerTokens === tokens &&
        row.failovers === failovers &&
        (row.exact === 1) === exact;
      return same ? undefined : `${said}; its caller saw it done after ${tokens} tokens`;
    }
    case 'failed': {
      const state = end.code === 'cancelled' ? 'cancelled' : 'failed';
      const same = row.state === state && row.reason === end.code && row.answer_tokens === tokens;
      return same ? undefined : `${said}; its caller saw ${end.code} after ${tokens} tokens`;
    }
    case 'hungUp':
      return row.state === 'cancelled' ? undefined : `${said}; its caller hung up`;
    case 'cutOff':
      return `${said}; the hub died before its caller heard of an end`;
    case 'refused':
      return `${said}; its caller was refused with ${end.code}`;
  }
}
