/** Claims about the lender's requests: what is understood, what is refused, and that nothing unasked is done. */
import { IdlewildError } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { answerControl, type ControlReply, type LendingControl, type LendingStatus } from './control.ts';

function setUp(change: Partial<LendingControl> = {}) {
  const done: unknown[] = [];
  const note =
    (what: string) =>
    async (order?: unknown): Promise<never> => {
      done.push([what, order]);
      return undefined as never;
    };
  const control: LendingControl = {
    status: () => ({ name: 'ada' }) as LendingStatus,
    watch: () => ({ stop: () => undefined }),
    pause: note('pause'),
    resume: note('resume'),
    limits: note('limits'),
    leave: note('leave'),
    ...change,
  };
  const replies: ControlReply[] = [];
  const ask = (line: string | object) =>
    answerControl(control, typeof line === 'string' ? line : JSON.stringify(line), (reply) => replies.push(reply));
  return { ask, done, replies };
}

test('each request is done once and has its id in the reply', async () => {
  const { ask, done, replies } = setUp();
  await ask({ id: 1, do: 'status' });
  await ask({ id: 2, do: 'pause', forMs: 60_000 });
  await ask({ id: 3, do: 'resume' });
  await ask({ id: 4, do: 'limits', change: { cpuShareMax: 0.4 } });
  await ask({ id: 5, do: 'leave', now: true });
  expect(replies).toEqual([{ id: 1, ok: { name: 'ada' } }, ...[2, 3, 4, 5].map((id) => ({ id, ok: null }))]);
  const limits = { change: { cpuShareMax: 0.4 } };
  expect(done).toMatchObject([
    ['pause', { forMs: 60_000 }],
    ['resume', undefined],
    ['limits', limits],
    ['leave', { now: true }],
  ]);
});

test.each([
  ['no JSON', 'pause', 0, 'one line of JSON'],
  ['no object', '[1]', 0, 'has an "id"'],
  ['no id', { do: 'pause' }, 0, 'has an "id"'],
  ['an unknown request', { id: 9, do: 'dance' }, 9, '"dance" is no request; there are status, watch, pause'],
  ['the name of an inherited property', { id: 9, do: 'constructor' }, 9, 'is no request'],
  ['a field that is not known', { id: 9, do: 'resume', hard: true }, 9, '"resume" is wrong'],
  ['a pause that is over before it holds', { id: 9, do: 'pause', forMs: 1 }, 9, 'wrong at forMs'],
  ['a change that no lender may make', { id: 9, do: 'limits', change: { territories: [] } }, 9, 'wrong at change'],
])('%s is refused in words and changes nothing', async (_, line, id, text) => {
  const { ask, done, replies } = setUp();
  await ask(line);
  const message = expect.stringContaining(text) as string;
  expect(replies).toEqual([{ id, error: { code: 'invalid_request', message } }]);
  expect(done).toEqual([]);
});

test('what fails is told with its code', async () => {
  const { ask, replies } = setUp({
    limits: () => Promise.reject(new IdlewildError('consent_refused', 'more than was agreed')),
  });
  await ask({ id: 3, do: 'limits', change: {} });
  expect(replies).toEqual([{ id: 3, error: { code: 'consent_refused', message: 'more than was agreed' } }]);
});

test('a watch tells until it is stopped', async () => {
  const listeners = new Set<(status: LendingStatus) => void>();
  const { ask, replies } = setUp({
    watch(listen) {
      listeners.add(listen);
      return { stop: () => listeners.delete(listen) };
    },
  });
  const watch = await ask({ id: 7, do: 'watch' });
  for (const listen of listeners) listen({ name: 'ada' } as LendingStatus);
  expect(replies).toEqual([{ id: 7, event: { name: 'ada' } }]);
  watch?.stop();
  expect(listeners.size).toBe(0);
});
