/** Claims about what attempts keep: the newest without a gap, within a bound over all of them. */
import { expect, test } from 'vitest';
import type { AnswerToken, ToHub } from '@idlewild/protocol';
import { createFakeClock } from '@idlewild/protocol/testing';
import { AGENT_LIMITS } from '../limits.ts';
import { createAttempts, keep, makeRoom, parted, type Attempt, type Attempts } from './attempts.ts';
import { createSaid } from './said.ts';

const TEXT = 'x'.repeat(4_096);
/** Of tokens with this text, how many are kept at most. */
const KEPT_MAX = AGENT_LIMITS.keptBytesMax / (2 * TEXT.length);

interface Lane {
  readonly attempts: Attempts;
  readonly sent: ToHub[];
  begin(lease: string): Attempt;
  grow(attempt: Attempt, tokens: number): void;
}

function createLane(): Lane {
  const sent: ToHub[] = [];
  const ports = {
    clock: createFakeClock(async () => undefined),
    send: (message: ToHub) => sent.push(message),
    onChanged: () => undefined,
    onOver: () => undefined,
  };
  const attempts = createAttempts(ports);
  attempts.resumes = true;
  return {
    attempts,
    sent,
    begin(lease) {
      const message = { t: 'answer', lease, epoch: 1 } as Attempt['message'];
      const said = createSaid({ ...ports, backlogBytes: () => 0, tally: attempts.tally }, 0, true);
      const model = {} as Attempt['model'];
      const times = { sinceMs: 0, startedAtMs: 0 };
      const attempt: Attempt = {
        message,
        model,
        said,
        keeps: true,
        tokens: [],
        tell: () => {},
        ...times,
        resumes: 0,
        over: false,
      };
      attempts.running.set(lease, attempt);
      return attempt;
    },
    grow(attempt, tokens) {
      for (let left = tokens; left > 0; left--) {
        const i = attempt.said?.next() ?? 0;
        const { lease } = attempt.message;
        attempt.said?.tell({ t: 'answer.token', lease, epoch: 1, i, id: i, s: TEXT } satisfies AnswerToken);
        makeRoom(attempts, attempt);
      }
    },
  };
}

function end(attempts: Attempts, attempt: Attempt): void {
  attempts.running.delete(attempt.message.lease);
  attempt.over = true;
  keep(attempts, attempt);
}

test('over the bound the oldest end is forgotten first, then the oldest tokens of what runs', () => {
  const { attempts, begin, grow, sent } = createLane();
  const [first, second, third] = [begin('first'), begin('second'), begin('third')];
  for (const attempt of [first, second]) {
    grow(attempt, Math.floor(KEPT_MAX / 3));
    end(attempts, attempt);
  }
  grow(third, Math.floor(KEPT_MAX / 2));
  expect([...attempts.ended.keys()]).toEqual(['second']);
  grow(third, Math.floor(KEPT_MAX / 2) + 10);
  expect([...attempts.ended.keys()]).toEqual([]);
  expect(attempts.tally.bytes).toBeLessThanOrEqual(AGENT_LIMITS.keptBytesMax);
  const next = third.said?.next() ?? 0;
  expect(third.said?.resume(0)).toContain('are not here any more');
  sent.length = 0;
  expect(third.said?.resume(next - 100)).toBeUndefined();
  expect(sent.map((message) => message.t === 'answer.token' && message.i)).toEqual(
    Array.from({ length: 100 }, (_, at) => next - 100 + at),
  );
});

test('what runs without anybody who hears it is bounded, too', () => {
  const { attempts, begin, grow } = createLane();
  const attempt = begin('alone');
  parted(attempts);
  grow(attempt, 2 * KEPT_MAX);
  expect(attempts.tally.bytes).toBeLessThanOrEqual(AGENT_LIMITS.keptBytesMax);
  expect(attempts.tally.bytes).toBeGreaterThan(AGENT_LIMITS.keptBytesMax / 4);
});

test('no more ended attempts are kept than a handshake can list', () => {
  const { attempts, begin } = createLane();
  for (let at = 0; at <= AGENT_LIMITS.keptAttemptsMax; at++) end(attempts, begin(`att_${at}`));
  expect(attempts.ended.size).toBe(AGENT_LIMITS.keptAttemptsMax);
  expect(attempts.ended.has('att_0')).toBe(false);
});

test('what is forgotten gives its memory back', () => {
  const { attempts, begin, grow } = createLane();
  const attempt = begin('one');
  grow(attempt, 10);
  expect(attempts.tally.bytes).toBeGreaterThan(10 * TEXT.length);
  attempt.said?.clear();
  expect(attempts.tally.bytes).toBe(0);
});
