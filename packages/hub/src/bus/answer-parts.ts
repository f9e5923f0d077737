/**
 * Answers that are waited for: whole ones come alone, long ones as parts and a last part that may overtake them.
 *
 * A part belongs to a question by its number and to an answer by its sender, so parts of two that answer do not mix.
 */
import { concat, hex, type Clock, type Timer } from '@idlewild/protocol';
import { timeoutError } from './errors.ts';
import type { Frame } from './frames.ts';
import { PARTS_MAX } from './heard.ts';
import { BUS_LIMITS } from './limits.ts';

export interface Question {
  readonly subject: string;
  readonly timeoutMs: number;
  resolve(bytes: Uint8Array): void;
  reject(error: unknown): void;
}

export interface Answers {
  /** `number`: of the frame that asks. */
  expect(number: number, question: Question): void;
  /** The answer, or the last part of it. */
  last(number: number, frame: Frame): void;
  /** One of the parts before the last. */
  part(frame: Frame): void;
  fail(number: number, error: unknown): void;
}

interface Expected extends Question {
  readonly dueMs: number;
  /** By sender, then by index. */
  readonly parts: Map<string, (Uint8Array | undefined)[]>;
  timer: Timer | undefined;
}

export function createAnswers(clock: Clock): Answers {
  const expected = new Map<number, Expected>();
  const end = (number: number): Expected | undefined => {
    const one = expected.get(number);
    one?.timer?.cancel();
    expected.delete(number);
    return one;
  };
  const add = (number: number, { sender, part, payload }: Frame): void => {
    const one = expected.get(number);
    if (one === undefined || part === undefined || part.count > PARTS_MAX || part.index >= part.count) return;
    const name = hex(sender.id);
    if (!one.parts.has(name) && one.parts.size >= BUS_LIMITS.answeringMax) return;
    const parts = one.parts.get(name) ?? Array.from<undefined>({ length: part.count });
    one.parts.set(name, parts);
    if (parts.length !== part.count) return;
    parts[part.index] = payload;
    const whole = parts.filter((there) => there !== undefined);
    if (whole.length === part.count) end(number)?.resolve(concat(whole));
  };
  return {
    expect(number, question) {
      const dueMs = clock.monotonic() + question.timeoutMs;
      expected.set(number, { ...question, dueMs, parts: new Map(), timer: undefined });
    },
    last(number, frame) {
      if (frame.part === undefined) return end(number)?.resolve(frame.payload);
      add(number, frame);
      const one = expected.get(number);
      if (one === undefined) return;
      const { subject, timeoutMs, dueMs } = one;
      one.timer = clock.after(dueMs - clock.monotonic(), () => end(number)?.reject(timeoutError(subject, timeoutMs)));
    },
    part(frame) {
      if (frame.part !== undefined) add(frame.part.message, frame);
    },
    fail: (number, error) => end(number)?.reject(error),
  };
}
