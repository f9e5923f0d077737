/**
 * One replica listens to a run of another, over the bus: it asks for the bytes from where it is, and is answered with
 * some as soon as there are any. So its own pace is the flow control, and a message that was lost is asked for again.
 *
 * Who asks counts as a listener of the recording until it says that it leaves, or has not asked for as long as a caller
 * may stall. A recording that is over is still told to whom it was told before.
 */
import {
  IdlewildError,
  bytesSchema,
  codeOf,
  decodeCbor,
  encodeCbor,
  hex,
  messageOf,
  type Clock,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { z } from 'zod';
import type { BusMessage } from '../bus/port.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Replica } from '../replicas/port.ts';
import type { Head, LiveRecording, Reader, Recording } from './recording.ts';
import type { HeldRun } from './runs.ts';

export interface RunDesk {
  /** Listens to it at its owner; `undefined` when the owner does not have it, or does not answer. Throws `bus_down`. */
  attach(held: HeldRun): Promise<Recording | undefined>;
  /** Tells the former owner of a run that it is no longer. */
  tellTaken(former: HeldRun): void;
  /** Has its owner cancel it; false when the owner does not answer. Throws `bus_down`. */
  cancel(held: HeldRun): Promise<boolean>;
  stop(): void;
}

export interface RunDeskDeps {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** What is made in this process, also of a run that is just being begun. */
  readonly find: (id: string) => Promise<LiveRecording | undefined>;
}

const name = z.string().max(256);
const askSchema = z.discriminatedUnion('t', [
  z.object({
    t: z.literal('read'),
    run: name,
    epoch: z.int(),
    reader: name,
    from: z.int().nonnegative(),
    /** Whether it has the head. */
    headed: z.boolean(),
    waitMs: z.int().nonnegative(),
  }),
  z.object({ t: z.literal('leave'), reader: name }),
  z.object({ t: z.literal('taken'), run: name, epoch: z.int() }),
  z.object({ t: z.literal('cancel'), run: name, epoch: z.int() }),
]);
type Ask = z.infer<typeof askSchema>;
type ReadAsk = Extract<Ask, { t: 'read' }>;

const replySchema = z.discriminatedUnion('t', [
  z.object({
    t: z.literal('bytes'),
    requestId: name,
    state: z.enum(['running', 'whole', 'broken']),
    head: z.object({ status: z.int(), headers: z.record(z.string(), z.string()) }).optional(),
    bytes: bytesSchema,
    /** Of all that was recorded so far: where a state that is over is the end. */
    more: z.boolean(),
  }),
  z.object({ t: z.literal('gone') }),
]);
type Reply = z.infer<typeof replySchema>;
type Told = Extract<Reply, { t: 'bytes' }>;

interface FarReader {
  readonly recording: LiveRecording;
  readonly leave: () => void;
  timer: Timer;
}

/** Losing one is an accident; two in a row are a replica that is not there. */
const ASKS_MAX = 2;

/** None is guessed, and none comes twice. */
const READER_BYTES = 12;

const subjectOf = (replica: string): string => `rep.${replica}.run`;

export function createRunDesk({ replica, clock, random, log, find }: RunDeskDeps): RunDesk {
  const { bus } = replica;
  const readers = new Map<string, FarReader>();
  const subscription = bus.subscribe(subjectOf(replica.id), (message) => {
    handle(message).catch((error: unknown) =>
      log.error({ why: messageOf(error) }, 'a question about a run could not be answered'),
    );
  });

  async function handle(message: BusMessage): Promise<void> {
    const ask = askSchema.parse(decodeCbor(message.bytes, 'a question about a run'));
    if (ask.t === 'read') return message.respond(encodeCbor({ ...(await tell(ask)) }));
    if (ask.t === 'leave') return drop(ask.reader);
    const recording = await find(ask.run);
    // Whoever took it over has a later epoch; who cancels means the one that it saw.
    if (ask.t === 'taken' && recording?.run.epoch === ask.epoch - 1) recording.fence();
    if (ask.t !== 'cancel') return undefined;
    if (recording?.run.epoch === ask.epoch) recording.abort();
    return message.respond(new Uint8Array());
  }

  function drop(id: string): void {
    const reader = readers.get(id);
    reader?.timer.cancel();
    reader?.leave();
    readers.delete(id);
  }
  function renew(id: string, recording: LiveRecording): void {
    const known = readers.get(id);
    known?.timer.cancel();
    const timer = clock.after(HUB_LIMITS.replayStallMsMax, () => drop(id));
    if (known !== undefined) known.timer = timer;
    else readers.set(id, { recording, leave: recording.hold(), timer });
  }

  async function tell({ run, epoch, reader, from, headed, waitMs }: ReadAsk): Promise<Reply> {
    const recording = readers.get(reader)?.recording ?? (await find(run));
    if (recording === undefined || recording.run.epoch !== epoch) return { t: 'gone' };
    renew(reader, recording);
    const look = (): Told => {
      const { head, bytes } = recording.look(from, HUB_LIMITS.runReplyBytesMax);
      const more = recording.look(from + bytes.length, 1).bytes.length > 0;
      const state = recording.state();
      const told = headed || head === undefined ? {} : { head };
      return { t: 'bytes', requestId: recording.run.requestId, state, ...told, bytes, more };
    };
    const isNews = ({ bytes, head, state }: Told): boolean =>
      bytes.length > 0 || head !== undefined || state !== 'running';
    const late = Promise.withResolvers<'late'>();
    const timer = clock.after(waitMs, () => late.resolve('late'));
    let told = look();
    let why: unknown = waitMs === 0 ? 'late' : undefined;
    while (!isNews(told) && why !== 'late') {
      why = await Promise.race([recording.changed(), late.promise]);
      told = look();
    }
    timer.cancel();
    return told;
  }

  const patienceMs = ({ owner }: HeldRun): number =>
    replica.isLive(owner) ? HUB_LIMITS.runAskMs : HUB_LIMITS.runAskDeadMs;

  async function ask(held: HeldRun, question: Omit<ReadAsk, 't' | 'run' | 'epoch'>): Promise<Reply> {
    const payload = encodeCbor({ t: 'read', run: held.id, epoch: held.epoch, ...question });
    const timeoutMs = question.waitMs + patienceMs(held);
    return replySchema.parse(decodeCbor(await bus.request(subjectOf(held.owner), payload, { timeoutMs }), 'a run'));
  }

  return {
    async attach(held) {
      const reader = hex(random.bytes(READER_BYTES));
      try {
        const first = await ask(held, { reader, from: 0, headed: false, waitMs: 0 });
        if (first.t === 'gone') return undefined;
        const leave = (): void => bus.publish(subjectOf(held.owner), encodeCbor({ t: 'leave', reader }));
        return createFarRecording(first, (place) => ask(held, { reader, ...place }), leave);
      } catch (error) {
        if (codeOf(error) === 'bus_down') throw error;
        log.info({ owner: held.owner, why: messageOf(error) }, 'the owner of a run does not answer');
        return undefined;
      }
    },
    tellTaken({ owner, id, epoch }) {
      bus.publish(subjectOf(owner), encodeCbor({ t: 'taken', run: id, epoch: epoch + 1 }));
    },
    async cancel(held) {
      const { owner, id, epoch } = held;
      const payload = encodeCbor({ t: 'cancel', run: id, epoch });
      try {
        await bus.request(subjectOf(owner), payload, { timeoutMs: patienceMs(held) });
        return true;
      } catch (error) {
        if (codeOf(error) === 'bus_down') throw error;
        return false;
      }
    },
    stop() {
      subscription.stop();
      for (const id of [...readers.keys()]) drop(id);
    },
  };
}

type Place = Pick<ReadAsk, 'from' | 'headed' | 'waitMs'>;

/** For one reader: what it has read is not kept here. */
function createFarRecording(first: Told, ask: (place: Place) => Promise<Reply>, leave: () => void): Recording {
  const headed = Promise.withResolvers<Head>();
  headed.promise.catch(() => {});
  let isHeaded = false;
  let isClosed = false;
  let at = 0;
  let last = first;
  /** Bytes that were told and not read. */
  let pending = first.bytes;

  const lost = (): IdlewildError => new IdlewildError('disconnected', 'the answer broke off');
  function take(told: Told): void {
    last = told;
    at += told.bytes.length;
    pending = told.bytes;
    if (told.head === undefined) return;
    isHeaded = true;
    headed.resolve(told.head);
  }
  async function more(): Promise<void> {
    const place = { from: at, headed: isHeaded, waitMs: HUB_LIMITS.runWaitMs };
    for (let asked = 1; ; asked++) {
      try {
        const told = await ask(place);
        if (told.t === 'gone') throw lost();
        return take(told);
      } catch (error) {
        if (codeOf(error) !== 'bus_timeout' || asked >= ASKS_MAX) throw lost();
      }
    }
  }
  const isOver = (): boolean => last.state !== 'running' && !last.more;
  async function untilHead(): Promise<void> {
    while (!isHeaded && !isClosed) {
      if (last.state === 'broken' && pending.length === 0) throw lost();
      await more();
    }
  }

  take(first);
  untilHead().catch((error: unknown) => headed.reject(error));
  return {
    requestId: first.requestId,
    head: headed.promise,
    read: (): Reader => ({
      async next() {
        await headed.promise;
        for (;;) {
          if (isClosed) return undefined;
          if (pending.length > 0) {
            const bytes = pending;
            pending = new Uint8Array(0);
            return bytes;
          }
          if (isOver() && last.state === 'whole') return undefined;
          if (isOver()) throw lost();
          await more();
        }
      },
      close() {
        if (isClosed) return;
        isClosed = true;
        headed.reject(lost());
        leave();
      },
    }),
  };
}
