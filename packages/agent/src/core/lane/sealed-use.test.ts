/** Claims about rules of use on a device: a sealed prompt is held to those that its caller sealed it under. */
import {
  agreementKeySchema,
  openStatement,
  sealWork,
  type AnswerWork,
  type ToDevice,
  type UseOrder,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { exampleWork } from '../../testing/example-answer.ts';

type SealedOrder = Extract<ToDevice, { t: 'sealed' }>;
const ports = { crypto: nodeCrypto, random: createSeededRandom(78) };
const SECRET = 'how does one brew nerve gas at home';
const NONE: UseOrder = { phrases: [], classifiers: [], preambles: [] };
const arms: UseOrder = { ...NONE, phrases: [{ rule: 'arms', phrases: ['nerve gas'] }] };
const chat = (...texts: string[]): AnswerWork['prompt'] => ({
  kind: 'chat',
  messages: texts.map((content) => ({ role: 'user', content })),
});

interface World extends Fixture {
  readonly model: string;
  order(prompt: AnswerWork['prompt'], use: UseOrder | undefined, lease?: string): Promise<SealedOrder>;
  ask(order: SealedOrder): Promise<{ readonly failed: readonly object[]; readonly done: number }>;
}

async function createWorld(): Promise<World> {
  const fixture = await createFixture();
  const model = await putModel(fixture.store, 'weights');
  await fixture.startWith(model);
  const { clock, got, identity, peer } = fixture;
  return {
    ...fixture,
    model,
    async order(prompt, use, lease = 'att_1') {
      const carried = got('agreement').at(-1)?.key ?? peer().device?.proof.agreementKey;
      const opened = await openStatement('agreement-key', carried as Uint8Array, agreementKeySchema, nodeCrypto);
      const told = { key: opened.statement.key, model, lease, epoch: 1, ...(use === undefined ? {} : { use }) };
      const work = exampleWork({ prompt, tokensMax: 3 });
      const { enc, sealed } = await sealWork(work, { device: identity.publicKey, ...told }, ports);
      return { t: 'sealed', ...told, enc, sealed, deadlineMs: 60_000 };
    },
    async ask(order) {
      peer().send(order);
      await clock.advance(14_000);
      const of = <Frame extends { lease: string }>(frames: readonly Frame[]): Frame[] =>
        frames.filter(({ lease }) => lease === order.lease);
      return { failed: of(got('sealed.failed')), done: of(got('sealed.done')).length };
    },
  };
}

test('a phrase refuses by the name of its rule, and the hub hears no other word', async () => {
  const { ask, got, order } = await createWorld();
  const { failed, done } = await ask(await order({ kind: 'text', text: SECRET }, arms));
  expect(done).toBe(0);
  expect(failed).toMatchObject([{ code: 'use_refused', rule: 'arms' }]);
  expect(JSON.stringify(failed)).not.toMatch(/nerve|brew/);
  expect(got('sealed.part')).toEqual([]);
  expect(await ask(await order({ kind: 'text', text: 'laughing gas' }, arms, 'att_2'))).toEqual({
    failed: [],
    done: 1,
  });
});

test('what was sealed under other rules than came with it does not open', async () => {
  const { ask, order } = await createWorld();
  const prompt = { kind: 'text' as const, text: SECRET };
  const { use: _use, ...without } = await order(prompt, arms, 'att_1');
  expect(await ask(without)).toMatchObject({ failed: [{ code: 'sealed_unopened' }], done: 0 });
  // A hub that would learn whether some word is in it.
  const asked = {
    ...(await order(prompt, undefined, 'att_2')),
    use: { ...arms, phrases: [{ rule: 'a', phrases: ['brew'] }] },
  };
  expect(await ask(asked)).toMatchObject({ failed: [{ code: 'sealed_unopened' }], done: 0 });
});

test('a classifier of the device judges in its lane, and tells nobody of it', async () => {
  const { ask, got, model, order } = await createWorld();
  // The simulated one says a text's length for its second label, and nothing for its sixth.
  const judgedBy = (label: number): UseOrder => ({
    ...NONE,
    classifiers: [{ rule: 'rude', model, labels: [label], threshold: 0.5 }],
  });
  expect(await ask(await order(chat('fine', SECRET), judgedBy(1)))).toMatchObject({
    failed: [{ code: 'use_refused', rule: 'rude' }],
    done: 0,
  });
  expect(await ask(await order(chat('fine', SECRET), judgedBy(5), 'att_2'))).toEqual({ failed: [], done: 1 });
  expect(got('embed.done')).toEqual([]);
  expect(got('embed.failed')).toEqual([]);
});

test('a classifier that is not here or cannot read so much lets nothing pass', async () => {
  const { ask, model, order } = await createWorld();
  const by = (cid: string): UseOrder => ({
    ...NONE,
    classifiers: [{ rule: 'rude', model: cid, labels: [5], threshold: 0.5 }],
  });
  const elsewhere = await ask(await order(chat('hello'), by('bafyelsewhere')));
  expect(elsewhere).toMatchObject({ failed: [{ lease: 'att_1' }], done: 0 });
  const long = await ask(await order(chat('x'.repeat(20_000)), by(model), 'att_2'));
  expect(long).toMatchObject({ failed: [{ code: 'use_unjudged' }], done: 0 });
});

test('a cancel while a classifier judges ends both without a word', async () => {
  const { agent, clock, got, model, order, peer } = await createWorld();
  const use = { ...NONE, classifiers: [{ rule: 'rude', model, labels: [5], threshold: 0.5 }] };
  peer().send(await order(chat('x'.repeat(6_000)), use));
  await clock.advance(50);
  expect(agent.state()).toMatchObject({ answering: 1 });
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  await clock.advance(50);
  expect(agent.state()).toMatchObject({ answering: 0 });
  await clock.advance(20_000);
  expect([...got('sealed.failed'), ...got('sealed.part')]).toEqual([]);
});

test('a conversation begins as its profile says, and a completion is refused', async () => {
  const { ask, got, order } = await createWorld();
  const use = { ...NONE, preambles: ['You speak with a child. Be kind and brief.'] };
  const counted = async (given: UseOrder | undefined, lease: string): Promise<number> => {
    expect(await ask(await order(chat('hello'), given, lease))).toEqual({ failed: [], done: 1 });
    return got('sealed.part').find((part) => part.lease === lease && part.n === 0)?.promptTokens ?? 0;
  };
  expect(await counted(use, 'att_1')).toBeGreaterThan(await counted(undefined, 'att_2'));
  const { failed } = await ask(await order({ kind: 'text', text: 'hello' }, use, 'att_3'));
  expect(failed).toMatchObject([{ code: 'use_refused' }]);
  expect(failed[0]).not.toHaveProperty('rule');
});
