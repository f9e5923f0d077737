/**
 * A hub that lies: it proved itself and then asks for everything that the lender refused, as if it were allowed. Each
 * thing is refused on the device, and a witness between the agent and its engine shows that nothing came through.
 */
import { expect, test } from 'vitest';
import {
  createMemoryBlobStore,
  decodeManifest,
  equalBytes,
  utf8,
  sourceOfStore,
  type BlobStore,
  type Consent,
  type ToDevice,
  type ToHub,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { EngineHost } from '@idlewild/engine';
import { CID } from 'multiformats/cid';
import { createFixture, putModel, type Fixture } from '../node/testing/fixture.ts';
import { parseHours, type LocalTime } from './lending/terms/hours.ts';
import { exampleAnswer } from '../testing/example-answer.ts';

type Order = Extract<ToDevice, { t: 'answer' | 'embed' }>;
const NOON: LocalTime = { weekday: 2, minute: 720 };
const MIDNIGHT: LocalTime = { weekday: 2, minute: 0 };

/** What came to the engines: models that were loaded, and orders. */
interface Witness {
  readonly loaded: string[];
  readonly ordered: string[];
}

function witnessed(host: EngineHost, { loaded, ordered }: Witness): EngineHost {
  return {
    async load(model, limits, signal) {
      loaded.push(model.cid);
      const engine = await host.load(model, limits, signal);
      const { answer, embed } = engine;
      return {
        ...engine,
        answer(work, listen) {
          ordered.push('answer');
          return answer(work, listen);
        },
        embed(work, signal) {
          ordered.push('embed');
          return embed?.(work, signal) ?? Promise.reject(new Error('no vectors'));
        },
      };
    },
  };
}

interface Stage extends Fixture {
  readonly witness: Witness;
  readonly model: string;
  /** The local time from now on. */
  setTime(time: LocalTime): void;
  hold(model: string, bytes?: number): Promise<void>;
  /** Sends it, lets time pass, and returns the codes with which the device refused. */
  order(message: Order): Promise<(string | undefined)[]>;
}

/** A device that has its model warm where its lender allows that. */
async function onStage(consents: Partial<Consent>, options: Parameters<typeof createFixture>[0] = {}): Promise<Stage> {
  const witness: Witness = { loaded: [], ordered: [] };
  let time = MIDNIGHT;
  const store = options.store ?? createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const model = await putModel(store, 'weights');
  const fixture = await createFixture({
    consents,
    store,
    wrapHost: (host) => witnessed(host, witness),
    localTime: () => time,
    ...options,
  });
  await fixture.startWith(model);
  return {
    ...fixture,
    witness,
    model,
    setTime(next) {
      time = next;
    },
    async hold(cid, bytes = 1) {
      fixture
        .peer()
        .send({ t: 'hold', models: [model, cid].map((one) => ({ cid: one, name: 'one', bytes })), sources: ['/'] });
      await fixture.clock.advance(60_000);
    },
    async order(message) {
      fixture.peer().send(message);
      await fixture.clock.advance(5_000);
      return [...fixture.got('answer.failed'), ...fixture.got('embed.failed')]
        .filter(({ lease }) => lease === message.lease)
        .map(({ code }) => code);
    },
  };
}

const embed = (model: string, change: Partial<Extract<Order, { t: 'embed' }>> = {}): Order => ({
  t: 'embed',
  lease: 'att_2',
  epoch: 1,
  model,
  deadlineMs: 10_000,
  work: { kind: 'embed', inputs: ['Once upon a time'] },
  ...change,
});
type Said = Pick<Order, 'dataClass' | 'cause'>;

test.each<[string, Partial<Consent>, Said]>([
  ['another kind of work', { kinds: ['storage', 'jobs'] }, {}],
  ['another territory', { territories: [new Uint8Array(32).fill(9)] }, {}],
  ['no territory', { territories: [] }, {}],
  ['a class that it may not see', {}, { dataClass: 'confidential' }],
  ['a class left out, where it may see what is public alone', { classes: ['public'] }, {}],
  ['a cause that is refused', { refused: ['gambling'] }, { cause: 'gambling' }],
  ['a cause that is not among the chosen', { causes: ['climate'] }, { cause: 'gambling' }],
  ['a cause left out, where some are chosen', { causes: ['climate'] }, {}],
])('asked for %s, a device refuses, and its engine hears nothing', async (_, consents, said) => {
  const { order, model, witness } = await onStage(consents);
  expect(await order(exampleAnswer(model, said))).toEqual(['consent_refused']);
  expect(await order(embed(model, said))).toEqual(['consent_refused']);
  expect(await order(exampleAnswer(model, { ...said, epoch: 2 }))).toEqual(['consent_refused', 'consent_refused']);
  expect(witness.ordered).toEqual([]);
});

test('the same orders run where the lender consents to them: what refuses is the consent', async () => {
  const classes: Consent['classes'] = ['public', 'internal', 'confidential'];
  const { order, model, witness } = await onStage({
    classes,
    causes: ['climate', 'gambling'],
    hours: parseHours('daily'),
  });
  expect(await order(exampleAnswer(model, { dataClass: 'confidential', cause: 'gambling' }))).toEqual([]);
  expect(await order(embed(model, { cause: 'climate' }))).toEqual([]);
  expect(witness.ordered).toEqual(['answer', 'embed']);
});

test.each<[string, Partial<Consent>]>([
  ['answers', { kinds: ['jobs'] }],
  ['this territory', { territories: [] }],
])('where nothing is lent for %s no model is kept, fetched or loaded', async (_, consents) => {
  const asked: string[] = [];
  const sources = () => ({
    name: 'hub',
    async fetch(cid: CID) {
      asked.push(cid.toString());
      return undefined;
    },
  });
  const { agent, hold, model, witness } = await onStage(consents, { sources });
  await hold(model.replace(/.$/, 'q'));
  expect(agent.state().models).toEqual([]);
  expect(witness.loaded).toEqual([]);
  expect(asked).toEqual([]);
});

test('outside its hours a device runs, fetches and gives nothing, and keeps what it has', async () => {
  const far = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const other = await putModel(far, 'other weights');
  const sources = () => sourceOfStore('hub', far);
  const stage = await onStage({ hours: parseHours('daily 22:00-07:00') }, { sources });
  const { agent, order, model, setTime, hold, witness, store } = stage;
  expect(await order(exampleAnswer(model))).toEqual([]);
  setTime(NOON);
  expect(await order(exampleAnswer(model, { epoch: 2 }))).toEqual(['consent_refused']);
  expect(await order(embed(model))).toEqual(['consent_refused']);
  expect(await want(stage)).not.toHaveProperty('bytes');
  await hold(other);
  expect(agent.state().models.map(({ state }) => state)).toEqual(['warm', 'fetching']);
  expect(await store.get(CID.parse(other))).toBeUndefined();
  setTime(MIDNIGHT);
  expect(await order(embed(model, { epoch: 2 }))).toEqual(['consent_refused']);
  await hold(other);
  expect(agent.state().models.map(({ state }) => state)).toEqual(['warm', 'warm']);
  expect(witness.ordered).toEqual(['answer', 'embed']);
});

test('a device that cannot tell the time works for no lender who named hours', async () => {
  const { order, model, witness } = await onStage({ hours: parseHours('daily') }, { localTime: undefined });
  expect(await order(exampleAnswer(model))).toEqual(['consent_refused']);
  expect(witness).toEqual({ loaded: [], ordered: [] });
});

test('an answer that runs on is not resumed into hours that the lender did not give', async () => {
  const stage = await onStage({ hours: parseHours('daily 22:00-07:00') });
  const { agent, clock, engineHost, hub, got, model, peer, setTime } = stage;
  hub.behave({ resumes: true });
  peer().link?.cut('a test');
  await clock.advance(4_000);
  peer().send(exampleAnswer(model, { keep: true }));
  await clock.advance(20);
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  setTime(NOON);
  peer().send({ t: 'answer.resume', lease: 'att_1', epoch: 1, from: 0 });
  await clock.advance(20);
  expect(got('answer.failed').map(({ code }) => code)).toEqual(['consent_refused']);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
  expect(agent.state().answering).toBe(0);
});

test('a lease that it never had is not resumed, however often it is claimed', async () => {
  const { clock, got, peer, witness } = await onStage({});
  for (const epoch of [1, 2, 3]) peer().send({ t: 'answer.resume', lease: 'att_9', epoch, from: 7 });
  await clock.advance(1_000);
  expect(got('answer.failed').map(({ code }) => code)).toEqual(['lease_unknown', 'lease_unknown', 'lease_unknown']);
  expect(witness.ordered).toEqual([]);
});

test('paused, it takes, loads and gives nothing, and what ran has ended', async () => {
  const stage = await onStage({});
  const { agent, clock, got, hold, model, order, peer, store, witness } = stage;
  const other = await putModel(store, 'other weights');
  peer().send(exampleAnswer(model));
  await clock.advance(50);
  agent.pause('lender', 'its lender paused it');
  await clock.advance(50);
  expect(got('answer.failed').map(({ code }) => code)).toEqual(['device_paused']);
  peer().send({ t: 'answer.resume', lease: 'att_1', epoch: 1, from: 0 });
  expect(await order(exampleAnswer(model, { epoch: 2 }))).toEqual(['device_paused', 'lease_unknown', 'device_paused']);
  expect(await order(embed(model))).toEqual(['device_paused']);
  await hold(other);
  expect(await want(stage)).not.toHaveProperty('bytes');
  expect(witness).toEqual({ loaded: [model], ordered: ['answer'] });
});

test.each([
  ['says what it takes', 5_000],
  ['says that it is small', 1],
])('a model over the disk that is lent is not fetched when the hub %s', async (_, claimed) => {
  const far = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const large = await putModel(far, 'x'.repeat(5_000));
  const file = decodeManifest((await far.get(CID.parse(large))) as Uint8Array).files[0]?.file as CID;
  const asked: string[] = [];
  const sources = () => ({
    name: 'hub',
    async fetch(cid: CID) {
      asked.push(cid.toString());
      return far.get(cid);
    },
  });
  const store: BlobStore = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 4_000 });
  const { agent, hold, witness } = await onStage({ diskBytesMax: 4_000 }, { sources, store });
  await hold(large, claimed);
  expect(agent.state().models[1]).toMatchObject({
    state: 'failed',
    reason: expect.stringContaining('lends 4000 bytes of disk') as string,
  });
  expect(asked).not.toContain(file.toString());
  expect((await store.usage()).bytes).toBeLessThanOrEqual(4_000);
  expect(witness.loaded).not.toContain(large);
});

/** The device's reply when its model's one leaf is wanted for another device. */
async function want({
  clock,
  got,
  model,
  peer,
  store,
}: Stage): Promise<Extract<ToHub, { t: 'blob.have' }> | undefined> {
  const manifest = decodeManifest((await store.get(CID.parse(model))) as Uint8Array);
  const cid = manifest.files[0]?.file.toString() ?? '';
  peer().send({ t: 'blob.want', id: got('blob.have').length, cid, offset: 0, length: 1_000 });
  await clock.advance(1_000);
  return got('blob.have').at(-1);
}

test('a device that lends no upload gives nothing, and one that does gives the same leaf', async () => {
  const free = await want(await onStage({}));
  expect(equalBytes(free?.bytes ?? new Uint8Array(), utf8('weights'))).toBe(true);
  const stage = await onStage({ uploadBytesPerSecondMax: 0 });
  expect(stage.peer().device?.proof.profile.features).not.toContain('relay');
  for (let times = 0; times < 3; times++) expect(await want(stage)).not.toHaveProperty('bytes');
});
