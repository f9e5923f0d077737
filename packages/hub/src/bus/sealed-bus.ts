/**
 * A bus over one that others may read and write: sealed, cut into parts where it is long, and apart from other hubs.
 *
 * Who has the server but not the key can keep messages back and see who talks to whom, when and how much. It cannot
 * read, change, make, repeat or move any: what does not open, came before, is too old, or was meant for another subject
 * is dropped, counted, and named in the log once a minute. Publishing is synchronous where the keys are (on Node they
 * are); where they are not, messages wait in order.
 *
 * An answer of several parts: all but the last go to `in.<who asked>`, the last as the answer itself.
 */
import { IdlewildError, hex, utf8, type Clock, type Crypto, type MaybePromise, type Random } from '@idlewild/protocol';
import type { Log } from '../log.ts';
import { createAnswers, type Answers } from './answer-parts.ts';
import { downError } from './errors.ts';
import { createFrames, type Frame, type Frames, type Refusal } from './frames.ts';
import { createHeard, type Heard } from './heard.ts';
import { BUS_LIMITS } from './limits.ts';
import { andThen, createSequence, type Sequence } from './maybe-promise.ts';
import { BUS_BYTES_MAX, type Bus, type BusMessage, type Subscription } from './port.ts';
import { checkPattern, checkSubject } from './subjects.ts';

export interface SealedBus extends Bus {
  /** How many messages were refused since the start. */
  refused(): number;
}

interface Deps {
  /** 32 random bytes that only replicas of this hub have. */
  readonly key: Uint8Array;
  /** `iw.` and eight hexadecimal digits: what other hubs do not use. */
  readonly prefix: string;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Log;
}

interface World {
  readonly bus: Bus;
  readonly frames: Frames;
  readonly heard: Heard;
  readonly answers: Answers;
  readonly outgoing: Sequence;
  readonly incoming: Sequence;
  readonly deps: Deps;
  refuse(why: Why): void;
}

type Why = Refusal | 'repeated' | 'incomplete' | 'crowded';

export async function createSealedBus(bus: Bus, deps: Deps): Promise<SealedBus> {
  checkSubject(deps.prefix);
  const { clock, log } = deps;
  const frames = await createFrames(deps);
  const refusals = createRefusals(clock, log);
  const failed = (error: unknown): void => log.error({ err: error }, 'a message on the bus could not be handled');
  const world: World = {
    bus,
    deps,
    frames,
    heard: createHeard(frames, clock),
    answers: createAnswers(clock),
    outgoing: createSequence(BUS_LIMITS.waitingBytesMax, failed),
    incoming: createSequence(BUS_LIMITS.waitingBytesMax, failed),
    refuse: refusals.add,
  };
  hearParts(world);
  return {
    publish(subject, bytes) {
      checkSubject(subject);
      if (!bus.isUp()) return;
      const full = `${deps.prefix}.${subject}`;
      const publish = (frame: Uint8Array): void => bus.publish(full, frame);
      send(world, bytes, { boundOf: () => utf8(full), publish, publishLast: publish });
    },
    subscribe: (pattern, onMessage) => listen(world, pattern, onMessage),
    request: (subject, bytes, { timeoutMs }) => ask(world, subject, bytes, timeoutMs),
    isUp: () => bus.isUp(),
    onChange: (listener) => bus.onChange(listener),
    async close() {
      await world.outgoing.idle();
      world.heard.close();
      await bus.close();
    },
    refused: refusals.count,
  };
}

function listen(world: World, pattern: string, onMessage: (message: BusMessage) => void): Subscription {
  checkPattern(pattern);
  const { bus, frames, heard, deps } = world;
  const ear = {};
  let isStopped = false;
  const take = (message: BusMessage, frame: Frame | Refusal): void => {
    if (isStopped) return;
    const bytes = typeof frame === 'string' ? frame : heard.take(ear, frame);
    if (typeof frame === 'string' || typeof bytes === 'string') return world.refuse(bytes as Why);
    if (bytes === undefined) return;
    const subject = message.subject.slice(deps.prefix.length + 1);
    onMessage({ subject, bytes, respond: (answer) => respond(world, message, frame, answer) });
  };
  heard.add(ear);
  const subscription = bus.subscribe(`${deps.prefix}.${pattern}`, (message) => {
    const { subject, bytes } = message;
    receive(world, bytes, () => andThen(frames.open(utf8(subject), bytes), (frame) => take(message, frame)));
  });
  return {
    stop() {
      isStopped = true;
      subscription.stop();
      heard.remove(ear);
    },
  };
}

function ask(world: World, subject: string, bytes: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
  const { bus, frames, answers } = world;
  return new Promise((resolve, reject) => {
    checkSubject(subject);
    if (!bus.isUp()) throw downError(subject);
    const full = `${world.deps.prefix}.${subject}`;
    const isGoing = send(world, bytes, {
      boundOf: () => utf8(full),
      publish: (frame) => bus.publish(full, frame),
      publishLast(frame, number) {
        answers.expect(number, { subject, timeoutMs, resolve, reject });
        const take = (answer: Frame | Refusal): void => {
          if (typeof answer !== 'string') return answers.last(number, answer);
          world.refuse(answer);
          answers.fail(number, strangerError(subject));
        };
        const bound = answerBound(frames.id, number);
        bus.request(full, frame, { timeoutMs }).then(
          (answer) => receive(world, answer, () => andThen(frames.open(bound, answer), take)),
          (error: unknown) => answers.fail(number, error),
        );
      },
    });
    if (!isGoing) throw downError(subject);
  });
}

function respond(world: World, asked: BusMessage, question: Frame, bytes: Uint8Array): void {
  const { bus, deps } = world;
  const { sender, number } = question;
  const inbox = `${deps.prefix}.in.${hex(sender.id)}`;
  send(world, bytes, {
    message: number,
    boundOf: (isLast) => (isLast ? answerBound(sender.id, number) : utf8(inbox)),
    publish: (frame) => bus.publish(inbox, frame),
    publishLast: (frame) => asked.respond(frame),
  });
}

/** The parts of answers but the last. */
function hearParts(world: World): void {
  const { bus, deps, frames, answers } = world;
  bus.subscribe(`${deps.prefix}.in.${hex(frames.id)}`, ({ subject, bytes }) => {
    receive(world, bytes, () =>
      andThen(frames.open(utf8(subject), bytes), (frame) => {
        if (typeof frame === 'string') world.refuse(frame);
        else answers.part(frame);
      }),
    );
  });
}

interface Way {
  /** What the parts say they belong to; without it, the number of the first. */
  readonly message?: number;
  boundOf(isLast: boolean): Uint8Array;
  publish(frame: Uint8Array): void;
  publishLast(frame: Uint8Array, number: number): void;
}

/** Seals and sends, in parts where it must be; `false` when too much waits already. */
function send({ frames, outgoing, refuse }: World, bytes: Uint8Array, way: Way): boolean {
  if (bytes.length > BUS_BYTES_MAX) {
    const message = `a message of ${bytes.length} bytes does not go over the bus: at most ${BUS_BYTES_MAX}`;
    throw new IdlewildError('frame_too_large', message);
  }
  const count = Math.max(1, Math.ceil(bytes.length / BUS_LIMITS.partBytes));
  let { message } = way;
  for (let index = 0; index < count; index++) {
    const payload = bytes.subarray(index * BUS_LIMITS.partBytes, (index + 1) * BUS_LIMITS.partBytes);
    const isLast = index === count - 1;
    const isGoing = outgoing.run(payload.length, () => {
      const number = frames.nextNumber();
      message ??= number;
      const part = count === 1 ? undefined : { message, index, count };
      return andThen(frames.seal(way.boundOf(isLast), payload, part), (frame) =>
        isLast ? way.publishLast(frame, number) : way.publish(frame),
      );
    });
    if (isGoing) continue;
    refuse('crowded');
    return false;
  }
  return true;
}

function receive({ incoming, refuse }: World, bytes: Uint8Array, step: () => MaybePromise<void>): void {
  if (!incoming.run(bytes.length, step)) refuse('crowded');
}

/** No subject has a space, so what answers a question is never taken for what was published. */
const answerBound = (asker: Uint8Array, number: number): Uint8Array => utf8(`answer ${hex(asker)} ${number}`);

const strangerError = (subject: string): IdlewildError =>
  new IdlewildError('bus_timeout', `asking ${subject} failed: what answered is no replica of this hub, or too late`);

function createRefusals(clock: Clock, log: Log): { add(why: Why): void; count(): number } {
  const counts: Partial<Record<Why, number>> = {};
  let total = 0;
  let loggedMs = Number.NEGATIVE_INFINITY;
  return {
    add(why) {
      total++;
      counts[why] = (counts[why] ?? 0) + 1;
      if (clock.monotonic() - loggedMs < BUS_LIMITS.refusalsLogMs) return;
      loggedMs = clock.monotonic();
      log.warn({ ...counts }, 'messages on the bus were refused; this counts them since the start, by reason');
    },
    count: () => total,
  };
}
