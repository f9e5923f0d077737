/**
 * An engine process: one model, driven by messages over the pipe at file descriptor 3, and gone when that pipe is
 * closed.
 *
 * It has no environment, may read only what it was started for, and writes nothing. It exits on anything that it did
 * not expect: its host then fails the open answers and may start another.
 */
import { IdlewildError, asIdlewildError, type EmbedWork } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { Socket } from 'node:net';
import { createCpuShares } from '../core/cpu-shares.ts';
import type { DecodeLoop } from '../core/decode-loop.ts';
import type { Duty } from '../core/duty.ts';
import type { EmbedLoop } from '../core/embed-loop.ts';
import { embeddedMessage, openFramePipe, type FromEngine, type ToEngine } from './frames.ts';
import { loadEncoder } from './load-encoder.ts';
import { loadModel } from './load.ts';
import { measureHere } from './measure-here.ts';

const PIPE_DESCRIPTOR = 3;

/** Processor time of all threads. */
function usedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

function runEngineProcess(): void {
  let loop: DecodeLoop | undefined;
  let embedLoop: EmbedLoop | undefined;
  let duty: Duty | undefined;
  const open = new Map<number, { cancel(): void }>();
  const shares = createCpuShares(usedMs);
  const pipe = openFramePipe<FromEngine, ToEngine>(
    new Socket({ fd: PIPE_DESCRIPTOR, readable: true, writable: true }),
    (message) =>
      void receive(message).catch((error: unknown) => {
        const { code, message: text } = asIdlewildError(error, `an engine process handling "${message.t}"`);
        pipe.send({ t: 'failed', code, message: text });
      }),
    () => process.exit(0),
  );

  const tellUsed = (): void => pipe.send({ t: 'used', cpuMs: usedMs() });

  async function embed(n: number, work: EmbedWork): Promise<void> {
    const abort = new AbortController();
    open.set(n, { cancel: () => abort.abort() });
    shares.open(n);
    try {
      if (embedLoop === undefined) throw new IdlewildError('model_unsupported', 'this model gives no vectors');
      const made = await embedLoop.embed(work, abort.signal);
      tellUsed();
      pipe.send(embeddedMessage(n, { ...made, cpuMs: shares.close(n) }));
    } catch (thrown) {
      if (abort.signal.aborted) return;
      const { code, message, details } = asIdlewildError(thrown, 'making vectors');
      const input = typeof details.input === 'number' ? details.input : undefined;
      pipe.send({ t: 'embed.failed', n, code, message, input });
    } finally {
      shares.close(n);
      open.delete(n);
    }
  }

  async function receive(message: ToEngine): Promise<void> {
    switch (message.t) {
      case 'load': {
        if ((message.model.kind ?? 'decoder') !== 'decoder') {
          const made = await loadEncoder(message.model, message.limits, systemClock);
          ({ embedLoop, duty } = made);
          tellUsed();
          return pipe.send({ t: 'loaded', loaded: made.loaded });
        }
        const made = await loadModel(message.model, message.limits, systemClock);
        ({ loop, duty } = made);
        tellUsed();
        return pipe.send({ t: 'loaded', loaded: made.loaded });
      }
      case 'measure':
        return pipe.send({ t: 'measured', measured: await measureHere(message.provider, systemClock) });
      case 'answer': {
        const { n } = message;
        if (embedLoop !== undefined) {
          const event = { t: 'failed', code: 'model_unsupported', message: 'this model makes no text' } as const;
          return pipe.send({ t: 'event', n, event });
        }
        if (loop === undefined)
          throw new IdlewildError('internal', 'an answer was asked for before a model was loaded');
        shares.open(n);
        const handle = loop.answer(message.work, (event) => {
          if (event.t !== 'finished' && event.t !== 'failed') return pipe.send({ t: 'event', n, event });
          open.delete(n);
          const cpuMs = shares.close(n);
          tellUsed();
          pipe.send({ t: 'event', n, event: event.t === 'finished' ? { ...event, cpuMs } : event });
        });
        open.set(n, handle);
        return;
      }
      case 'embed':
        return embed(message.n, message.work);
      case 'cancel':
        open.get(message.n)?.cancel();
        open.delete(message.n);
        shares.close(message.n);
        return;
      case 'throttle':
        return duty?.set(message.share);
      case 'ping':
        tellUsed();
        return pipe.send({ t: 'pong', residentBytes: process.memoryUsage.rss() });
      case 'bye':
        process.exit(0);
    }
  }
}

runEngineProcess();
