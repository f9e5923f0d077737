/** Claims about requests for vectors, with a whole hub on a fake clock and scripted devices. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EmbedWork, ToDevice } from '@idlewild/protocol';
import type { FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import type { Hub } from '../hub.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Permit } from '../policy/permit.ts';
import { EVERYWHERE, type Reach } from '../policy/reach.ts';
import { openClockedHub } from '../testing/clocked-hub.ts';
import { warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { publishTestModel } from '../testing/test-model.ts';
import type { EmbedOutcome } from './port.ts';
import { PLAIN_TEXT } from '../testing/texts.ts';

type Order = Extract<ToDevice, { t: 'embed' }>;

interface World {
  readonly clock: FakeClock;
  readonly hub: Hub;
  readonly ended: string[];
  readonly keyId: string;
  join(name: string, features?: readonly 'embed'[]): Promise<ScriptedDevice>;
  submit(inputs: readonly string[], signal?: AbortSignal, reach?: Permit['reach']): Promise<EmbedOutcome>;
}

async function createWorld(): Promise<World> {
  const { clock, hub, store, ended, join, key } = await openClockedHub(() => nextTurn());
  const territory = hub.territory.id;
  const cid = await publishTestModel(hub, store, 'minilm', { kind: 'encoder', dimensions: 2 });
  const asker = await hub.keys.authenticate(key.key);
  const permit = await hub.policy.permit(asker, 'answer', { territory, id: cid });
  return {
    clock,
    hub,
    ended,
    keyId: key.id,
    join: (name, features = ['embed']) => join({ name, features, status: { models: [warmModel(cid)], slots: 3 } }),
    submit: (inputs, signal = new AbortController().signal, reach = permit.reach) =>
      hub.embeddings.submit(
        {
          territory,
          key: key.id,
          model: { cid, name: 'minilm', dimensions: 2 },
          kind: 'embed',
          inputs,
          text: PLAIN_TEXT,
          permit: { ...permit, reach },
        },
        signal,
      ),
  };
}

const vectorOf = (text: string): Uint8Array =>
  new Uint8Array(Float32Array.of(text.length, text.charCodeAt(text.length - 1)).buffer);
const doneWith = ({ inputs }: EmbedWork) => ({
  vectors: inputs.map(vectorOf),
  tokens: inputs.map((text) => text.length),
});
const done = (device: ScriptedDevice, { lease, epoch, work }: Order): void =>
  device.send({ t: 'embed.done', lease, epoch, ...doneWith(work) });
/** Orders that came, oldest first. */
const orders = (device: ScriptedDevice): Order[] => device.heard.filter((message) => message.t === 'embed');
/** Also what came before. */
function serve(device: ScriptedDevice): void {
  device.onMessage = (message) => void (message.t === 'embed' && done(device, message));
  for (const order of orders(device)) done(device, order);
}

const TEXTS = Array.from({ length: 300 }, (_, i) => `text number ${i}`);
const expectAll = (outcome: EmbedOutcome, texts = TEXTS): void => {
  expect(outcome.vectors).toEqual(texts.map(vectorOf));
  expect(outcome.promptTokens).toBe(texts.join('').length);
};

test('a request is shared by several devices, its vectors come in order, and what was used is written', async () => {
  const { clock, hub, join, submit, ended, keyId } = await createWorld();
  const [ada, bea] = [await join('ada'), await join('bea')];
  serve(ada);
  serve(bea);
  const asked = submit(TEXTS);
  await clock.advance(500);
  const outcome = await asked;
  expectAll(outcome);
  expect(outcome).toMatchObject({ devices: ['ada', 'bea'], failovers: 0 });
  expect(Math.min(orders(ada).length, orders(bea).length)).toBeGreaterThan(2);
  expect(ended).toEqual(['done none']);
  await clock.advance(100);
  const rows = await hub.db.selectFrom('requests').selectAll().execute();
  expect(rows).toMatchObject([
    { key_id: keyId, state: 'done', prompt_tokens: outcome.promptTokens, answer_tokens: 0, failovers: 0 },
  ]);
  expect(await hub.db.selectFrom('journal').selectAll().execute()).toEqual([]);
  expect(await hub.db.selectFrom('usage').selectAll().execute()).toMatchObject([
    { prompt_tokens: outcome.promptTokens },
  ]);
  expect(hub.embeddings.counts()).toEqual({ open: 0 });
});

test('parts of a device that dies, fails or answers nonsense go to another, and the vectors are the same', async () => {
  const { clock, join, submit } = await createWorld();
  const [ada, bea] = [await join('ada'), await join('bea')];
  ada.onMessage = (message) => {
    if (message.t !== 'embed') return;
    const { lease, epoch, work } = message;
    const nth = orders(ada).length;
    if (nth === 1) ada.send({ t: 'embed.failed', lease, epoch, code: 'engine_failed', message: 'killed' });
    if (nth === 2) ada.send({ t: 'embed.done', lease, epoch, vectors: [new Uint8Array(8)], tokens: [1] });
    if (nth === 3) ada.send({ t: 'embed.done', lease, epoch: epoch + 1, ...doneWith(work) });
    // The third is never answered under its own epoch.
    ada.setStatus({});
  };
  const asked = submit(TEXTS);
  await clock.advance(50);
  serve(bea);
  await clock.advance(HUB_LIMITS.embedStallMsMin / 2);
  ada.link.cut('the plug was pulled');
  await clock.advance(1_000);
  const outcome = await asked;
  expectAll(outcome);
  expect(outcome.failovers).toBeGreaterThanOrEqual(3);
  expect(outcome.devices.toSorted()).toEqual(['ada', 'bea']);
});

test('a device that says nothing loses the part after a while, and comes last from then on', async () => {
  const { clock, join, submit } = await createWorld();
  const ada = await join('ada');
  const asked = submit(['one']);
  await clock.advance(HUB_LIMITS.embedStallMsMin - 200);
  const bea = await join('bea');
  serve(bea);
  await clock.advance(400);
  expectAll(await asked, ['one']);
  expect(ada.heard.filter(({ t }) => t === 'cancel')).toHaveLength(1);
  const again = submit(['two']);
  await clock.advance(200);
  expect((await again).devices).toEqual(['bea']);
});

test('what a text is refused for ends the request, with the number of the text in it', async () => {
  const { clock, join, submit, ended } = await createWorld();
  const ada = await join('ada');
  ada.onMessage = (message) => {
    if (message.t !== 'embed') return;
    const { lease, epoch, work } = message;
    if (!work.inputs.includes('text number 40')) return done(ada, message);
    const input = work.inputs.indexOf('text number 40');
    ada.send({ t: 'embed.failed', lease, epoch, code: 'context_length_exceeded', message: 'too long', input });
  };
  const asked = submit(TEXTS).catch((error: unknown) => error);
  await clock.advance(200);
  expect(await asked).toMatchObject({ code: 'context_length_exceeded', message: 'input 40: too long' });
  expect(ended).toEqual(['failed context_length_exceeded']);
});

test('an engine that every attempt kills is given up', async () => {
  const { clock, join, submit } = await createWorld();
  const ada = await join('ada');
  ada.onMessage = (message) => {
    if (message.t !== 'embed') return;
    const { lease, epoch } = message;
    ada.send({ t: 'embed.failed', lease, epoch, code: 'engine_failed', message: 'killed' });
    ada.setStatus({});
  };
  const asked = submit(['poison']).catch((error: unknown) => error);
  await clock.advance(3_000);
  expect(await asked).toMatchObject({ code: 'attempts_exhausted' });
  expect(orders(ada)).toHaveLength(HUB_LIMITS.embedAttemptsMax);
});

test('without a device a request is refused at once; one that loses its only device waits a while', async () => {
  const { clock, join, submit } = await createWorld();
  await expect(submit(['a'])).rejects.toMatchObject({ code: 'no_device' });
  const old = await join('old', []);
  await expect(submit(['a'])).rejects.toMatchObject({ message: expect.stringContaining('vectors of texts') as string });
  old.link.cut('gone');
  const ada = await join('ada');
  const asked = submit(['a']).catch((error: unknown) => error);
  await clock.advance(10);
  ada.link.cut('gone');
  await clock.advance(HUB_LIMITS.failoverWaitMsMax - 1_000);
  const bea = await join('bea');
  serve(bea);
  await clock.advance(200);
  expectAll((await asked) as EmbedOutcome, ['a']);
  bea.onMessage = () => bea.link.cut('gone');
  const lost = submit(['b']).catch((error: unknown) => error);
  await clock.advance(HUB_LIMITS.failoverWaitMsMax + 1_000);
  expect(await lost).toMatchObject({ code: 'no_device' });
});

test('a caller that hangs up frees the device, and a revoked key gets nothing more', async () => {
  const { clock, hub, join, submit, ended, keyId } = await createWorld();
  const ada = await join('ada');
  const abort = new AbortController();
  const asked = submit(TEXTS, abort.signal).catch((error: unknown) => error);
  await clock.advance(10);
  abort.abort();
  expect(await asked).toMatchObject({ code: 'cancelled' });
  await clock.advance(10);
  expect(ada.heard.filter(({ t }) => t === 'cancel')).toHaveLength(orders(ada).length);
  expect([...hub.sessions.list()][0]?.leases.size).toBe(0);
  const revoked = submit(TEXTS).catch((error: unknown) => error);
  await hub.keys.revoke({ territory: hub.territory.id, id: keyId, actor: 'test' });
  await clock.advance(1_000);
  expect(await revoked).toMatchObject({ code: 'unauthenticated' });
  expect(ended).toEqual(['cancelled cancelled', 'failed unauthenticated']);
});

test('two requests take turns, so that a small one does not wait for the whole of a large one', async () => {
  const { clock, join, submit } = await createWorld();
  const ada = await join('ada');
  const served: string[] = [];
  ada.onMessage = (message) => {
    if (message.t !== 'embed') return;
    served.push(message.work.inputs[0] as string);
    clock.after(100, () => done(ada, message));
  };
  const large = submit(TEXTS);
  const small = submit(['small']);
  await clock.advance(5_000);
  await Promise.all([large, small]);
  expect(served.indexOf('small')).toBeLessThan(4);
});

test('parts go to devices that its asker’s rights are for, and move when these become others', async () => {
  const { clock, hub, join, submit } = await createWorld();
  const [ada, bea, eve] = [await join('ada'), await join('bea'), await join('eve')];
  const territory = hub.territory.id;
  for (const [name, pool] of [
    ['ada', 'lab'],
    ['bea', 'attic'],
  ] as const) {
    const device = (await hub.devices.list(territory)).find((each) => each.name === name);
    await hub.deviceTrust.addToPool({ territory, id: device?.id ?? '', pool, actor: 'hub' });
  }
  let [pool] = ['lab'];
  const reach = (): Reach => ({
    ...EVERYWHERE,
    key: pool,
    pools: () => [pool],
    includes: (pools) => pools.includes(pool),
  });
  const asked = submit(TEXTS, undefined, reach);
  await clock.advance(HUB_LIMITS.sweepMs);
  expect([orders(ada).length > 0, orders(bea), orders(eve)]).toEqual([true, [], []]);
  pool = 'attic';
  serve(bea);
  for (let i = 0; i < 10; i++) await clock.advance(HUB_LIMITS.sweepMs);
  expectAll(await asked);
  expect(orders(eve)).toEqual([]);
  expect(ada.heard.filter(({ t }) => t === 'cancel')).toHaveLength(orders(ada).length);
});
