/**
 * The `EngineHost` of Node: one child process per loaded model.
 *
 * A process that crashes, is killed or hangs costs its open answers (`engine_failed`) and nothing else; the host can
 * load again at once. A cancelled answer is silent from the moment of the call, whatever is still under way in the
 * pipe. A process that was stopped by `suspend` is not asked for signs of life until it goes on.
 */
import {
  IdlewildError,
  asIdlewildError,
  type AnswerWork,
  type Clock,
  type EmbedWork,
  type Timer,
} from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import type { Embedded, Engine, EngineEvent, EngineHost, EngineLimits, EngineModel, Halting } from '../core/port.ts';
import { startEngineProcess, type EngineProcess, type ProcessOptions } from './engine-process.ts';
import { embeddedOf, type FromEngine, type Loaded } from './frames.ts';
import { surveyHere } from './isolation/here.ts';
import type { Wall } from './isolation/walls.ts';

export interface EngineHostOptions extends ProcessOptions {
  /** Told what people who look after a device want to know; never a prompt or an answer. */
  readonly log?: ((message: string) => void) | undefined;
  /** Told of processor time that engines have used since the last time: at loading, at ends, and while they compute. */
  onCpu?(ms: number): void;
  readonly clock?: Clock | undefined;
}

/**
 * A process with open answers that says nothing for so long, pings included, is stuck: the longest run is far shorter.
 */
const SILENT_MS_MAX = 30_000;
const PING_MS = 5_000;
/** How long a process may take to go by itself. */
const BYE_MS = 2_000;

export function createNodeEngineHost(options: EngineHostOptions = {}): EngineHost {
  let isTold = false;

  async function wallHere(): Promise<Wall> {
    if (options.wall !== undefined) return options.wall;
    const { wall, missing } = await surveyHere();
    if (wall.by === 'none' && !isTold)
      options.log?.(`engines have only an empty environment and Node's permission flags to hold them: ${missing}`);
    isTold = true;
    return wall;
  }

  return {
    load: async (model, limits, signal, onStarted) =>
      loadInProcess(model, limits, signal, { ...options, wall: await wallHere() }, onStarted),
  };
}

async function loadInProcess(
  model: EngineModel,
  limits: EngineLimits,
  signal: AbortSignal,
  options: EngineHostOptions,
  onStarted: ((process: Halting) => void) | undefined,
): Promise<Engine> {
  signal.throwIfAborted();
  let onMessage: (message: FromEngine) => void = () => undefined;
  let onEnd: (reason: string) => void = () => undefined;
  let usedMs = 0;
  const child = startEngineProcess(
    [model.folder],
    { ...options, memoryBytesMax: limits.memoryBytesMax },
    (message) => {
      if (message.t !== 'used') return onMessage(message);
      options.onCpu?.(message.cpuMs - usedMs);
      usedMs = message.cpuMs;
    },
    (reason) => onEnd(reason),
  );
  onStarted?.({ suspend: child.stop, resume: child.go });
  const abort = (): void => child.kill();
  signal.addEventListener('abort', abort, { once: true });
  try {
    const loaded = await new Promise<Loaded>((resolve, reject) => {
      onMessage = (message) => {
        if (message.t === 'loaded') resolve(message.loaded);
        else if (message.t === 'failed')
          reject(new IdlewildError(message.code, `loading model ${model.cid}: ${message.message}`));
      };
      onEnd = (reason) => reject(new IdlewildError('engine_failed', `loading model ${model.cid}: ${reason}`));
      child.send({ t: 'load', model, limits });
    });
    // What came in between is kept in order: nothing is sent before an answer is asked for.
    const made = createProcessEngine(child, model, limits, loaded, options);
    onMessage = made.onMessage;
    onEnd = made.onEnd;
    // What makes no text only reads.
    const speed = `${(loaded.tokensPerSecond || loaded.prefillTokensPerSecond).toFixed(1)} tokens/s`;
    options.log?.(`model ${model.cid} is loaded in process ${child.pid}: ${speed}, ${loaded.memoryBytes} bytes`);
    return made.engine;
  } catch (error) {
    child.kill();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

interface ProcessEngine {
  readonly engine: Engine;
  readonly onMessage: (message: FromEngine) => void;
  readonly onEnd: (reason: string) => void;
}

function createProcessEngine(
  child: EngineProcess,
  model: EngineModel,
  limits: EngineLimits,
  loaded: Loaded,
  options: EngineHostOptions,
): ProcessEngine {
  const clock = options.clock ?? systemClock;
  const open = new Map<number, (event: EngineEvent) => void>();
  const embeds = new Map<number, OpenEmbed>();
  const mourners: ((reason: string) => void)[] = [];
  let next = 0;
  let dead: string | undefined;
  let closing = false;
  let heardMs = 0;
  let pingsOpen = 0;
  let watching: Timer | undefined;
  let suspended = false;
  let tooLarge: string | undefined;
  let share = limits.dutyShare ?? 1;

  const isQuiet = (): boolean => open.size === 0 && embeds.size === 0 && pingsOpen === 0;

  function ping(): void {
    pingsOpen++;
    child.send({ t: 'ping' });
  }

  /** While answers or pings are open: asks for a sign of life, and ends a process that gives none. */
  function watch(): void {
    if (suspended) return;
    watching ??= clock.after(PING_MS, () => {
      watching = undefined;
      if (isQuiet()) return;
      if (clock.monotonic() - heardMs > SILENT_MS_MAX) return child.kill();
      ping();
      watch();
    });
  }

  /** What loading took is known before; what the longest prompts take besides shows only then. */
  function checkMemory(bytes: number): void {
    const { memoryBytesMax: most } = limits;
    if (most === undefined || bytes <= most) return;
    tooLarge = `it took ${bytes} bytes of memory; its lender allows ${most}`;
    child.kill();
  }

  function end(how: string): void {
    const reason = tooLarge ?? how;
    dead = reason;
    watching?.cancel();
    const failed: EngineEvent = { t: 'failed', code: 'engine_failed', message: reason };
    const listeners = [...open.values()];
    open.clear();
    for (const listen of listeners) listen(failed);
    for (const { reject } of embeds.values()) reject(new IdlewildError('engine_failed', reason));
    embeds.clear();
    if (closing) return;
    options.log?.(`model ${model.cid} lost its engine: ${reason}`);
    for (const mourn of mourners.splice(0)) mourn(reason);
  }

  function answer(work: AnswerWork, listen: (event: EngineEvent) => void): { cancel(): void } {
    if (dead !== undefined) return refuse(listen, new IdlewildError('engine_failed', dead));
    const n = next++;
    try {
      child.send({ t: 'answer', n, work });
    } catch (error) {
      return refuse(listen, asIdlewildError(error, 'handing a request to the engine process'));
    }
    if (isQuiet()) heardMs = clock.monotonic();
    open.set(n, listen);
    watch();
    return {
      cancel() {
        if (!open.delete(n)) return;
        child.send({ t: 'cancel', n });
        // Whoever cancels may have waited in vain, and the next one shall not.
        ping();
      },
    };
  }

  function embed(work: EmbedWork, signal: AbortSignal): Promise<Embedded> {
    return new Promise((resolve, reject) => {
      if (dead !== undefined) throw new IdlewildError('engine_failed', dead);
      if (signal.aborted) throw new IdlewildError('cancelled', 'the texts are no longer wanted');
      const n = next++;
      child.send({ t: 'embed', n, work });
      if (isQuiet()) heardMs = clock.monotonic();
      const onAbort = (): void => {
        if (!embeds.delete(n)) return;
        child.send({ t: 'cancel', n });
        ping();
        reject(new IdlewildError('cancelled', 'the texts are no longer wanted'));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      embeds.set(n, { resolve, reject });
      watch();
    });
  }

  const isDecoder = (model.kind ?? 'decoder') === 'decoder';
  const engine: Engine = {
    ...loaded,
    ...(isDecoder ? {} : { embed }),
    contextTokens: model.contextTokens,
    slots: limits.slotsMax,
    get tokensPerSecond() {
      return Math.min(loaded.tokensPerSecond * share, limits.tokensPerSecondMax ?? Number.POSITIVE_INFINITY);
    },
    get prefillTokensPerSecond() {
      const most = isDecoder ? undefined : limits.tokensPerSecondMax;
      return Math.min(loaded.prefillTokensPerSecond * share, most ?? Number.POSITIVE_INFINITY);
    },
    answer,
    suspend() {
      if (dead !== undefined) return true;
      suspended = child.stop();
      if (!suspended) return false;
      watching?.cancel();
      watching = undefined;
      return true;
    },
    resume() {
      if (!suspended) return;
      suspended = false;
      child.go();
      heardMs = clock.monotonic();
      if (!isQuiet()) watch();
    },
    throttle(most) {
      share = most;
      child.send({ t: 'throttle', share });
    },
    async close({ atOnce = false } = {}) {
      closing = true;
      watching?.cancel();
      if (atOnce || suspended) {
        child.kill();
        return child.gone;
      }
      child.send({ t: 'bye' });
      const timer = clock.after(BYE_MS, () => child.kill());
      await child.gone;
      timer.cancel();
    },
    onDeath(listen) {
      if (dead === undefined) mourners.push(listen);
      else if (!closing) queueMicrotask(() => listen(dead as string));
    },
  };
  return {
    engine,
    onEnd: end,
    onMessage(message) {
      heardMs = clock.monotonic();
      // Anything else after loading means that the process and its host disagree: it is ended, and its answers fail.
      if (message.t === 'failed') return child.kill();
      if (message.t === 'pong') {
        pingsOpen--;
        checkMemory(message.residentBytes);
      }
      if (message.t === 'embedded' || message.t === 'embed.failed') settle(embeds, message);
      if (message.t !== 'event') return;
      const listen = open.get(message.n);
      if (message.event.t === 'finished' || message.event.t === 'failed') open.delete(message.n);
      listen?.(message.event);
    },
  };
}

interface OpenEmbed {
  resolve(done: Embedded): void;
  reject(error: IdlewildError): void;
}

function settle(
  embeds: Map<number, OpenEmbed>,
  message: Extract<FromEngine, { t: 'embedded' | 'embed.failed' }>,
): void {
  const open = embeds.get(message.n);
  embeds.delete(message.n);
  if (message.t === 'embedded') return open?.resolve(embeddedOf(message));
  const { code, message: text, input } = message;
  open?.reject(new IdlewildError(code, text, { details: input === undefined ? {} : { input } }));
}

/** Fails a request after `answer` has returned, as all events come. */
function refuse(listen: (event: EngineEvent) => void, { code, message }: IdlewildError): { cancel(): void } {
  let cancelled = false;
  queueMicrotask(() => cancelled || listen({ t: 'failed', code, message }));
  return {
    cancel() {
      cancelled = true;
    },
  };
}
