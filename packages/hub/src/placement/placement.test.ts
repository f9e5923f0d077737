/** Claims about what devices are told to hold, with a whole hub, scripted devices and a virtual clock. */
import {
  codeOf,
  createMemoryBlobStore,
  joinTokenOf,
  type AnswerWork,
  type DeviceModel,
  type Lent,
  type ToDevice,
  type WantedModel,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { publishTestModel } from '../testing/test-model.ts';
import { OWN_LEAVE } from '../policy/permit.ts';
import { PLAIN_TEXT } from '../testing/texts.ts';

interface Setting {
  readonly hub: Hub;
  readonly clock: FakeClock;
  readonly cids: Readonly<Record<string, string>>;
  join(over?: { lent?: Lent; key?: ScriptedDevice['key']; models?: DeviceModel[] }): Promise<ScriptedDevice>;
  pin(name: string, pinned: boolean): Promise<void>;
  /** The code that a request is refused with, or `accepted`. */
  ask(name: string): Promise<string>;
}

async function setUp(...names: readonly string[]): Promise<Setting> {
  const clock = createFakeClock(yieldToNode);
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const hub = await createHub({
    database,
    clock,
    random,
    store,
    crypto: nodeCrypto,
    secrets: createMemorySecrets(),
    meter: { ended: () => {}, firstToken: () => {} },
    log: silentLog,
  });
  onTestFinished(async () => {
    await hub.stop();
    await database.close();
  });
  const cids: Record<string, string> = {};
  for (const name of names) cids[name] = await publishTestModel(hub, store, name);
  await hub.announceModels();
  const territory = hub.territory.id;
  return {
    hub,
    clock,
    cids,
    async join({ lent, key, models = [] } = {}) {
      const invite = await hub.invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
      const device = await joinScriptedDevice({
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        clock,
        random,
        crypto: nodeCrypto,
        joinToken: joinTokenOf(invite.secret),
        status: { models, ...(lent === undefined ? {} : { lent }) },
        ...(key === undefined ? {} : { key }),
      });
      await clock.advance(HUB_LIMITS.placementGapMs * 2);
      return device;
    },
    async pin(name, pinned) {
      await hub.models.pin({ territory, name, pinned, actor: 'test' });
      await hub.announceModels();
      await clock.advance(10);
    },
    async ask(name) {
      const work: Omit<AnswerWork, 'tokens'> = {
        prompt: { kind: 'text', text: 'x' },
        sampling: { seed: 1 },
        choice: 0,
        stop: [],
      };
      const sink = { started: () => {}, token: () => {}, finished: () => {}, failed: () => {} };
      const order = {
        territory,
        key: 'key_a',
        model: { cid: cids[name] ?? '', name },
        work,
        text: PLAIN_TEXT,
        permit: OWN_LEAVE,
      };
      return hub.answers.submit(order, sink).then(
        () => 'accepted',
        (error: unknown) => codeOf(error) ?? 'internal',
      );
    },
  };
}

const holds = (device: ScriptedDevice): Extract<ToDevice, { t: 'hold' }>[] =>
  device.heard.filter((message) => message.t === 'hold');
const held = (device: ScriptedDevice): WantedModel[] => holds(device).at(-1)?.models ?? [];
const namesOf = (device: ScriptedDevice): string[] => held(device).map(({ name }) => name);

/** Files of the test models have fewer bytes than this each, and more than half of it. */
const ONE = 24;
const lentFor = (models: number): Lent => ({ memoryBytes: 2 ** 30, diskBytes: models * ONE, uploadBytesPerSecond: 0 });

test('a device that says nothing of bounds, or has room, is told to hold everything, and only once', async () => {
  const { join, clock } = await setUp('a', 'b', 'c');
  const [old, roomy] = [await join(), await join({ lent: lentFor(100) })];
  expect(namesOf(old).toSorted()).toEqual(['a', 'b', 'c']);
  expect(namesOf(roomy).toSorted()).toEqual(['a', 'b', 'c']);
  await clock.advance(10 * HUB_LIMITS.placementMs);
  expect(holds(old)).toHaveLength(1);
});

test('devices with room for one each hold different models, and another takes over when one leaves', async () => {
  const { join, clock } = await setUp('a', 'b');
  const [one, other] = [await join({ lent: lentFor(1) }), await join({ lent: lentFor(1) })];
  expect([...namesOf(one), ...namesOf(other)].toSorted()).toEqual(['a', 'b']);
  const [left] = namesOf(one);
  one.link.cut('a test');
  await clock.advance(1_000);
  const third = await join({ lent: lentFor(1) });
  expect(namesOf(third)).toEqual([left]);
  expect(namesOf(other)).not.toEqual([left]);
});

test('a device that comes back is told what it was told before, whoever else has come meanwhile', async () => {
  const { join, clock, cids } = await setUp('a', 'b', 'c');
  const one = await join({ lent: lentFor(1) });
  const before = namesOf(one);
  one.link.cut('a test');
  await clock.advance(1_000);
  // One that brings another model, so that nothing speaks for moving what the first one had.
  await join({ lent: lentFor(1), models: [{ cid: cids.b ?? '', state: 'held', fraction: 1 }] });
  expect(namesOf(await join({ lent: lentFor(1), key: one.key }))).toEqual(before);
});

test('a device whose hub has forgotten it is told to keep what it holds already', async () => {
  const { join, cids } = await setUp('a', 'b', 'c');
  const has = { cid: cids['c'] ?? '', state: 'held', fraction: 1 } as const;
  expect(namesOf(await join({ lent: lentFor(1), models: [has] }))).toEqual(['c']);
});

test('a pinned model is told as pinned, and comes first where there is no room for all', async () => {
  const { join, pin } = await setUp('a', 'b', 'z');
  await pin('z', true);
  const device = await join({ lent: lentFor(1) });
  expect(held(device)).toMatchObject([{ name: 'z', pinned: true }]);
  await pin('z', false);
  expect(held(device)[0]?.pinned).toBeUndefined();
});

test('a device that fails at a model is told to hold it still, and another is told, too', async () => {
  const { join, cids, clock } = await setUp('a', 'b');
  const lent = lentFor(1);
  const one = await join({ lent });
  const cid = held(one)[0]?.cid ?? '';
  const failed = { cid, state: 'failed', fraction: 0, reason: 'the engine died' } as const;
  one.setStatus({ lent, models: [failed] });
  await clock.advance(HUB_LIMITS.placementGapMs * 2);
  const other = await join({ lent });
  expect(held(one)[0]?.cid).toBe(cid);
  const third = await join({ lent });
  expect([held(other)[0]?.cid, held(third)[0]?.cid].toSorted()).toEqual(Object.values(cids).toSorted());
});

test('an answer for a model that is being loaded waits until it is; one for a cold model is refused', async () => {
  const { join, cids, ask, clock } = await setUp('a');
  const device = await join();
  const cid = cids['a'] ?? '';
  device.setStatus({ models: [{ cid, state: 'fetching', fraction: 0.5 }] });
  await clock.advance(10);
  expect(await ask('a')).toBe('no_device');
  device.setStatus({ models: [{ cid, state: 'loading', fraction: 1 }] });
  await clock.advance(10);
  expect(await ask('a')).toBe('accepted');
  await clock.advance(1_000);
  expect(device.heard.some(({ t }) => t === 'answer')).toBe(false);
  device.setStatus({ models: [warmModel(cid)] });
  await clock.advance(100);
  expect(device.heard.some(({ t }) => t === 'answer')).toBe(true);
});

test('what is asked for is told in steps, and not at every request', async () => {
  const { join, ask, clock } = await setUp('a');
  const device = await join();
  for (let minute = 0; minute < 30; minute++) {
    for (let request = 0; request < 10; request++) await ask('a');
    for (let beat = 0; beat < 6; beat++) {
      await clock.advance(10_000);
      device.setStatus({});
    }
  }
  expect(held(device)[0]?.demand).toBe(8);
  expect(holds(device).length).toBeLessThanOrEqual(6);
});
