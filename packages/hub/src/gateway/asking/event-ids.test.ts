/** Claims about going on with a stream that broke: nothing twice, nothing lost, wherever it broke. */
import { concat, fromUtf8, utf8, type Random } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createContinuation, createEventIds, formatPlace, lastEventId, parsePlace } from './event-ids.ts';

const requestId = `req_${'a'.repeat(26)}`;
const whole = (random: Random, below: number): number => Math.floor(random.unit() * below);

interface Step {
  readonly choice: number;
  /** `undefined` for the end of the choice. */
  readonly index: number | undefined;
}

/** Each choice in its order, all of them in any. */
function interleaved(random: Random, lengths: readonly number[]): Step[] {
  const next = lengths.map(() => 0);
  const steps: Step[] = [];
  for (let left = lengths.reduce((sum, length) => sum + length + 1, 0); left > 0; left--) {
    const open = next.flatMap((index, choice) => (index <= (lengths[choice] as number) ? [choice] : []));
    const choice = open[whole(random, open.length)] as number;
    const index = next[choice] as number;
    next[choice] = index + 1;
    steps.push({ choice, index: index < (lengths[choice] as number) ? index : undefined });
  }
  return steps;
}

/** How many events a token has: none where its text is held back, two where it has text and a part of a call. */
const eventsOf = (choice: number, index: number): number => [1, 1, 0, 2, 1, 3][(choice * 7 + index) % 6] as number;
const event = (text: string): string => `event: delta\ndata: ${JSON.stringify(text)}\n\n`;

/** A stream as the gateway writes it: the events of each choice are a function of its tokens. */
function streamOf(steps: readonly Step[], choices: number, hasOpening: boolean): string {
  const ids = createEventIds(requestId, choices);
  let text = hasOpening ? ids.opened(event('opening') + event('opening too')) : ids.opened('');
  for (const { choice, index } of steps) {
    if (index === undefined) {
      text += ids.finished(choice, event(`${choice}: held back\r\n`) + event(`${choice}: end`));
    } else {
      const events = Array.from({ length: eventsOf(choice, index) }, (_, i) => event(`${choice}: ${index}.${i} ☕`));
      text += ids.token(choice, index, events.join(''));
    }
  }
  return `${text}${event('usage')}data: [DONE]\n\n`;
}

/** As a careful reader has it: what came after the last id may have been cut, and is not counted. */
function heard(text: string): { readonly told: string; readonly lastId: string | undefined } {
  const lastId = [...text.matchAll(/^id: (.*)\n\n/gm)].at(-1);
  if (lastId === undefined) return { told: '', lastId: undefined };
  return { told: text.slice(0, lastId.index + lastId[0].length), lastId: lastId[1] };
}

function continued(random: Random, text: string, lastId: string): string {
  const continuation = createContinuation(lastEventId(lastId));
  const bytes = utf8(text);
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const to = Math.min(bytes.length, at + 1 + whole(random, 200));
    out.push(continuation.push(bytes.subarray(at, to)));
    at = to;
  }
  return fromUtf8(concat([...out, continuation.end()]));
}

/** The events of each choice in their order, and those of no choice. */
function byChoice(text: string): Record<string, string[]> {
  const events = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data as string);
  return Object.groupBy(events, (data) => /^"(\d+): /.exec(data)?.[1] ?? 'none') as Record<string, string[]>;
}

test('cut anywhere and any number of times, and made again in another order, a stream has every event once', () => {
  for (let seed = 1; seed <= 400; seed++) {
    const random = createSeededRandom(seed);
    const lengths = Array.from({ length: 1 + whole(random, 4) }, () => whole(random, 12));
    const hasOpening = seed % 3 > 0;
    const make = (): string => streamOf(interleaved(random, lengths), lengths.length, hasOpening);
    let before = '';
    let lastId: string | undefined;
    for (let cuts = whole(random, 4); cuts > 0; cuts--) {
      const tail = lastId === undefined ? make() : continued(random, make(), lastId);
      const part = heard(tail.slice(0, whole(random, tail.length + 1)));
      before += part.told;
      lastId = part.lastId ?? lastId;
    }
    const all = before + (lastId === undefined ? make() : continued(random, make(), lastId));
    expect(byChoice(all), `seed ${seed}`).toEqual(byChoice(make()));
  }
});

test('of one choice what was had and what follows are the very bytes of the whole', () => {
  const random = createSeededRandom(1);
  const text = streamOf(interleaved(random, [30]), 1, true);
  for (let cut = 0; cut <= text.length; cut += 7) {
    const { told, lastId } = heard(text.slice(0, cut));
    expect(told + (lastId === undefined ? text : continued(random, text, lastId))).toBe(text);
  }
});

test('who has more than was made so far waits for what follows it', () => {
  const continuation = createContinuation(lastEventId(`${requestId}:3`));
  const steps = [0, 1, 2, 3, 4].map((index) => ({ choice: 0, index }));
  const ids = createEventIds(requestId, 1);
  const told = steps.map(({ index }) => continuation.push(utf8(ids.token(0, index, event(`0: ${index}`)))).length > 0);
  expect(told).toEqual([false, false, false, false, true]);
});

test('what fails after the place is told, also when it never came to the place', () => {
  const failed = 'data: {"error":{"code":"no_device"}}\n\n';
  const continuation = createContinuation(lastEventId(`${requestId}:7`));
  expect(continuation.push(utf8(failed))).toHaveLength(0);
  expect(fromUtf8(continuation.end())).toBe(failed);
});

test('an id is the request with the place of each choice, and nothing else is one', () => {
  for (const choices of [[5], [-1], [5, 3], [-1, 0, Number.POSITIVE_INFINITY]])
    expect(parsePlace(formatPlace({ requestId, choices }))).toEqual({ requestId, choices });
  expect(formatPlace({ requestId, choices: [5, -1, Number.POSITIVE_INFINITY] })).toBe(`${requestId}:5.-.end`);
  for (const text of [
    '',
    '5',
    requestId,
    `${requestId}:`,
    `${requestId}:1.`,
    `${requestId}:-1`,
    `${requestId}:1e9`,
    `${requestId}:1234567890`,
    `${requestId}:${Array(129).fill('1').join('.')}`,
    `req_x:1`,
    ` ${requestId}:1`,
  ])
    expect(() => lastEventId(text), text).toThrow(/Last-Event-ID/);
});
