/**
 * A caller of the reliability tests: asks for one stream, and whatever breaks goes on where it stopped, as an SDK that
 * retries and resumes does. It notes all that a person would notice: when each token came, what broke, what was wrong.
 *
 * The devices are simulated, so the whole answer is known beforehand: each token that comes is held against it, by its
 * place. A caller that does not resume (`resumes: false`) has one try after the first byte, as most clients have today.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { simulatedAnswer, simulatedText } from '@idlewild/agent/testing';

export interface Door {
  readonly url: string;
  readonly key: string;
}

export interface Question {
  readonly model: string;
  readonly prompt: string;
  readonly seed: number;
  readonly tokensMax: number;
  /** Absent: nothing is asked twice. */
  readonly idempotencyKey?: string;
  /** Goes on from the last token after a break. */
  readonly resumes: boolean;
}

/** One thing that went wrong on the way and did not end the request. */
export interface Break {
  readonly atMs: number;
  /** A status, a code of the connection, or the code of an error within the stream. */
  readonly why: string;
}

export interface Heard {
  /** As the hub names it; absent where it never said so. */
  readonly requestId: string | undefined;
  readonly question: Question;
  readonly outcome: 'done' | 'failed';
  /** Why it failed. */
  readonly why: string;
  /** Tokens that came. */
  readonly tokens: number;
  /** Tokens that are not what the undisturbed answer has in their place, or that came again, or that never came. */
  readonly wrong: number;
  readonly breaks: readonly Break[];
  /** Longest run of tries without a token between them. */
  readonly triesMax: number;
  /** Until the first token, and between any two. */
  readonly firstMs: number;
  readonly gapMsMax: number;
  readonly tookMs: number;
  /** What the hub said of it. */
  readonly failovers: number;
  readonly exact: boolean;
}

/** How an SDK retries, but longer: what a person would give an outage. */
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 1_000;
const TRIES_MAX = 100;
/** Beyond this without a token the answer is lost, whatever the hub still has in mind. */
export const PATIENCE_MS = 90_000;
/** An answer that has begun and is silent for this long is given up and asked for again; one that has not, later. */
const SILENCE_MS = 5_000;
const BEGIN_MS = 15_000;
const RETRIED = new Set([408, 409, 425, 429, 500, 502, 503, 504]);

interface Listening {
  readonly expected: ReturnType<typeof simulatedAnswer>;
  readonly askedMs: number;
  readonly breaks: Break[];
  requestId: string | undefined;
  /** As the last event that named itself. */
  lastEventId: string | undefined;
  next: number;
  wrong: number;
  finish: string | undefined;
  isDone: boolean;
  firstMs: number;
  lastMs: number;
  gapMsMax: number;
  failovers: number;
  exact: boolean;
  triesMax: number;
}

interface Ended {
  /** Absent: whole. */
  readonly why?: string;
  readonly isFinal?: boolean;
  readonly afterMs?: number;
}

/** The tokens that the devices of these tests give. */
export const expectedOf = ({ prompt, seed, tokensMax }: Question): ReturnType<typeof simulatedAnswer> =>
  simulatedAnswer({ prompt: { kind: 'text', text: prompt }, sampling: { seed }, choice: 0, stop: [], tokensMax });

export async function ask(door: Door, question: Question, signal: AbortSignal): Promise<Heard> {
  const state: Listening = {
    expected: expectedOf(question),
    askedMs: performance.now(),
    breaks: [],
    requestId: undefined,
    lastEventId: undefined,
    next: 0,
    wrong: 0,
    finish: undefined,
    isDone: false,
    firstMs: 0,
    lastMs: performance.now(),
    gapMsMax: 0,
    failovers: 0,
    exact: false,
    triesMax: 0,
  };
  let ended: Ended = { why: 'never asked' };
  let tries = 0;
  while (tries < TRIES_MAX) {
    const before = state.next;
    ended = await tryOnce(door, question, state, signal);
    if (ended.why === undefined) break;
    tries = state.next > before ? 1 : tries + 1;
    state.triesMax = Math.max(state.triesMax, tries);
    state.breaks.push({ atMs: performance.now() - state.askedMs, why: ended.why });
    const mayTry = question.resumes || (state.next === 0 && state.finish === undefined);
    if (ended.isFinal === true || !mayTry || performance.now() - state.lastMs > PATIENCE_MS) break;
    const backoffMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(tries - 1, 8));
    await pause(ended.afterMs ?? backoffMs * (0.5 + Math.random() / 2));
  }
  const nowMs = performance.now();
  return {
    requestId: state.requestId,
    question,
    outcome: ended.why === undefined ? 'done' : 'failed',
    why: ended.why ?? '',
    tokens: state.next,
    wrong: state.wrong + missingOf(state, ended),
    breaks: ended.why === undefined ? state.breaks : state.breaks.slice(0, -1),
    triesMax: state.triesMax,
    firstMs: state.firstMs,
    // What never came is waited for until the end.
    gapMsMax: ended.why === undefined ? state.gapMsMax : Math.max(state.gapMsMax, nowMs - state.lastMs),
    tookMs: nowMs - state.askedMs,
    failovers: state.failovers,
    exact: state.exact,
  };
}

/** An answer that says it is whole and is not. */
const missingOf = (state: Listening, { why }: Ended): number =>
  why === undefined ? Math.max(0, state.expected.tokens.length - state.next) : 0;

function tryOnce(door: Door, question: Question, state: Listening, signal: AbortSignal): Promise<Ended> {
  const { model, prompt, seed, tokensMax, idempotencyKey, resumes } = question;
  const body = JSON.stringify({ model, prompt, seed, max_tokens: tokensMax, stream: true });
  const headers = {
    authorization: `Bearer ${door.key}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    ...(resumes && state.lastEventId !== undefined ? { 'last-event-id': state.lastEventId } : {}),
  };
  return new Promise((resolve) => {
    // A connection for each try, as a balancer that looks at requests would place them.
    const options = { method: 'POST', agent: false, headers, timeout: BEGIN_MS, signal };
    let isOver = false;
    const settle = (ended: Ended): void => {
      if (isOver) return;
      isOver = true;
      sent.destroy();
      resolve(ended);
    };
    const broken = (error: NodeJS.ErrnoException): void => settle({ why: error.code ?? error.message });
    const sent = httpRequest(`${door.url}/v1/completions`, options, (response) => {
      if (response.statusCode !== 200) return void refusal(response).then(settle);
      sent.setTimeout(SILENCE_MS);
      let rest = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        const events = (rest + text).split('\n\n');
        rest = events.pop() ?? '';
        for (const event of events) {
          const ended = isOver ? undefined : take(event, state);
          if (ended !== undefined) settle(ended);
        }
      });
      response.on('error', broken);
      response.on('close', () => settle(state.isDone ? {} : { why: 'broke off' }));
    });
    sent.on('timeout', () => settle({ why: 'silent' }));
    sent.on('error', broken);
    sent.end(body);
  });
}

async function refusal(response: IncomingMessage): Promise<Ended> {
  let text = '';
  try {
    for await (const chunk of response.setEncoding('utf8')) text += chunk as string;
  } catch {
    return { why: 'broke off' };
  }
  const status = response.statusCode ?? 0;
  const code = /"code":"([a-z_]+)"/.exec(text)?.[1] ?? text.slice(0, 80);
  const afterS = Number(response.headers['retry-after']);
  return {
    why: `${status} ${code}`,
    isFinal: !RETRIED.has(status),
    ...(afterS > 0 ? { afterMs: Math.min(afterS * 1_000, 5_000) } : {}),
  };
}

interface Told {
  readonly id?: string;
  readonly choices?: readonly { readonly text?: string; readonly finish_reason?: string | null }[];
  readonly idlewild?: { readonly exact: boolean; readonly failovers: number };
  readonly error?: { readonly code?: string | null; readonly message: string };
}

/** Returns how the stream ends, once it does. */
function take(event: string, state: Listening): Ended | undefined {
  let data = '';
  for (const line of event.split('\n')) {
    if (line.startsWith('id: ')) state.lastEventId = line.slice(4);
    else if (line.startsWith('data: ')) data += line.slice(6);
  }
  if (data === '') return undefined;
  if (data === '[DONE]') {
    state.isDone = true;
    return {};
  }
  const told = JSON.parse(data) as Told;
  if (told.error !== undefined)
    return { why: `in the stream: ${told.error.code ?? told.error.message}`, isFinal: true };
  state.requestId ??= told.id;
  if (told.id !== undefined && told.id !== state.requestId) state.wrong++;
  const choice = told.choices?.[0];
  if (choice?.text !== undefined && choice.text !== '') hear(choice.text, state);
  state.finish = choice?.finish_reason ?? state.finish;
  if (told.idlewild !== undefined) {
    state.failovers = told.idlewild.failovers;
    state.exact = told.idlewild.exact;
  }
  return undefined;
}

/** One token of these devices is one word, and one event. */
function hear(text: string, state: Listening): void {
  const nowMs = performance.now();
  const waitedMs = nowMs - state.lastMs;
  if (state.next === 0) state.firstMs = waitedMs;
  else state.gapMsMax = Math.max(state.gapMsMax, waitedMs);
  state.lastMs = nowMs;
  const expected = state.expected.tokens[state.next];
  if (expected === undefined || text !== simulatedText(expected)) state.wrong++;
  state.next++;
}
