/**
 * Invariant 1: an accepted request is never lost. It completes, fails with a reason, or is cancelled; the database says
 * what its caller saw, also across crashes; and a caller hears exactly one end.
 *
 * A caller is told before its end is committed, so a crash within `GRACE_MS` of the end, or while the disk refused to
 * write, may leave `hub_restarted` for an answer that was delivered. A hub that stops in good order leaves no such thing.
 */
import type { Timed } from '../events.ts';
import type { RequestRow } from '../snapshot.ts';
import type { CreateChecker } from './checker.ts';

/** A commit's company (20 ms) and the turn that it takes. */
const GRACE_MS = 50;

interface Request {
  id: string | undefined;
  tokens: number;
  /** Tokens seen early enough to be in the journal at the crash. */
  readonly tokenAtMs: number[];
  end: Extract<Timed, { e: 'finished' | 'failed' | 'hungUp' | 'cutOff' | 'refused' }> | undefined;
  /** A crash so soon after the end, or in such a state of the disk, that the end may not be committed. */
  excused: boolean;
  crashAtMs: number | undefined;
}

export const createAccounting: CreateChecker = (blame) => {
  const requests = new Map<number, Request>();
  let open: Request[] = [];
  let lately: Request[] = [];
  let diskFails = false;
  let diskFailedAtMs = Number.NEGATIVE_INFINITY;

  const of = (number: number): Request => {
    const request = requests.get(number);
    if (request === undefined) throw new Error(`request ${number} was never asked`);
    return request;
  };

  function ended(event: Extract<Timed, { request: number; e: 'finished' | 'failed' | 'hungUp' | 'cutOff' | 'refused' }>): void {
    const request = of(event.request);
    const hungUpBefore = request.end?.e === 'hungUp';
    if (request.end !== undefined && !(hungUpBefore && event.e === 'refused')) {
      blame(`request ${event.request} ended twice: ${request.end.e}, then ${event.e}`);
    }
    request.end = event;
    open = open.filter((other) => other !== request);
    lately.push(request);
  }

  function crashed(atMs: number): void {
    const excuseFromMs = diskFails ? diskFailedAtMs - GRACE_MS : atMs - GRACE_MS;
    for (const request of lately) if ((request.end?.atMs ?? 0) >= excuseFromMs) request.excused = true;
    for (const request of requests.values()) if (request.end?.e === 'cutOff' || request.end === undefined) request.crashAtMs ??= atMs;
    lately = lately.filter((request) => (request.end?.atMs ?? 0) >= excuseFromMs);
  }

  return {
    see(event) {
      switch (event.e) {
        case 'asked': {
          const request = { id: undefined, tokens: 0, tokenAtMs: [], end: undefined, excused: false, crashAtMs: undefined };
          requests.set(event.request, request);
          return void open.push(request);
        }
        case 'accepted': {
          of(event.request).id = event.id;
          return;
        }
        case 'token': {
          const request = of(event.request);
          if (request.end !== undefined) blame(`request ${event.request} got a token after its end (${request.end.e})`);
          request.tokens++;
          return void request.tokenAtMs.push(event.atMs);
        }
        case 'finished':
        case 'failed':
        case 'hungUp':
        case 'cutOff':
        case 'refused': return ended(event);
        case 'fault':
          if (event.kind !== 'disk') return;
          diskFails = true;
          diskFailedAtMs = event.atMs;
          return;
        case 'healed':
          if (event.kind === 'disk') diskFails = false;
          return;
        case 'hub':
          if (event.what === 'crashed') crashed(event.atMs);
          if (event.what !== 'started') diskFails = false;
          return;
        default:
      }
    },
    inspect({ requests: rows, when }) {
      const byId = new Map(rows.map((row) => [row.id, row]));
      for (const row of rows) if (row.state === 'open') blame(`request ${row.id} is still open (${when})`);
      if (when !== 'rest') return;
      if (open.length > 0) blame(`${open.length} callers wait for ever`);
      for (const [number, request] of requests) {
        const row = request.id === undefined ? undefined : byId.get(request.id);
        if (request.id === undefined) continue;
        if (row === undefined) {
          blame(`request ${number} was accepted and is nowhere`);
          continue;
        }
        const wrong = disagreement(request, row);
        if (wrong !== undefined) blame(`request ${number} (${request.id}): ${wrong}`);
      }
    },
  };
};

/** How the row differs from what the caller saw. */
function disagreement(request: Request, row: RequestRow): string | undefined {
  const { end, tokens } = request;
  const said = `the database says ${row.state} (${row.reason ?? 'no reason'}) after ${row.answer_tokens} tokens`;
  const restarted = row.state === 'failed' && row.reason === 'hub_restarted';
  if (row.state === 'failed' && row.reason === null) return 'it failed without a reason';
  if (end === undefined) return `${said}, and its caller heard nothing`;
  if (restarted && (end.e === 'cutOff' || request.excused)) {
    const early = request.tokenAtMs.filter((atMs) => atMs < (request.crashAtMs ?? Number.NEGATIVE_INFINITY) - GRACE_MS).length;
    if (row.answer_tokens > tokens && end.e === 'cutOff') return `${said}; its caller saw ${tokens}`;
    return row.answer_tokens < early && !request.excused ? `${said}; its caller saw ${early} in good time` : undefined;
  }
  switch (end.e) {
    case 'finished': {
      const { answerTokens, failovers, exact } = end.outcome;
      const same = row.state === 'done' && row.answer_tokens === answerTokens && row.failovers === failovers && (row.exact === 1) === exact;
      return same && answerTokens === tokens ? undefined : `${said}; its caller saw it done after ${tokens} tokens`;
    }
    case 'failed': {
      const state = end.code === 'cancelled' ? 'cancelled' : 'failed';
      const same = row.state === state && row.reason === end.code && row.answer_tokens === tokens;
      return same ? undefined : `${said}; its caller saw ${end.code} after ${tokens} tokens`;
    }
    case 'hungUp': return row.state === 'cancelled' || row.reason === 'hub_stopping' ? undefined : `${said}; its caller hung up`;
    case 'cutOff': return row.state === 'cancelled' && row.reason === 'cancelled' ? undefined : `${said}; the hub died before its caller heard of an end`;
    case 'refused': return `${said}; its caller was refused with ${end.code}`;
  }
}
