/** Claims about sealed prompts on a device: opened for nobody else, answered as any, and told sealed. */
import {
  LIMITS,
  agreementKeySchema,
  commitmentOf,
  digestAnswer,
  encodeFrame,
  hex,
  openStatement,
  receiptSchema,
  sealWork,
  type AnswerOpener,
  type AnswerWork,
  type InnerEvent,
  type SealedTerms,
  type ToDevice,
  type ToHub,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { exampleAnswer, exampleWork } from '../../testing/example-answer.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { createSealedOrders } from './sealed-orders.ts';

type SealedOrder = Extract<ToDevice, { t: 'sealed' }>;
const ports = { crypto: nodeCrypto, random: createSeededRandom(77) };
const SECRET = 'the king dines on herring tonight';

interface World extends Fixture {
  readonly model: string;
  keyNow(): Promise<Uint8Array>;
  seal(work?: Partial<AnswerWork>, terms?: Partial<SealedTerms>): Promise<{ order: SealedOrder; answer: AnswerOpener }>;
  /** What the caller reads of what the device sent for a lease. */
  read(answer: AnswerOpener, lease?: string): Promise<InnerEvent[]>;
}

async function createWorld(...options: Parameters<typeof createFixture>): Promise<World> {
  const fixture = await createFixture(...options);
  const model = await putModel(fixture.store, 'weights');
  await fixture.startWith(model);
  const keyNow = async (): Promise<Uint8Array> => {
    const carried = fixture.got('agreement').at(-1)?.key ?? fixture.peer().device?.proof.agreementKey;
    const opened = await openStatement('agreement-key', carried as Uint8Array, agreementKeySchema, nodeCrypto);
    return opened.statement.key;
  };
  return {
    ...fixture,
    model,
    keyNow,
    async seal(work = {}, change = {}) {
      const device = fixture.identity.publicKey;
      const terms = { device, key: await keyNow(), model, lease: 'att_1', epoch: 1, ...change };
      const whole = exampleWork({ prompt: { kind: 'text', text: SECRET }, tokensMax: 5, ...work });
      const { enc, sealed, answer } = await sealWork(whole, terms, ports);
      const { device: _device, ...told } = terms;
      return { order: { t: 'sealed', ...told, enc, sealed, deadlineMs: 60_000 }, answer };
    },
    async read(answer, lease = 'att_1') {
      const frames = [...fixture.got('sealed.part'), ...fixture.got('sealed.done'), ...fixture.got('sealed.failed')];
      const events: InnerEvent[] = [];
      for (const frame of frames.filter((one) => one.lease === lease))
        if (frame.sealed !== undefined && frame.n !== undefined) events.push(await answer.open(frame.n, frame.sealed));
      return events;
    },
  };
}

const textOf = (events: readonly (InnerEvent | ToHub)[]): string =>
  events.map((event) => ('s' in event ? event.s : '')).join('');

test('a sealed prompt is answered as the same prompt unsealed, and only its caller reads the answer', async () => {
  const { clock, got, identity, model, peer, read, seal } = await createWorld();
  const { order, answer } = await seal();
  peer().send(order);
  await clock.advance(2_000);
  const events = await read(answer);
  peer().send(
    exampleAnswer(model, {
      lease: 'att_2',
      work: exampleWork({ prompt: { kind: 'text', text: SECRET }, tokensMax: 5 }),
    }),
  );
  await clock.advance(2_000);
  expect(textOf(events)).toBe(textOf([...got('answer.token'), ...got('answer.finished')]));
  expect(textOf(events)).not.toBe('');
  expect(answer.isWhole()).toBe(true);
  const done = got('sealed.done')[0];
  expect(done).toMatchObject({ lease: 'att_1', epoch: 1, tokens: 5, n: 6 });
  expect(got('sealed.part').map(({ tokens }) => tokens)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(got('sealed.part')[0]).toMatchObject({ promptTokens: got('answer.started')[0]?.promptTokens });
  const end = events.at(-1) as Extract<InnerEvent, { t: 'answer.finished' }>;
  const { statement } = await openStatement('receipt', end.receipt, receiptSchema, nodeCrypto, identity.publicKey);
  expect(statement).toMatchObject({ lease: 'att_1', epoch: 1, tokens: 5 });
});

test('its receipt is of the whole text, also of earlier devices, and its hub gets a commitment alone', async () => {
  const { clock, got, identity, peer, read, seal } = await createWorld();
  const digests: string[] = [];
  let tokens: number[] = [];
  for (const lease of ['att_1', 'att_2']) {
    const { order, answer } = await seal({ tokens: tokens.slice(0, 3) }, { lease });
    peer().send(order);
    await clock.advance(2_000);
    const events = await read(answer, lease);
    tokens = events.flatMap((event) => (event.t === 'answer.token' ? [event.id] : []));
    const { receipt } = events.at(-1) as Extract<InnerEvent, { t: 'answer.finished' }>;
    const { statement } = await openStatement('receipt', receipt, receiptSchema, nodeCrypto, identity.publicKey);
    const { digest, salt, ...rest } = statement.sealed as NonNullable<typeof statement.sealed>;
    expect(rest).toEqual({ seed: exampleWork().sampling.seed, finish: 'length' });
    const { commitment } = got('sealed.done').at(-1) ?? {};
    expect(commitment).toEqual(await commitmentOf(salt, digest, nodeCrypto));
    digests.push(hex(digest));
    if (lease === 'att_1') expect(digest).toEqual(await digestAnswer({ text: textOf(events), calls: [] }, nodeCrypto));
    expect(Buffer.concat(got('sealed.done').map((frame) => encodeFrame(frame))).includes(Buffer.from(digest))).toBe(
      false,
    );
  }
  expect(tokens).toHaveLength(2);
  expect(digests[1]).toBe(digests[0]);
});

test('nothing that the device sends or logs has a piece of the prompt or the answer', async () => {
  const { clock, got, logged, peer, read, seal } = await createWorld();
  const { order, answer } = await seal();
  peer().send(order);
  await clock.advance(2_000);
  const frames = [...got('sealed.part'), ...got('sealed.done')].map((frame) => encodeFrame(frame));
  const sent = Buffer.concat(frames).toString('latin1') + logged.join('\n');
  const text = textOf(await read(answer));
  for (const secret of [SECRET, text])
    for (let at = 0; at + 8 <= secret.length; at++) expect(sent).not.toContain(secret.slice(at, at + 8));
  expect(new Set(frames.slice(1, -1).map(({ length }) => length)).size).toBe(1);
});

test('what was sealed to another key, under other terms, or to a key that ended, is refused by a code', async () => {
  const { clock, got, keyNow, peer, seal } = await createWorld();
  const other = await nodeCrypto.agreementKey(new Uint8Array(32).fill(5));
  const orders = [
    (await seal({}, { key: other.publicKey, lease: 'att_1' })).order,
    { ...(await seal({}, { lease: 'att_2', dataClass: 'internal' })).order, dataClass: 'public' as const },
    { ...(await seal({}, { lease: 'att_3' })).order, lease: 'att_4' },
    { ...(await seal({}, { lease: 'att_5' })).order, epoch: 2 },
  ];
  const old = await keyNow();
  for (const order of orders) peer().send(order);
  await clock.advance(50);
  expect(got('sealed.failed').map(({ lease, code }) => `${lease} ${code}`)).toEqual([
    'att_1 sealed_unopened',
    'att_2 sealed_unopened',
    'att_4 sealed_unopened',
    'att_5 sealed_unopened',
  ]);
  await clock.advance(LIMITS.agreementKeyMs - AGENT_LIMITS.agreementLeadMs + 1_000);
  expect(await keyNow()).not.toEqual(old);
  peer().send((await seal({}, { key: old, lease: 'att_6' })).order);
  await clock.advance(2_000);
  expect(got('sealed.done')).toMatchObject([{ lease: 'att_6' }]);
  await clock.advance(AGENT_LIMITS.agreementLeadMs);
  peer().send((await seal({}, { key: old, lease: 'att_7' })).order);
  await clock.advance(2_000);
  expect(got('sealed.failed').at(-1)).toMatchObject({ lease: 'att_7', code: 'sealed_unopened' });
});

test('the guard, the slots and the halts are those of any answer', async () => {
  const { agent, clock, got, peer, read, seal } = await createWorld({ consents: { classes: ['public', 'internal'] } });
  peer().send((await seal({}, { dataClass: 'confidential' })).order);
  await clock.advance(50);
  expect(got('sealed.failed')).toMatchObject([{ lease: 'att_1', code: 'consent_refused' }]);
  const running = await seal({ tokensMax: 500 }, { lease: 'att_2' });
  peer().send(running.order);
  peer().send((await seal({ tokensMax: 500 }, { lease: 'att_3' })).order);
  peer().send((await seal({ tokensMax: 500 }, { lease: 'att_4' })).order);
  await clock.advance(500);
  expect(got('sealed.failed').slice(1)).toMatchObject([{ lease: 'att_4', code: 'device_full' }]);
  expect(agent.state()).toMatchObject({ answering: 2 });
  agent.pause('supper', 'Ada is at supper with Byron', 'its lender paused it');
  await clock.advance(50);
  expect(got('sealed.failed').slice(2)).toMatchObject([
    { lease: 'att_2', code: 'device_paused' },
    { lease: 'att_3', code: 'device_paused' },
  ]);
  const last = (await read(running.answer, 'att_2')).at(-1);
  expect(last).toMatchObject({ t: 'answer.failed', code: 'device_paused' });
});

test('a failure tells the hub its code alone, and the caller what it is', async () => {
  const { clock, got, peer, read, seal } = await createWorld();
  const { order, answer } = await seal({ prompt: { kind: 'text', text: SECRET.repeat(1_000) } });
  peer().send(order);
  await clock.advance(20_000);
  const [failed] = got('sealed.failed');
  expect(failed).toMatchObject({ code: 'context_length_exceeded' });
  const [told] = (await read(answer)).slice(-1) as [Extract<InnerEvent, { t: 'answer.failed' }>];
  expect(told.message).not.toBe(failed?.message);
  expect(told.code).toBe('context_length_exceeded');
});

test('a cancel, and the loss of the channel, end what was sealed without a word', async () => {
  const { agent, clock, got, peer, seal } = await createWorld();
  peer().send((await seal({ tokensMax: 500 })).order);
  await clock.advance(200);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  // This one may not even be open yet.
  peer().send((await seal({ tokensMax: 500 }, { lease: 'att_2' })).order);
  peer().send({ t: 'cancel', lease: 'att_2', epoch: 1 });
  await clock.advance(200);
  expect(agent.state()).toMatchObject({ answering: 0 });
  expect(got('sealed.failed')).toEqual([]);
  peer().send((await seal({ tokensMax: 500 }, { lease: 'att_3' })).order);
  await clock.advance(200);
  expect(agent.state()).toMatchObject({ answering: 1 });
  peer().link?.cut('the plug was pulled');
  await clock.advance(200);
  expect(agent.state()).toMatchObject({ answering: 0 });
});

test('an order that comes twice is answered once', async () => {
  const { clock, got, peer, seal } = await createWorld();
  const { order } = await seal();
  peer().send(order);
  peer().send(order);
  await clock.advance(2_000);
  peer().send(order);
  await clock.advance(2_000);
  expect(got('sealed.done')).toHaveLength(1);
});

test('who seals a prompt under a scope of the open finds nothing that was read under that', async () => {
  const { privateKey, publicKey } = await nodeCrypto.agreementKey(new Uint8Array(32).fill(8));
  const device = new Uint8Array(32).fill(1);
  const offered: (string | undefined)[] = [];
  const orders = createSealedOrders({
    ...ports,
    device,
    privateKeyOf: () => privateKey,
    refusal: () => undefined,
    offer: (message) => void (message.t === 'answer' && offered.push(message.work.scope)),
    drop: () => {},
    send: () => {},
  });
  for (const [index, scope] of ['scope-of-the-open', undefined].entries()) {
    const terms = { device, key: publicKey, model: 'bafy', lease: `att_${index}`, epoch: 1 };
    const { scope: _scope, ...work } = exampleWork();
    const { enc, sealed } = await sealWork({ ...work, ...(scope === undefined ? {} : { scope }) }, terms, ports);
    const { device: _device, ...told } = terms;
    orders.offer({ t: 'sealed', ...told, enc, sealed, deadlineMs: 60_000 });
    await expect.poll(() => offered.length).toBe(index + 1);
  }
  expect(offered).toEqual(['sealed scope-of-the-open', undefined]);
});
