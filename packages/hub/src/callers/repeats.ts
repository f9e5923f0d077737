/**
 * A request that comes again under the same Idempotency-Key, on whichever replica: it joins the one that runs, or gets
 * its answer again.
 *
 *   nobody asked ──► running ──► whole, kept for a while (`kept-answers.ts`) ──► forgotten
 *                       ├──────► failed or refused: forgotten at once, so that a retry tries anew
 *                       └──────► its replica is lost: the next that is asked takes it over and goes on
 *
 * Whose it is, is in the database (`runs.ts`). A replica that is asked for a run of another listens to it there
 * (`run-desk.ts`); where nobody has it, it becomes its own and is carried out once more. What was journalled is told
 * again first, so that the bytes are the same.
 */
import { IdlewildError, codeOf, equalBytes, messageOf, type Clock, type Random } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Replica } from '../replicas/port.ts';
import type { KeptAnswers, KeptName } from './kept-answers.ts';
import {
  createRecording,
  replayOf,
  type LiveRecording,
  type Making,
  type Recording,
  type Started,
} from './recording.ts';
import { createRunDesk } from './run-desk.ts';
import { changing, conflict, type HeldRun, type Run, type RunOrder, type Runs } from './runs.ts';

export interface RepeatOrder extends KeptName {
  /** All that makes the answer what it is: the same Idempotency-Key with another is a conflict. */
  readonly asked: Uint8Array;
  /** Names the run in its answer when it is new. */
  readonly requestId: string;
  /** The run of whose answer somebody has a part: where it is not there any more, nothing is begun. */
  readonly continues?: string | undefined;
  readonly start: (run: Run, making: Making) => Promise<Started>;
}

export interface Opened {
  readonly recording: Recording;
  /** Whether this call began it. */
  readonly isFirst: boolean;
}

export interface Repeats {
  /**
   * Throws `idempotency_conflict`; `invalid_request` for one that is continued and not there; `bus_down` when it runs
   * at a replica that cannot be reached from here.
   */
  open(order: RepeatOrder): Promise<Opened>;
  /** Its caller does not come back. Whether it ran. */
  cancel(name: KeptName): Promise<boolean>;
  /** Breaks off what runs and leaves it to whoever is asked next; waits for what is being written. */
  stop(): Promise<void>;
}

export interface RepeatsDeps {
  readonly kept: KeptAnswers;
  readonly runs: Runs;
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export function createRepeats({ kept, runs, replica, clock, random, log }: RepeatsDeps): Repeats {
  const live = new Map<string, LiveRecording>();
  const writing = new Set<Promise<void>>();
  /** Of each name one is opened at a time; who asks the same meanwhile finds what became of it. */
  const opening = new Map<string, Promise<unknown>>();
  /** Ends that wait for their next try. */
  const waiting = new Set<() => void>();
  let isStopping = false;
  const desk = createRunDesk({
    replica,
    clock,
    random,
    log,
    async find(id) {
      if (!live.has(id)) await opening.get(id)?.catch(() => {});
      return live.get(id);
    },
  });

  /** A whole answer stays live until it is committed, so there is no moment in which it is nowhere. */
  async function carry(order: RepeatOrder, recording: LiveRecording): Promise<void> {
    const { run, fingerprint } = recording;
    await recording.make((making) => order.start(run, making));
    const answer = recording.answer();
    // What broke off because this replica stops goes on elsewhere.
    const isElsewhere = recording.isLeft() || (recording.state() === 'broken' && isStopping);
    const write = (): Promise<void> =>
      runs.end(run, async (transaction) => {
        if (answer === undefined) return;
        const { head, body } = answer;
        await kept.put(transaction, order, run.id, { fingerprint, requestId: run.requestId, ...head, body });
      });
    if (!isElsewhere) await endRun(run, write);
    live.delete(run.id);
  }

  /** Until it is written: what the journal has of it is erased with it. Whoever asks meanwhile joins what is here. */
  async function endRun(run: Run, write: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        const facts = { request: run.requestId, why: messageOf(error) };
        if (codeOf(error) === 'run_taken_over') return log.info(facts, 'a run went on at another replica');
        log.warn(facts, 'the end of a run could not be written yet');
        if (isStopping) return undefined;
        const pause = Promise.withResolvers<void>();
        waiting.add(pause.resolve);
        clock.after(HUB_LIMITS.journalRetryMs, pause.resolve);
        await pause.promise;
        waiting.delete(pause.resolve);
      }
    }
  }
  function start(order: RepeatOrder, run: Run, fingerprint: Uint8Array): Recording {
    const recording = createRecording(run, fingerprint, clock);
    live.set(run.id, recording);
    const carried = carry(order, recording).finally(() => writing.delete(carried));
    writing.add(carried);
    return recording;
  }

  /** Listens to it where it is, or takes it over; `undefined` when it has changed hands meanwhile. */
  async function goOn(order: RepeatOrder, held: HeldRun, fingerprint: Uint8Array): Promise<Recording | undefined> {
    if (held.owner !== replica.id) {
      const attached = await attach(held);
      if (attached !== undefined) return attached;
    }
    const run = await runs.takeOver(held);
    if (run === undefined) return undefined;
    log.info({ request: run.requestId, from: held.owner, epoch: run.epoch }, 'a run was taken over');
    const recording = start(order, run, fingerprint);
    // Not before its answers are this replica's, too: until then the former owner could still end them.
    const tellTaken = (): void => desk.tellTaken(held);
    if (held.owner !== replica.id) recording.head.then(tellTaken, tellTaken);
    return recording;
  }
  const attach = (held: HeldRun): Promise<Recording | undefined> => reach(held, () => desk.attach(held));

  /** `undefined` when its owner is gone for certain. */
  async function reach<Said>(held: HeldRun, say: () => Promise<Said>): Promise<Said | undefined> {
    try {
      return await say();
    } catch (error) {
      // Without a bus only the database can tell a replica that is lost from one that is out of reach.
      if (await runs.isGone(held.owner)) return undefined;
      throw new IdlewildError(
        'bus_down',
        'this answer is being made by another replica, which cannot be reached from this one; ask again in a moment',
        { details: { retryAfterSeconds: 1 }, cause: error },
      );
    }
  }

  async function openInTurn(order: RepeatOrder, id: string): Promise<Opened> {
    const fingerprint = await kept.fingerprintOf(order.asked);
    const { continues } = order;
    const agreed = <Found extends { readonly fingerprint: Uint8Array; readonly requestId?: string | undefined }>(
      found: Found,
    ): Found => {
      if (!equalBytes(found.fingerprint, fingerprint)) throw conflict();
      if (continues !== undefined && found.requestId !== continues) throw notThere(continues);
      return found;
    };
    const keptOnce = async (): Promise<Opened | undefined> => {
      const answer = await kept.get(order.territory, id);
      if (answer === undefined) return undefined;
      return { recording: replayOf(agreed(answer), answer.requestId), isFirst: false };
    };
    const named: RunOrder = { ...order, id };
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const running = live.get(id);
      if (running !== undefined) return { recording: agreed(running), isFirst: false };
      const whole = await keptOnce();
      if (whole !== undefined) return whole;
      if (isStopping) throw new IdlewildError('hub_stopping', 'the hub is stopping; try again in a moment');
      const begun = continues === undefined ? await runs.begin(named) : { held: await runs.find(named) };
      // It may have ended elsewhere after this one looked.
      if ('run' in begun) {
        const late = await keptOnce();
        if (late === undefined) return { recording: start(order, begun.run, fingerprint), isFirst: true };
        await runs.end(begun.run);
        return late;
      }
      const { held } = begun;
      if (held === undefined || (continues !== undefined && held.requestId !== continues)) {
        const late = await keptOnce();
        if (late !== undefined) return late;
        throw notThere(continues);
      }
      const recording = await goOn(order, held, fingerprint);
      if (recording !== undefined) return { recording, isFirst: false };
    }
    throw changing();
  }

  async function open(order: RepeatOrder): Promise<Opened> {
    const id = await kept.idOf(order);
    const before = opening.get(id);
    const opened = (async () => {
      await before?.catch(() => {});
      return openInTurn(order, id);
    })();
    opening.set(id, opened);
    try {
      return await opened;
    } finally {
      if (opening.get(id) === opened) opening.delete(id);
    }
  }

  return {
    open,
    async cancel(name) {
      const id = await kept.idOf(name);
      await opening.get(id)?.catch(() => {});
      const running = live.get(id);
      running?.abort();
      if (running !== undefined) return true;
      const held = await runs.holder(name.territory, id);
      if (held === undefined) return false;
      if (held.owner !== replica.id && (await reach(held, () => desk.cancel(held))) === true) return true;
      // Nobody makes it: it is over with its run.
      const run = await runs.takeOver(held);
      if (run !== undefined) await runs.end(run);
      return true;
    },
    async stop() {
      isStopping = true;
      for (const recording of live.values()) recording.abort();
      for (const wake of waiting) wake();
      await Promise.all(writing);
      desk.stop();
    },
  };
}

/** Each one means that somebody else made progress in between. */
const TRIES_MAX = 8;

const notThere = (requestId: string | undefined): IdlewildError =>
  new IdlewildError(
    'invalid_request',
    `Last-Event-ID: the answer of ${requestId} is not here any more under this Idempotency-Key; ask without it`,
    { details: { param: 'Last-Event-ID' } },
  );
