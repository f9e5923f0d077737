/**
 * The `EngineHost` port as arithmetic on a given clock: no model, no process, but the real order of events.
 *
 * A token is a pure function of (prompt, seed, choice, position, salt), so anyone can say what an answer must be
 * without running one (`simulatedAnswer`), and an answer continued elsewhere must go on with the same tokens. Hosts
 * with the same fingerprint are of one numeric class; give a host of another class another `salt` if its tokens are
 * to differ. It knows no stop strings and no sampling: an answer ends at its own length, at `tokensMax`, or at the
 * context's end.
 */
import {
  IdlewildError,
  type AnswerWork,
  type Clock,
  type EmbedWork,
  type FinishReason,
  type Timer,
} from '@idlewild/protocol';
import type { Embedded, Engine, EngineEvent, EngineHost } from '@idlewild/engine';

export interface SimulatedEngineOptions {
  readonly clock: Clock;
  /** Of one stream; several streams share it. */
  readonly tokensPerSecond: number;
  readonly prefillTokensPerSecond?: number;
  readonly slots?: number;
  readonly loadMs?: number;
  readonly memoryBytes?: number;
  /** Processor time that answers and texts say they took; absent: they do not say. */
  readonly cpuMsPerToken?: number;
  /** As on a system where no process can be stopped and go on. */
  readonly cannotSuspend?: boolean;
  /** The numeric class is made of these. */
  readonly engineBuild?: string;
  readonly fingerprint?: string;
  /** What it says it computes on; absent: processors. */
  readonly provider?: string;
  /** Enters every token. */
  readonly salt?: string;
}

export interface SimulatedEngineHost extends EngineHost {
  /** Engines that are loaded now, by the CID of their model. */
  readonly engines: ReadonlyMap<string, SimulatedEngine>;
  /** From now on loading takes this long, or fails, or hangs until its signal is aborted. */
  setLoading(how: { ms: number } | { fails: IdlewildError } | 'hangs'): void;
}

export interface SimulatedEngine extends Engine {
  /** As if the process died: open answers fail with `engine_failed`, and `onDeath` hears of it. */
  kill(reason: string): void;
  /** While stalled nothing comes, neither tokens nor a death. */
  setStalled(stalled: boolean): void;
  answering(): number;
  isSuspended(): boolean;
  /** Ended in the middle of whatever it did. */
  wasClosedAtOnce(): boolean;
}

const VOCABULARY_TOKENS = 50_000;
const PREFILL_PROGRESS_MS = 1_000;

/** FNV-1a, 32 bit (draft-eastlake-fnv), with a final mixing so that near inputs differ in every bit. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) state = Math.imul(state ^ text.charCodeAt(at), 0x01000193);
  state = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
  return (state ^ (state >>> 15)) >>> 0;
}

const promptText = ({ prompt }: Pick<AnswerWork, 'prompt'>): string =>
  prompt.kind === 'text' ? prompt.text : prompt.messages.map(({ role, content }) => `${role}\n${content}`).join('\n');

/** What a token depends on, without its position. */
const rootOf = (work: Pick<AnswerWork, 'prompt' | 'sampling' | 'choice'>, salt: string): string =>
  `${salt}|${work.sampling.seed}|${work.choice}|${hash(promptText(work))}|`;

export const simulatedText = (id: number): string => ` w${id}`;

/** About four characters to a token, as in English. */
export const simulatedPromptTokens = (work: Pick<AnswerWork, 'prompt'>): number =>
  Math.ceil((promptText(work).length + 1) / 4);

/** The whole answer that uninterrupted work gives: the oracle. `work.tokens` is not looked at. */
export function simulatedAnswer(
  work: Omit<AnswerWork, 'tokens'>,
  options: { salt?: string; contextTokens?: number } = {},
): { tokens: number[]; text: string; finish: FinishReason } {
  const root = rootOf(work, options.salt ?? '');
  const own = 16 + (hash(`${root}length`) % 240);
  const room = (options.contextTokens ?? Number.MAX_SAFE_INTEGER) - simulatedPromptTokens(work);
  const length = Math.min(own, work.tokensMax ?? own, room);
  const tokens = Array.from(
    { length: Math.max(0, length) },
    (_, position) => hash(root + position) % VOCABULARY_TOKENS,
  );
  return { tokens, text: tokens.map(simulatedText).join(''), finish: length === own ? 'stop' : 'length' };
}

/** Two numbers that are the text's own. */
export const simulatedVector = (text: string): Float32Array => Float32Array.of(hash(text), text.length);
const simulatedTokens = (text: string): number => Math.ceil((text.length + 1) / 4);

export function createSimulatedEngineHost(options: SimulatedEngineOptions): SimulatedEngineHost {
  const { clock } = options;
  const engines = new Map<string, SimulatedEngine>();
  let loading: Parameters<SimulatedEngineHost['setLoading']>[0] = { ms: options.loadMs ?? 0 };
  return {
    engines,
    setLoading(how) {
      loading = how;
    },
    load: (model, limits, signal, onStarted) =>
      new Promise((resolve, reject) => {
        const how = loading;
        const onAbort = (cancel: () => void) => (): void => {
          cancel();
          reject(new IdlewildError('engine_failed', `loading ${model.cid} was called off`));
        };
        if (how === 'hangs')
          return signal.addEventListener(
            'abort',
            onAbort(() => undefined),
          );
        if ('fails' in how) return reject(how.fails);
        let timer: Timer | undefined;
        let leftMs = how.ms;
        let sinceMs = clock.monotonic();
        const loaded = (): void => {
          const rate = Math.min(options.tokensPerSecond, limits.tokensPerSecondMax ?? Number.MAX_VALUE);
          const slots = Math.min(options.slots ?? 4, limits.slotsMax);
          const engine = createEngine({ ...options, tokensPerSecond: rate, slots }, model.contextTokens, () =>
            engines.delete(model.cid),
          );
          engines.set(model.cid, engine);
          resolve(engine);
        };
        const go = (): void => {
          sinceMs = clock.monotonic();
          timer = clock.after(leftMs, loaded);
        };
        go();
        onStarted?.({
          suspend() {
            if (options.cannotSuspend === true) return false;
            timer?.cancel();
            leftMs = Math.max(0, leftMs - (clock.monotonic() - sinceMs));
            return true;
          },
          resume: go,
        });
        signal.addEventListener(
          'abort',
          onAbort(() => timer?.cancel()),
        );
      }),
  };
}

interface Stream {
  readonly work: AnswerWork;
  readonly expected: ReturnType<typeof simulatedAnswer>;
  readonly promptTokens: number;
  readonly listen: (event: EngineEvent) => void;
  next: number;
  prefillMs: number;
  startedAtMs: number;
}

/** One loaded model. Streams that have read their prompt get one token each in every step, so they share the rate. */
interface Running {
  readonly options: SimulatedEngineOptions & { readonly slots: number };
  readonly contextTokens: number;
  readonly streams: Set<Stream>;
  readonly prefills: Map<Stream, Timer>;
  /** What ends a work of texts that is under way. */
  readonly embeds: Set<(error: IdlewildError) => void>;
  step: Timer | undefined;
  /** When the step under way is due, with fractions. */
  dueMs: number;
  stalled: boolean;
  suspended: boolean;
  share: number;
  dead: boolean;
  death: ((reason: string) => void) | undefined;
}

const isStill = ({ stalled, suspended }: Running): boolean => stalled || suspended;

function createEngine(options: Running['options'], contextTokens: number, onGone: () => void): SimulatedEngine {
  const running: Running = {
    options,
    contextTokens,
    streams: new Set(),
    prefills: new Map(),
    embeds: new Set(),
    step: undefined,
    dueMs: 0,
    stalled: false,
    suspended: false,
    share: 1,
    dead: false,
    death: undefined,
  };
  let atOnce = false;
  const end = (reason: string): void => {
    running.dead = true;
    onGone();
    for (const stream of [...running.streams, ...running.prefills.keys()]) {
      remove(running, stream);
      stream.listen({ t: 'failed', code: 'engine_failed', message: reason });
    }
    for (const fail of [...running.embeds]) fail(new IdlewildError('engine_failed', reason));
  };
  return {
    engineBuild: options.engineBuild ?? 'simulated-1',
    provider: options.provider ?? 'cpu',
    fingerprint: options.fingerprint ?? 'plain',
    contextTokens,
    memoryBytes: options.memoryBytes ?? 0,
    slots: options.slots,
    get tokensPerSecond() {
      return options.tokensPerSecond * running.share;
    },
    get prefillTokensPerSecond() {
      return (options.prefillTokensPerSecond ?? options.tokensPerSecond * 10) * running.share;
    },
    answer: (work, listen) => answer(running, work, listen),
    embed: (work, signal) => embed(running, work, signal),
    async close(how) {
      if (running.dead) return;
      atOnce = how?.atOnce === true || running.suspended;
      end('the engine was closed');
    },
    suspend() {
      if (options.cannotSuspend === true) return false;
      running.suspended = true;
      return true;
    },
    resume() {
      running.suspended = false;
      schedule(running);
    },
    throttle(share) {
      running.share = share;
    },
    onDeath(listen) {
      running.death = listen;
    },
    kill(reason) {
      if (running.dead) return;
      end(reason);
      running.death?.(reason);
    },
    setStalled(stalled) {
      running.stalled = stalled;
      schedule(running);
    },
    answering: () => running.streams.size + running.prefills.size + running.embeds.size,
    isSuspended: () => running.suspended,
    wasClosedAtOnce: () => atOnce,
  };
}

function answer(running: Running, work: AnswerWork, listen: (event: EngineEvent) => void): { cancel(): void } {
  const { clock, prefillTokensPerSecond, tokensPerSecond, salt = '' } = running.options;
  const promptTokens = simulatedPromptTokens(work);
  const expected = simulatedAnswer(work, { salt, contextTokens: running.contextTokens });
  const stream: Stream = {
    work,
    expected,
    promptTokens,
    listen,
    next: work.tokens.length,
    prefillMs: 0,
    startedAtMs: clock.monotonic(),
  };
  const readTokens = promptTokens + work.tokens.length;
  const totalMs = Math.ceil((readTokens * 1_000) / (prefillTokensPerSecond ?? tokensPerSecond * 10));
  const read = (leftMs: number): void => {
    const pieceMs = Math.min(leftMs, PREFILL_PROGRESS_MS);
    running.prefills.set(
      stream,
      clock.after(pieceMs, () => {
        if (isStill(running)) return read(leftMs);
        if (leftMs > pieceMs) {
          listen({ t: 'progress', phase: 'prefill' });
          return read(leftMs - pieceMs);
        }
        running.prefills.delete(stream);
        if (promptTokens >= running.contextTokens) {
          return listen({
            t: 'failed',
            code: 'context_length_exceeded',
            message: `${promptTokens} of ${running.contextTokens} tokens`,
          });
        }
        stream.prefillMs = clock.monotonic() - stream.startedAtMs;
        running.streams.add(stream);
        listen({ t: 'started', promptTokens });
        schedule(running);
      }),
    );
  };
  if (running.dead) {
    listen({ t: 'failed', code: 'engine_failed', message: 'the engine is gone' });
    return { cancel: () => undefined };
  }
  read(totalMs);
  return { cancel: () => remove(running, stream) };
}

/** All texts one after the other, at the speed of prefill. */
const cpuTime = ({ options: { cpuMsPerToken } }: Running, tokens: number): { cpuMs?: number } =>
  cpuMsPerToken === undefined ? {} : { cpuMs: cpuMsPerToken * tokens };

function embed(running: Running, { inputs }: EmbedWork, signal: AbortSignal): Promise<Embedded> {
  const { clock, prefillTokensPerSecond, tokensPerSecond } = running.options;
  const tokens = inputs.map(simulatedTokens);
  const sum = tokens.reduce((total, count) => total + count, 0);
  return new Promise((resolve, reject) => {
    const end = (act: () => void): void => {
      running.embeds.delete(fail);
      timer.cancel();
      act();
    };
    const fail = (error: IdlewildError): void => end(() => reject(error));
    const look = (): void => {
      if (isStill(running)) {
        timer = clock.after(PREFILL_PROGRESS_MS, look);
        return;
      }
      const long = tokens.findIndex((count) => count > running.contextTokens);
      const details = { input: long };
      if (long >= 0) fail(new IdlewildError('context_length_exceeded', `${tokens[long]} tokens`, { details }));
      else end(() => resolve({ vectors: inputs.map(simulatedVector), tokens, ...cpuTime(running, sum) }));
    };
    let timer = clock.after(Math.ceil((sum * 1_000) / (prefillTokensPerSecond ?? tokensPerSecond * 10)), look);
    running.embeds.add(fail);
    signal.addEventListener('abort', () => fail(new IdlewildError('cancelled', 'no longer wanted')), { once: true });
    if (running.dead) fail(new IdlewildError('engine_failed', 'the engine is gone'));
  });
}

function remove(running: Running, stream: Stream): void {
  running.streams.delete(stream);
  running.prefills.get(stream)?.cancel();
  running.prefills.delete(stream);
  if (running.streams.size > 0) return;
  running.step?.cancel();
  running.step = undefined;
}

function schedule(running: Running): void {
  if (isStill(running) || running.dead || running.step !== undefined || running.streams.size === 0) return;
  const { clock, tokensPerSecond } = running.options;
  const nowMs = clock.monotonic();
  // Steps fall on whole milliseconds; what was rounded off one is made up for in the next.
  running.dueMs = Math.max(nowMs, running.dueMs) + (running.streams.size * 1_000) / (tokensPerSecond * running.share);
  running.step = clock.after(Math.floor(running.dueMs) - nowMs, () => {
    running.step = undefined;
    if (isStill(running)) return;
    for (const stream of [...running.streams]) emit(running, stream);
    schedule(running);
  });
}

function emit(running: Running, stream: Stream): void {
  if (!running.streams.has(stream)) return;
  const { tokens, finish } = stream.expected;
  const id = tokens[stream.next];
  if (id !== undefined) stream.listen({ t: 'token', i: stream.next++, id, s: simulatedText(id) });
  if (stream.next < tokens.length || !running.streams.has(stream)) return;
  remove(running, stream);
  const begun = stream.work.tokens;
  stream.listen({
    t: 'finished',
    finish,
    s: '',
    ...(begun.length === 0 ? {} : { before: { s: begun.map(simulatedText).join(''), calls: [] } }),
    promptTokens: stream.promptTokens,
    answerTokens: stream.next,
    prefillMs: stream.prefillMs,
    decodeMs: running.options.clock.monotonic() - stream.startedAtMs - stream.prefillMs,
    ...cpuTime(running, stream.next - stream.work.tokens.length),
  });
}
