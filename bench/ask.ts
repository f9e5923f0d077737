/**
 * One question, asked in both ways that are compared: of a hub over HTTP, and of an engine by the process that started
 * it.
 *
 * The same work on both sides: prompt, seed, tokens. Times are those at which this process had a piece of text in its
 * hands. The caller only counts events while an answer comes and looks into them afterwards, so that it takes little of
 * the machine.
 */
import { Agent, request, type ClientRequest } from 'node:http';
import type { Engine } from '@idlewild/engine';
import type { AnswerWork } from '@idlewild/protocol';

export interface Ask {
  readonly model: string;
  readonly prompt: string;
  readonly seed: number;
  readonly tokensMax: number;
  /** As a conversation of one message, instead of a text to go on from. */
  readonly isChat?: boolean;
  /** More fields of the request to a hub. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface Answered {
  /** From asking to each piece of text, in milliseconds. */
  readonly atMs: readonly number[];
  readonly pieces: readonly string[];
  readonly tokens: number;
  readonly finish: string;
  /** Tokens of the prompt that the device had kept. */
  readonly cached: number;
  /** What the hub said of it; an engine says nothing. */
  readonly exact: boolean;
  readonly failovers: number;
}

export const textOf = (answered: Answered): string => answered.pieces.join('');

/** Pieces per second between the first and the last; what comes with the end waited for no token and is left out. */
export function speedOf({ atMs }: Answered): number {
  const [first, last] = [atMs[0], atMs.at(-1)];
  if (first !== undefined && last !== undefined && last > first) return ((atMs.length - 1) * 1_000) / (last - first);
  throw new Error(`an answer of ${atMs.length} pieces has no speed`);
}

/** What the hub makes of the request of `askHub`. */
export function askEngine(engine: Engine, { prompt, seed, tokensMax }: Ask): Promise<Answered> {
  const work: AnswerWork = {
    prompt: { kind: 'text', text: prompt },
    sampling: { seed },
    choice: 0,
    stop: [],
    tokensMax,
    tokens: [],
  };
  const atMs: number[] = [];
  const pieces: string[] = [];
  const askedMs = performance.now();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(tooLong('an engine driven directly')), ANSWER_MS_MAX);
    engine.answer(work, (event) => {
      if (event.t === 'failed' || event.t === 'finished') clearTimeout(timer);
      if (event.t === 'token' && event.s !== '') {
        atMs.push(performance.now() - askedMs);
        pieces.push(event.s);
      } else if (event.t === 'failed') reject(new Error(`an engine driven directly failed: ${event.message}`));
      else if (event.t === 'finished') {
        if (event.s !== '') pieces.push(event.s);
        resolve({
          atMs,
          pieces,
          tokens: event.answerTokens,
          finish: event.finish,
          cached: 0,
          exact: true,
          failovers: 0,
        });
      }
    });
  });
}

export interface Door {
  readonly url: string;
  readonly key: string;
}

export interface AskOptions {
  /** Told how many pieces have come. */
  onPieces?(count: number): void;
  /** Handed the request, for those who mean to break it off. */
  onRequest?(sent: ClientRequest): void;
}

/** Connections that wait for the next question, as an SDK keeps them. */
export const createConnections = (): Agent => new Agent({ keepAlive: true, maxSockets: 256 });

/** Rejects when the answer is refused or breaks off. */
export function askHub(door: Door, connections: Agent, ask: Ask, options: AskOptions = {}): Promise<Answered> {
  const body = JSON.stringify({
    model: ask.model,
    ...(ask.isChat === true ? { messages: [{ role: 'user', content: ask.prompt }] } : { prompt: ask.prompt }),
    seed: ask.seed,
    max_tokens: ask.tokensMax,
    stream: true,
    stream_options: { include_usage: true },
    ...ask.fields,
  });
  const headers = {
    authorization: `Bearer ${door.key}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  const chunks: Buffer[] = [];
  const eventsAtMs: number[] = [];
  const askedMs = performance.now();
  return new Promise((resolve, reject) => {
    const path = ask.isChat === true ? 'chat/completions' : 'completions';
    const sent = request(`${door.url}/v1/${path}`, { method: 'POST', agent: connections, headers }, (response) => {
      response.on('data', (chunk: Buffer) => {
        const nowMs = performance.now() - askedMs;
        chunks.push(chunk);
        for (let events = countEvents(chunk); events > 0; events--) eventsAtMs.push(nowMs);
        options.onPieces?.(eventsAtMs.length);
      });
      response.once('error', reject);
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const status = response.statusCode ?? 0;
        if (status !== 200) return reject(new Error(`the hub answered ${status}: ${text.slice(0, 500)}`));
        try {
          resolve(readEvents(text, eventsAtMs));
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
    sent.setNoDelay(true);
    const timer = setTimeout(() => sent.destroy(tooLong('an answer of the hub')), ANSWER_MS_MAX);
    sent.once('error', reject).once('close', () => clearTimeout(timer));
    options.onRequest?.(sent);
    sent.end(body);
  });
}

/** An answer that takes longer, on either side, is lost. */
const ANSWER_MS_MAX = 120_000;
const LINE_FEED = 10;

const tooLong = (what: string): Error => new Error(`${what} took longer than ${ANSWER_MS_MAX / 1_000} s`);

/** An event ends with an empty line. The hub writes each in one piece; one that a socket cuts is counted late. */
function countEvents(chunk: Buffer): number {
  let count = 0;
  for (let at = chunk.indexOf('\n\n'); at >= 0; at = chunk.indexOf('\n\n', at + 2)) count++;
  return chunk[0] === LINE_FEED && chunk[1] !== LINE_FEED ? count + 1 : count;
}

interface Chunk {
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: {
    readonly completion_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens: number };
  } | null;
  readonly idlewild?: { readonly exact: boolean; readonly failovers: number };
  readonly error?: { readonly message: string };
}

function readEvents(text: string, eventsAtMs: readonly number[]): Answered {
  const events = text
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => event.slice(6));
  if (events.pop() !== '[DONE]') throw new Error(`the stream broke off after ${events.length} events`);
  const pieces: string[] = [];
  const atMs: number[] = [];
  let tokens = 0;
  let cached = 0;
  let finish = '';
  let note = { exact: false, failovers: 0 };
  const endAtMs = eventsAtMs.at(-1);
  for (const [index, event] of events.entries()) {
    const chunk = JSON.parse(event) as Chunk;
    if (chunk.error !== undefined) throw new Error(`the answer failed: ${chunk.error.message}`);
    const choice = chunk.choices?.[0];
    const added = choice?.text ?? choice?.delta?.content ?? '';
    if (added !== '') {
      pieces.push(added);
      const at = eventsAtMs[index];
      if (at !== undefined && at !== endAtMs) atMs.push(at);
    }
    finish = choice?.finish_reason ?? finish;
    tokens = chunk.usage?.completion_tokens ?? tokens;
    cached = chunk.usage?.prompt_tokens_details?.cached_tokens ?? cached;
    note = chunk.idlewild ?? note;
  }
  return { atMs, pieces, tokens, finish, cached, exact: note.exact, failovers: note.failovers };
}
