/** Claims about who may come back to an answer that is done and be refused, from events alone. */
import type { ErrorCode } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import type { SimEvent } from '../events.ts';
import type { RequestRow, Snapshot } from '../snapshot.ts';
import { createAccounting } from './accounting.ts';
import type { Facts } from './checker.ts';

const ADA = 'per_ada';
const FACTS: Facts = {
  contextTokens: 1_000,
  replicas: 3,
  isAlone: false,
  slots: () => 1,
  deviceOf: () => undefined,
  saltOf: () => 'salt',
  keyOf: (id) => ({ id, key: id, person: id === 'key_ada' ? ADA : undefined }),
  requests: { from: 1, to: 9 },
  models: () => new Set(),
  strangers: () => new Set(),
};
const DONE: RequestRow = {
  id: 'req_1',
  state: 'done',
  reason: null,
  prompt_tokens: 7,
  answer_tokens: 40,
  failovers: 0,
  exact: 1,
};
const WORK = { prompt: { kind: 'text', text: 'Speak.' }, sampling: {}, choice: 0, stop: [] } as unknown as Extract<
  SimEvent,
  { e: 'asked' }
>['work'];

type Step = readonly [atMs: number, event: SimEvent];
const asked = (key: string, keyed: { readonly keyed?: true } = { keyed: true }): Step[] => [
  [0, { e: 'asked', request: 1, key, model: 'tiny', work: WORK, ...keyed }],
  [0, came],
  [0, { e: 'accepted', request: 1, id: 'req_1', replica: 'rep_a' }],
];
const came = { e: 'came', request: 1, replica: 'rep_a', after: undefined } as const;
const token = { e: 'token', request: 1, i: 0, id: 0, s: 'a', via: undefined } as const;
const failed = (code: ErrorCode): SimEvent => ({ e: 'failed', request: 1, code });
const changed = (what: 'suspended' | 'stopped' | 'bound', subject: string, isOn: boolean): SimEvent => ({
  e: 'changed',
  what,
  subject,
  isOn,
});
/** What is blamed when the database says at rest that it was done. */
function blamed(steps: readonly Step[]): string[] {
  const all: string[] = [];
  const checker = createAccounting((what) => void all.push(what), FACTS);
  for (const [atMs, event] of steps) checker.see?.({ ...event, atMs });
  checker.inspect?.({ when: 'rest', requests: [DONE] } as unknown as Snapshot);
  return all;
}
/** Breaks at 2 s, comes back at 4 s, and is refused. */
const returning = (key: string, code: ErrorCode, meanwhile: readonly Step[]): Step[] => [
  ...asked(key),
  ...meanwhile,
  [4_000, came],
  [4_000, failed(code)],
];

test('who was suspended, unbound or asks a stopped model is refused on coming back, and that is right', () => {
  const suspended: Step = [3_000, changed('suspended', ADA, true)];
  expect(blamed(returning('key_ada', 'forbidden', [suspended]))).toEqual([]);
  // It is not known everywhere yet that it was taken back.
  const back: Step = [3_500, changed('suspended', ADA, false)];
  expect(blamed(returning('key_ada', 'forbidden', [suspended, back]))).toEqual([]);
  expect(blamed(returning('key_ada', 'model_stopped', [[3_000, changed('stopped', 'tiny', true)]]))).toEqual([]);
  const unbound: Step[] = [
    [-1, changed('bound', 'key_kiosk lab', true)],
    [3_000, changed('bound', 'key_kiosk lab', false)],
  ];
  expect(blamed(returning('key_kiosk', 'forbidden', unbound))).toEqual([]);
});

const LOST = /the database says done .* its caller saw/;
test.each<[string, readonly Step[]]>([
  ['nobody barred it', returning('key_ada', 'forbidden', [])],
  ['somebody else was suspended', returning('key_ada', 'forbidden', [[3_000, changed('suspended', 'per_bea', true)]])],
  [
    'the suspension was over long ago',
    returning('key_ada', 'forbidden', [
      [1_000, changed('suspended', ADA, true)],
      [2_000, changed('suspended', ADA, false)],
    ]),
  ],
  ['it was suspended later', [...returning('key_ada', 'forbidden', []), [4_001, changed('suspended', ADA, true)]]],
  ['it is told of a cap', returning('key_ada', 'spend_cap', [[3_000, changed('suspended', ADA, true)]])],
  ['it is told of an error', returning('key_ada', 'attempts_exhausted', [[3_000, changed('suspended', ADA, true)]])],
  ['another model was stopped', returning('key_ada', 'model_stopped', [[3_000, changed('stopped', 'other', true)]])],
  [
    'the model is stopped, and it is told that it may not',
    returning('key_ada', 'forbidden', [[3_000, changed('stopped', 'tiny', true)]]),
  ],
  [
    'it has another pool',
    returning('key_kiosk', 'forbidden', [
      [1_000, changed('bound', 'key_kiosk lab', true)],
      [1_000, changed('bound', 'key_kiosk attic', true)],
      [2_500, changed('bound', 'key_kiosk lab', false)],
    ]),
  ],
  ['it never came back', [...asked('key_ada'), [3_000, changed('suspended', ADA, true)], [4_000, failed('forbidden')]]],
  [
    'it was let in',
    [
      ...asked('key_ada'),
      [3_000, changed('suspended', ADA, true)],
      [3_100, came],
      [3_200, token],
      [3_300, failed('forbidden')],
    ],
  ],
  [
    'it has no Idempotency-Key',
    [...asked('key_ada', {}), [3_000, changed('suspended', ADA, true)], [4_000, came], [4_000, failed('forbidden')]],
  ],
])('an answer that is done is lost to its caller where %s', (_, steps) => {
  expect(blamed(steps)).toEqual([expect.stringMatching(LOST)]);
});
