/** Claims about sealed prompts: what opens, what does not, and what who carries them can tell. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { concat, fromHex, fromUtf8, utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { KeyPair } from '../ports.ts';
import { fromFixture } from '../testing/fixture-json.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import type { AnswerWork } from '../wire/answer.ts';
import { encodeCbor } from '../wire/frame.ts';
import type { InnerEvent } from '../wire/sealed.ts';
import { openWork, sealWork, type SealedTerms } from './envelope.ts';
import { hpkeSender } from './hpke.ts';
import { EVENT_BUCKETS, PROMPT_BUCKETS, bucketFor, pad, unpad } from './padding.ts';

const ports = { crypto: nodeCrypto, random: createSeededRandom(40) };
const own = nodeCrypto.agreementKey(new Uint8Array(32).fill(7)) as KeyPair;
const other = nodeCrypto.agreementKey(new Uint8Array(32).fill(8)) as KeyPair;
const terms: SealedTerms = {
  device: new Uint8Array(32).fill(1),
  key: own.publicKey,
  model: 'bafymodel',
  lease: 'att_1',
  epoch: 1,
  dataClass: 'confidential',
};
const SECRET = 'What news of the king?';
const work: AnswerWork = {
  prompt: { kind: 'chat', messages: [{ role: 'user', content: SECRET }] },
  sampling: { seed: 7 },
  choice: 0,
  stop: [],
  tokens: [4, 5],
};
const token = (i: number, s: string): InnerEvent => ({ t: 'answer.token', i, id: 17, s });
const end: InnerEvent = { t: 'answer.failed', code: 'engine_failed', message: 'killed' };

async function exchange(events: readonly InnerEvent[]) {
  const { enc, sealed, answer } = await sealWork(work, terms, ports);
  const opened = await openWork({ enc, sealed, own, terms }, ports);
  const parts = await Promise.all(events.map((event) => opened.answer.seal(event)));
  return { enc, sealed, answer, opened, parts };
}

test('a device opens what was sealed to it, and its caller opens the answer in order', async () => {
  const events = [{ t: 'answer.started', promptTokens: 9 } as const, token(0, 'None'), token(1, ' yet'), end];
  const { answer, opened, parts } = await exchange(events);
  expect(opened.work).toEqual(work);
  const read: InnerEvent[] = [];
  for (const { n, sealed } of parts) {
    expect(answer.isWhole()).toBe(false);
    read.push(await answer.open(n, sealed));
  }
  expect(read).toEqual(events);
  expect(answer.isWhole()).toBe(true);
  await expect(answer.open(4, (parts[3] as { sealed: Uint8Array }).sealed)).rejects.toMatchObject({
    code: 'sealed_broken',
  });
});

test.each<[string, Partial<SealedTerms>]>([
  ['another model', { model: 'bafyother' }],
  ['another lease', { lease: 'att_2' }],
  ['another epoch', { epoch: 2 }],
  ['another data class', { dataClass: 'public' }],
  ['the data class left out', { dataClass: undefined }],
  ['a cause', { cause: 'climate' }],
  ['another device', { device: new Uint8Array(32).fill(2) }],
])('under %s nothing opens', async (_, changed) => {
  const { enc, sealed } = await sealWork(work, terms, ports);
  await expect(openWork({ enc, sealed, own, terms: { ...terms, ...changed } }, ports)).rejects.toMatchObject({
    code: 'sealed_unopened',
  });
});

test('with another key, or changed, nothing opens', async () => {
  const { enc, sealed } = await sealWork(work, terms, ports);
  const changed = sealed.slice();
  changed[20] = (changed[20] as number) ^ 4;
  for (const given of [{ own: other }, { sealed: changed }, { enc: other.publicKey }, { enc: enc.subarray(1) }])
    await expect(openWork({ enc, sealed, own, terms, ...given }, ports)).rejects.toMatchObject({
      code: 'sealed_unopened',
    });
});

test('what was sealed and is no work is refused, and the refusal tells nothing of it', async () => {
  const seal = async (plain: Uint8Array) => {
    const cbor = encodeCbor(terms);
    const sender = await hpkeSender(
      { recipient: own.publicKey, info: concat([utf8('idlewild/v1/sealed-prompt\0'), cbor]) },
      ports,
    );
    return { enc: sender.enc, sealed: await sender.seal(plain, utf8('idlewild/v1/sealed-prompt\0')) };
  };
  const padded = (value: unknown): Uint8Array => pad(encodeCbor(value), PROMPT_BUCKETS);
  expect((await openWork({ ...(await seal(padded({ v: 1, work }))), own, terms }, ports)).work).toEqual(work);
  for (const plain of [
    padded({ v: 2, work }),
    padded({ v: 1, work: { ...work, prompt: { kind: 'text', text: SECRET.length, [SECRET]: 1 } } }),
    padded({ v: 1, work: { ...work, stop: [SECRET, SECRET, SECRET, SECRET, SECRET] } }),
    padded(SECRET),
    padded(undefined),
    utf8(SECRET),
    new Uint8Array(LIMITS.sealedPromptBytesMin).fill(255),
  ]) {
    const refused = await openWork({ ...(await seal(plain)), own, terms }, ports).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'invalid_request' });
    expect(String((refused as Error).stack) + JSON.stringify(refused)).not.toContain(SECRET);
    expect((refused as Error).cause).toBeUndefined();
  }
});

test('events that were reordered, left out, repeated, changed or made by others do not open', async () => {
  const events = [token(0, 'a'), token(1, 'b'), token(2, 'c')];
  const { parts } = await exchange(events);
  const [first, second, third] = parts as [(typeof parts)[0], (typeof parts)[0], (typeof parts)[0]];
  const foreign = (await exchange(events)).parts[1] as typeof second;
  const flipped = second.sealed.slice();
  flipped[0] = (flipped[0] as number) ^ 1;
  const cases: [string, readonly (readonly [number, Uint8Array])[]][] = [
    [
      'reordered',
      [
        [0, first.sealed],
        [1, third.sealed],
      ],
    ],
    [
      'told to be another',
      [
        [0, first.sealed],
        [2, third.sealed],
      ],
    ],
    [
      'repeated',
      [
        [0, first.sealed],
        [0, first.sealed],
      ],
    ],
    [
      'repeated as the next',
      [
        [0, first.sealed],
        [1, first.sealed],
      ],
    ],
    [
      'changed',
      [
        [0, first.sealed],
        [1, flipped],
      ],
    ],
    [
      'of another answer',
      [
        [0, first.sealed],
        [1, foreign.sealed],
      ],
    ],
    ['cut in its bytes', [[0, first.sealed.subarray(0, 40)]]],
  ];
  for (const [what, given] of cases) {
    const { answer, enc, sealed } = await sealWork(work, terms, ports);
    const opened = await openWork({ enc, sealed, own, terms }, ports);
    const again = await Promise.all(events.map((event) => opened.answer.seal(event)));
    // The same events, sealed for this answer, in place of those that the case is about.
    const bytes = given.map(([n, chunk]): readonly [number, Uint8Array] => {
      const index = parts.findIndex((part) => part.sealed === chunk);
      return [n, index === -1 ? chunk : (again[index] as typeof first).sealed];
    });
    const read = async (): Promise<void> => {
      for (const [n, chunk] of bytes) await answer.open(n, chunk);
    };
    await expect(read(), what).rejects.toMatchObject({ code: 'sealed_broken' });
  }
});

test('lengths are those of a few buckets, both ways, whatever is said', async () => {
  const lengthOf = async (content: string): Promise<number> => {
    const messages = [{ role: 'user', content }];
    return (await sealWork({ ...work, prompt: { kind: 'chat', messages } }, terms, ports)).sealed.length;
  };
  const lengths = await Promise.all([1, 40, 800].map((length) => lengthOf('x'.repeat(length))));
  expect(new Set(lengths)).toEqual(new Set([LIMITS.sealedPromptBytesMin + 16]));
  expect(await lengthOf('x'.repeat(1_200))).toBe(2 * LIMITS.sealedPromptBytesMin + 16);
  const { parts } = await exchange([token(0, ''), token(1, 'a'), token(2, 'indistinguishable'), token(3, '→'), end]);
  expect(new Set(parts.slice(1).map(({ sealed }) => sealed.length))).toEqual(
    new Set([LIMITS.sealedEventBytesMin + 16]),
  );
});

test('the longest prompt with the longest answer so far fits, and more is refused', async () => {
  const text = 'x'.repeat(LIMITS.promptBytesMax);
  const tokens = new Array<number>(LIMITS.tokensMax).fill(151_000);
  const { sealed } = await sealWork({ ...work, prompt: { kind: 'text', text }, tokens }, terms, ports);
  expect(sealed.length).toBeLessThan(LIMITS.frameBytesMax - 4_096);
  await expect(
    sealWork({ ...work, prompt: { kind: 'text', text: text.repeat(3) } }, terms, ports),
  ).rejects.toMatchObject({ code: 'body_too_large' });
});

test('padding comes off as it went on, and nothing else passes for it', () => {
  const content = utf8('some text');
  expect(fromUtf8(unpad(pad(content, EVENT_BUCKETS), EVENT_BUCKETS))).toBe('some text');
  expect(bucketFor(LIMITS.sealedEventBytesMax + 1, EVENT_BUCKETS)).toBeUndefined();
  const dirty = pad(content, EVENT_BUCKETS);
  dirty[LIMITS.sealedEventBytesMin - 1] = 1;
  const tooLong = pad(content, EVENT_BUCKETS);
  tooLong[0] = 255;
  const inALargerBucket = concat([pad(content, EVENT_BUCKETS), new Uint8Array(LIMITS.sealedEventBytesMin * 3)]);
  for (const wrong of [dirty, tooLong, inALargerBucket, new Uint8Array(2), new Uint8Array()])
    expect(() => unpad(wrong, EVENT_BUCKETS)).toThrowError(expect.objectContaining({ code: 'frame_invalid' }));
});

test('a sealed prompt of the fixtures opens, and its answer too', async () => {
  const path = fileURLToPath(new URL('../../fixtures/v1/sealed.json', import.meta.url));
  const { entries } = JSON.parse(readFileSync(path, 'utf8')) as {
    entries: Record<string, Record<'recipientSeed' | 'ephemeralSeed' | 'answerSalt' | 'enc' | 'sealed', string>> &
      Record<string, { terms: unknown; work: unknown; events: unknown[]; parts: string[] }>;
  };
  // Rules of use stand there, too.
  const prompts = Object.values(entries).filter((entry) => 'enc' in entry);
  expect(prompts).not.toHaveLength(0);
  for (const entry of prompts) {
    const of = await nodeCrypto.agreementKey(fromHex(entry.recipientSeed));
    const [enc, sealed] = [fromHex(entry.enc), fromHex(entry.sealed)];
    const fixed = fromFixture(entry.terms) as SealedTerms;
    const opened = await openWork({ enc, sealed, own: of, terms: fixed }, ports);
    expect(opened.work).toEqual(fromFixture(entry.work));
    const given = { ...ports, random: { ...ports.random, bytes: () => fromHex(entry.ephemeralSeed) } };
    const { answer } = await sealWork(opened.work, fixed, given);
    const events: unknown[] = [];
    for (const [n, part] of entry.parts.entries()) events.push(await answer.open(n, fromHex(part)));
    expect(events).toEqual(entry.events.map((event) => fromFixture(event)));
  }
});
