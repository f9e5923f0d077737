/** Claims about sealed answers that a second device scores or makes again, and about what is signed of them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LIMITS, openKeptSealed, readKeptSealed, type KeptSealed, type OpenedSealedReceipt } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import type { VerifiedFinish } from './again.ts';
import { ANSWER, SECRET, community, device, textOf, worldsOf, type World } from './testing/lying-hub.ts';

const createWorld = worldsOf(() => nextTurn());
const answer = { text: ANSWER.join(''), calls: [] };
async function endOf(world: World, verify = true): Promise<VerifiedFinish> {
  const events = await world.answer({ verify });
  // Whatever comes of it, the answer is told, and once.
  expect(textOf(events)).toBe(answer.text);
  return events.at(-1) as VerifiedFinish;
}
const opened = ({ kept }: VerifiedFinish): Promise<OpenedSealedReceipt> =>
  openKeptSealed(readKeptSealed(kept as Uint8Array) as KeptSealed, { territory: community, answer }, nodeCrypto);

test('another device that makes the same verifies it, without being told the answer', async () => {
  const world = createWorld([device(10), device(12)]);
  const end = await endOf(world);
  expect(end.verification).toMatchObject({ result: 'verified', device: { id: 'dev_12' } });
  expect(end.devices.map(({ id }) => id)).toEqual(['dev_10']);
  const [first, second] = world.worked;
  // Each device has a scope of its own.
  const scope = expect.stringMatching(/^sealed\./) as string;
  expect(second).toEqual({ work: { ...first?.work, scope }, device: 'dev_12' });
  const offers = world.sent.filter(({ path }) => path.endsWith('offers')).map(({ body }) => body);
  expect(offers[0]).not.toHaveProperty('apart');
  expect(offers[1]).toMatchObject({ apart: true, without: ['dev_10'], numeric_class: 'class-a' });
  expect((await opened(end)).verifiedBy).toMatch(/^dev_/);
});

test('nobody is asked again who was not to be', async () => {
  const world = createWorld([device(10), device(12)]);
  const end = await endOf(world, false);
  expect(end.verification).toBeUndefined();
  expect(world.worked).toHaveLength(1);
  expect((await opened(end)).verifiedBy).toBeUndefined();
});

test('a token that is another is found, and the second device stops there', async () => {
  const world = createWorld([device(10, { slips: 3 }), device(12)]);
  const end = await endOf(world);
  expect(end.verification).toEqual({ result: 'differs', at: 3 });
  expect((await opened(end)).verifiedBy).toBeUndefined();
});

test('an answer that went over devices is made again by one that was none of them, as a whole', async () => {
  const world = createWorld([device(10, { dies: 2 }), device(12), device(14)]);
  const end = await endOf(world);
  expect(end.verification).toMatchObject({ result: 'verified', device: { id: 'dev_14' } });
  expect(world.worked.map(({ work }) => work.tokens.length)).toEqual([0, 2, 0]);
  const { device: part, verifiedBy } = await opened(end);
  expect(part.firstToken).toBe(2);
  expect(verifiedBy).toMatch(/^dev_/);
});

const own = device(10);
test.each<[string, World]>([
  ['there is no other device', createWorld([own])],
  ['the other is of another numeric class', createWorld([own, device(12, { numericClass: 'class-b' })])],
  [
    'a hub names the same device by another name',
    createWorld([own, device(12)], {
      offer: (offer, nth) => (nth === 1 ? offer : { ...offer, device: { ...(offer.device as object), key: keyText } }),
    }),
  ],
  [
    'a hub says another class of the device than that signs, so that one of another makes it again',
    createWorld([device(10), device(12, { numericClass: 'class-b', slips: 1 })], {
      offer: (offer) => ({ ...offer, numeric_class: 'class-b' }),
    }),
  ],
  [
    'devices of two classes made it',
    createWorld([device(10, { dies: 2 }), device(12, { numericClass: 'class-b' }), device(14)]),
  ],
])('it is not compared, and says why, where %s', async (_, world) => {
  const { verification } = await endOf(world);
  expect(verification).toMatchObject({ result: 'not_compared', why: expect.stringMatching(/./) });
});
const keyText = Buffer.from(own.identity.publicKey).toString('base64url');

test('the second is never sealed to before it is known to be another', async () => {
  const world = createWorld([own, device(12, { numericClass: 'class-b' })]);
  await endOf(world);
  expect(world.worked.map((one) => one.device)).toEqual(['dev_10']);
});

test('what a hub signs of another answer is no receipt, and the answer is none the worse', async () => {
  const honest = createWorld([device(10)]);
  expect((await endOf(honest, false)).kept).toBeDefined();
  for (const change of [{ lease: 'att_other' }, { tokens: 2 }, { commitment: new Uint8Array(32) }, { atMs: 1 }]) {
    const world = createWorld([device(10)], { receipt: (receipt) => ({ ...receipt, ...change }) });
    const end = await endOf(world, false);
    expect(end.kept).toBeUndefined();
    expect(end.finish).toBe('stop');
  }
});

test('a device that signs for another text than it told is found out', async () => {
  const world = createWorld([device(10)], {
    token: (event) => (event.t === 'answer.token' && event.i === 1 ? { ...event, s: ' never' } : event),
  });
  await expect(world.answer()).rejects.toMatchObject({ code: 'sealed_broken' });
});

test('chat says how it was verified, and gives the receipt', async () => {
  const world = createWorld([device(10), device(12)]);
  const messages = [{ role: 'user', content: 'Speak.' }] as const;
  const ends: object[] = [];
  for await (const piece of world.client.chat({ model: 'm', messages, seed: 3 }, { verify: true }))
    if ('finish' in piece) ends.push(piece.idlewild);
  expect(ends).toMatchObject([{ verification: 'verified', receipts: [expect.stringMatching(/^[\w-]{64,}$/)] }]);
});

const WORDS = Array.from({ length: 40 }, (_, i) => ` word ${i}`);
const IDS = WORDS.map((_, i) => 100 + i);
const world = (...devices: Parameters<typeof createWorld>[0]): World => createWorld(devices, { words: WORDS });
async function scored(given: World, verify: 'score' | 'again' | true = 'score'): Promise<VerifiedFinish> {
  const events = await given.answer({ verify });
  expect(textOf(events)).toBe(WORDS.join(''));
  return events.at(-1) as VerifiedFinish;
}

test('to score, the second device gets the answer as a draft that is wrong in places, and sets it right', async () => {
  for (const how of ['score', true] as const) {
    const given = world(device(10), device(12));
    const { verification, kept } = await scored(given, how);
    expect(verification).toMatchObject({ result: 'verified', device: { id: 'dev_12' } });
    expect(kept).toBeDefined();
    const [first, second] = given.worked.map(({ work }) => work);
    expect(first).not.toHaveProperty('draft');
    expect(second?.tokens).toEqual([]);
    const draft = second?.draft ?? [];
    expect(draft).toHaveLength(IDS.length);
    expect(draft.filter((id, i) => id !== IDS[i])).toHaveLength(2);
    expect({ ...second, draft: undefined, scope: '' }).toEqual({ ...first, draft: undefined, scope: '' });
  }
});

test('whoever asks for it to be made again gives no draft, and nor does a short answer', async () => {
  const given = world(device(10), device(12));
  expect((await scored(given, 'again')).verification?.result).toBe('verified');
  const short = createWorld([device(10), device(12)]);
  expect((await short.answer({ verify: 'score' })).at(-1)).toMatchObject({ verification: { result: 'verified' } });
  for (const { work } of [...given.worked, ...short.worked]) expect(work).not.toHaveProperty('draft');
});

test('a second device that repeats what it is told is found out, and the first is not blamed', async () => {
  const given = world(device(10), device(12, { nods: 40 }));
  const { verification, kept } = await scored(given);
  expect(verification).toMatchObject({
    result: 'not_compared',
    device: { id: 'dev_12' },
    why: 'the second device, dev_12, repeated what it was told instead of computing it',
  });
  expect((await openWords(kept)).verifiedBy).toBeUndefined();
});
const openWords = (kept: Uint8Array | undefined): Promise<OpenedSealedReceipt> =>
  openKeptSealed(
    readKeptSealed(kept as Uint8Array) as KeptSealed,
    { territory: community, answer: { text: WORDS.join(''), calls: [] } },
    nodeCrypto,
  );

test('a token that the first made up is found by scoring, too, and so is one of a second that lies', async () => {
  for (const [first, second] of [
    [{ slips: 17 }, {}],
    [{}, { slips: 17 }],
  ] as const) {
    const { verification } = await scored(world(device(10, first), device(12, second)));
    expect(verification).toEqual({ result: 'differs', at: 17 });
  }
});

test('a second device that makes what a decoy says, and then goes on by itself, has computed', async () => {
  const given = world(device(10), device(12, { nods: 20 }));
  const { verification } = await scored(given);
  const draft = given.worked[1]?.work.draft ?? [];
  expect(verification).toEqual({ result: 'differs', at: draft.findIndex((id, i) => id !== IDS[i]) });
});

test('where the second device is lost, a third goes on with the draft', async () => {
  const given = world(device(10), device(12, { dies: 9 }), device(14));
  expect((await scored(given)).verification).toMatchObject({ result: 'verified', device: { id: 'dev_14' } });
  const [, second, third] = given.worked.map(({ work }) => work);
  expect(third?.tokens).toEqual(IDS.slice(0, 9));
  expect(third?.draft).toEqual(second?.draft);
});

test('an answer that does not fit beside its prompt is made again', async () => {
  const given = world(device(10), device(12));
  const prompt = { kind: 'text', text: SECRET.padEnd(LIMITS.sealedPromptBytesMax - 220, 'x') } as const;
  const work = { prompt, sampling: { seed: 1 }, choice: 0, stop: [] };
  const events = await given.answer({ verify: 'score', work });
  expect(events.at(-1)).toMatchObject({ verification: { result: 'verified' } });
  expect(given.worked[1]?.work).not.toHaveProperty('draft');
});
