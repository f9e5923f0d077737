/** Claims about sealed prompts at the hub, with a whole hub on a fake clock and scripted devices. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  IdlewildError,
  LIMITS,
  idOfKey,
  type Fields,
  type KeyPair,
  type ToDevice,
  type UseOrder,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import type { Hub } from '../hub.ts';
import { HUB_LIMITS } from '../limits.ts';
import { OWN_LEAVE, type Permit } from '../policy/permit.ts';
import type { Reach } from '../policy/reach.ts';
import { openClockedHub } from '../testing/clocked-hub.ts';
import { warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { publishTestModel } from '../testing/test-model.ts';
import { addTestSteward } from '../testing/test-steward.ts';
import type { Offer, OfferRequest, SealedHandle, SealedPrompt } from './port.ts';

type Order = Extract<ToDevice, { t: 'sealed' }>;
const agreement = nodeCrypto.agreementKey(new Uint8Array(32).fill(9)) as KeyPair;
const PROMPT: SealedPrompt = {
  key: agreement.publicKey,
  enc: new Uint8Array(32).fill(1),
  sealed: new Uint8Array(LIMITS.sealedPromptBytesMin + 16).fill(2),
};

interface World {
  readonly clock: FakeClock;
  readonly hub: Hub;
  readonly keyId: string;
  readonly ended: string[];
  /** What devices or callers refused by a rule, and of which model. */
  readonly refusals: string[];
  refuse(model: string, rule: string | undefined): Promise<IdlewildError>;
  readonly model: { readonly cid: string; readonly name: string };
  join(
    name: string,
    more?: { features?: readonly 'embed'[]; consent?: Fields; slots?: number },
  ): Promise<ScriptedDevice>;
  vouch(device: ScriptedDevice): Promise<void>;
  /** One that joined and that a steward vouches for. */
  vouched(name: string, more?: { consent?: Fields; slots?: number }): Promise<ScriptedDevice>;
  ask(change?: Partial<OfferRequest>, signal?: AbortSignal): Promise<Offer>;
  submit(
    offer: Pick<Offer, 'token'>,
    change?: { prompt?: SealedPrompt; caller?: string; permit?: Permit; use?: UseOrder },
  ): Promise<Heard>;
}
interface Heard {
  readonly said: string[];
  readonly handle: SealedHandle;
}

async function createWorld(): Promise<World> {
  const { clock, hub, store, ended, key, join } = await openClockedHub(() => nextTurn());
  const territory = hub.territory.id;
  const keyId = key.id;
  const model = { cid: await publishTestModel(hub, store, 'poet'), name: 'poet' };
  const vouch = await addTestSteward(hub, clock.now);
  const refusals: string[] = [];
  const world: World = {
    refusals,
    async refuse(to, rule) {
      refusals.push(`${to} ${rule}`);
      return new IdlewildError('use_refused', 'refused');
    },
    clock,
    hub,
    keyId,
    ended,
    model,
    join: (name, { slots = 2, ...more } = {}) =>
      join({ name, agreement, ...more, status: { models: [warmModel(model.cid)], slots } }),
    async vouch(device) {
      await vouch(device);
      await clock.advance(HUB_LIMITS.vouchesReadMs);
    },
    async vouched(name, more) {
      const device = await world.join(name, more);
      await world.vouch(device);
      return device;
    },
    ask: (change = {}, signal = new AbortController().signal) =>
      hub.sealed.offer(
        {
          territory,
          caller: keyId,
          model,
          text: { dataClass: 'internal', cause: undefined, person: undefined },
          permit: OWN_LEAVE,
          bytes: LIMITS.sealedPromptBytesMin,
          tokens: 100,
          without: [],
          ...change,
        },
        signal,
      ),
    async submit({ token }, { prompt = PROMPT, caller = keyId, permit = OWN_LEAVE, use } = {}) {
      const said: string[] = [];
      const offered = { token, territory, caller, admit: () => permit, use, refuse: world.refuse };
      const submitting = hub.sealed.submit(offered, prompt, {
        part: (n) => void said.push(`part ${n}`),
        done: (n) => void said.push(`done ${n}`),
        lost: (code) => void said.push(`lost ${code}`),
        failed: (error, more) => void said.push(`failed ${error.code}${more === undefined ? '' : ` ${more.n}`}`),
      });
      submitting.catch(() => {});
      // The journal may wait for company.
      await clock.advance(50);
      return { said, handle: await submitting };
    },
  };
  return world;
}

const orders = (device: ScriptedDevice): Order[] => device.heard.filter((message) => message.t === 'sealed');
const cancels = (device: ScriptedDevice): number => device.heard.filter(({ t }) => t === 'cancel').length;
const last = (device: ScriptedDevice): Order => orders(device).at(-1) as Order;
const sealed = new Uint8Array(LIMITS.sealedEventBytesMin + 16);
const start = (device: ScriptedDevice, { lease, epoch }: Order = last(device)): void =>
  device.send({ t: 'sealed.part', lease, epoch, n: 0, promptTokens: 9, cachedTokens: 4, tokens: 0, sealed });
const token = (device: ScriptedDevice, n: number, { lease, epoch }: Order = last(device)): void =>
  device.send({ t: 'sealed.part', lease, epoch, n, tokens: n, sealed });
const finish = (device: ScriptedDevice, tokens: number, { lease, epoch }: Order = last(device)): void =>
  device.send({ t: 'sealed.done', lease, epoch, n: tokens + 1, promptTokens: 9, tokens, sealed });
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: unknown) => `${(error as IdlewildError).code}: ${(error as IdlewildError).message}`,
  );

test('a device is offered with its key and who vouches for it, and a sealed prompt is answered', async () => {
  const { ask, clock, ended, hub, keyId, model, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  const offer = await ask();
  expect(offer.device).toMatchObject({ name: 'ada', key: ada.key.publicKey });
  expect(offer).toMatchObject({ epoch: 1, numericClass: 'class-a' });
  expect(offer.vouch).toHaveLength(1);
  const { said } = await submit(offer);
  expect(orders(ada)).toMatchObject([{ ...PROMPT, lease: offer.lease, model: model.cid, dataClass: 'internal' }]);
  start(ada);
  token(ada, 1);
  token(ada, 2);
  finish(ada, 2);
  await clock.advance(50);
  expect(said).toEqual(['part 0', 'part 1', 'part 2', 'done 3']);
  expect(ended).toEqual(['done none']);
  await clock.advance(200);
  const rows = await hub.db.selectFrom('requests').selectAll().execute();
  expect(rows).toMatchObject([
    { key_id: keyId, state: 'done', prompt_tokens: 9, answer_tokens: 2, model_cid: model.cid, data_class: 'internal' },
  ]);
  expect(await hub.db.selectFrom('journal').selectAll().execute()).toEqual([]);
  expect([...hub.sessions.list()][0]?.leases.size).toBe(0);
  expect(hub.sealed.counts()).toEqual({ open: 0, waiting: 0 });
});

test('nobody is offered for whom no steward vouches, who cannot open, or who may not see such texts', async () => {
  const { ask, join, vouch, vouched } = await createWorld();
  const ada = await join('ada');
  expect(await codeOf(ask())).toMatch(/^no_device: .*a steward has to vouch/);
  await vouch(ada);
  expect((await ask()).device.name).toBe('ada');
  const confidential = { dataClass: 'confidential', cause: undefined, person: undefined } as const;
  expect(await codeOf(ask({ text: confidential }))).toMatch(/^no_device: .*may not see confidential data/);
  await vouched('old', { features: [] } as object);
  const names = await Promise.all([ask(), ask().catch(() => undefined)]);
  expect(names.map((offer) => offer?.device.name)).not.toContain('old');
});

test('a device that lacks what prompts may need is offered for those that say they need none of it', async () => {
  const { ask, clock, vouched } = await createWorld();
  const ada = await vouched('ada', { features: ['sealed', 'form'], slots: 1 } as object);
  expect(await codeOf(ask())).toMatch(/^no_device: /);
  expect(await codeOf(ask({ needs: ['form', 'tools'] }))).toMatch(/^no_device: /);
  await vouched('bea', { slots: 1 });
  const near = await idOfKey('dev', ada.key.publicKey, nodeCrypto);
  expect((await ask({ needs: ['form'], near })).device.name).toBe('ada');
  await clock.advance(1_000);
  expect((await ask({ needs: [] })).device.name).toBe('bea');
  // Nor does who waits for long stand in for a slot that is of no use to it, although that one is free sooner.
  const wanted = ask();
  await clock.advance(HUB_LIMITS.offerHoldMs + HUB_LIMITS.sweepMs);
  expect((await wanted).device.name).toBe('bea');
});

test('an offer is for one prompt of one key, and not for long', async () => {
  const { ask, clock, hub, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  const offer = await ask();
  const device = [...hub.sessions.list()][0];
  expect(device?.leases.size).toBe(1);
  expect(await codeOf(submit(offer, { caller: 'key_other' }))).toContain('offer_expired');
  expect(await codeOf(submit({ token: `${offer.token.slice(0, -4)}AAAA` }))).toContain('offer_expired');
  expect(await codeOf(submit({ token: 'nonsense' }))).toContain('offer_expired');
  const odd = { ...PROMPT, sealed: PROMPT.sealed.subarray(1) };
  expect(await codeOf(submit(offer, { prompt: odd }))).toContain('invalid_request');
  await submit(offer);
  expect(await codeOf(submit(offer))).toContain('offer_expired');
  expect(orders(ada)).toHaveLength(1);
  const late = await ask();
  await clock.advance(HUB_LIMITS.offerHoldMs + 100);
  expect(device?.leases.size).toBe(1);
  expect(await codeOf(submit(late))).toContain('offer_expired');
});

test('frames of another lease, epoch or device change nothing; one out of turn ends the attempt', async () => {
  const { ask, clock, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  const bea = await vouched('bea');
  const { said } = await submit(await ask({ near: await idOfKey('dev', ada.key.publicKey, nodeCrypto) }));
  start(bea, last(ada));
  start(ada, { ...last(ada), lease: 'att_other' });
  start(ada, { ...last(ada), epoch: 2 });
  await clock.advance(20);
  expect(said).toEqual([]);
  start(ada);
  token(ada, 2);
  await clock.advance(20);
  expect(said).toEqual(['part 0', 'lost frame_invalid']);
  expect(cancels(ada)).toBe(1);
  token(ada, 1);
  finish(ada, 1);
  await clock.advance(20);
  expect(said).toHaveLength(2);
});

test('a lost, paused or silent device ends its attempt so that the caller may go on', async () => {
  const { ask, clock, ended, hub, submit, vouched } = await createWorld();
  const [ada, bea] = [await vouched('ada'), await vouched('bea')];
  const near = await idOfKey('dev', ada.key.publicKey, nodeCrypto);
  const gone = await submit(await ask());
  const lost = orders(ada).length === 1 ? ada : bea;
  const other = lost === ada ? bea : ada;
  start(lost);
  token(lost, 1);
  await clock.advance(20);
  lost.link.cut('the plug was pulled');
  await clock.advance(50);
  expect(gone.said).toEqual(['part 0', 'part 1', 'lost disconnected']);
  const paused = await submit(await ask({ near }));
  const { lease, epoch } = last(other);
  other.send({ t: 'sealed.failed', lease, epoch, code: 'device_paused', message: 'a device was paused' });
  await clock.advance(50);
  expect(paused.said).toEqual(['lost device_paused']);
  other.setStatus({});
  await clock.advance(50);
  const silent = await submit(await ask());
  await clock.advance(HUB_LIMITS.startMsMax + 500);
  expect(silent.said).toEqual(['lost stalled']);
  expect(ended).toEqual(['failed disconnected', 'failed device_paused', 'failed stalled']);
  await clock.advance(200);
  const rows = await hub.db
    .selectFrom('requests')
    .select(['state', 'reason', 'prompt_tokens', 'answer_tokens'])
    .execute();
  // What another reads again is not charged twice; what was given is.
  expect(rows[0]).toEqual({ state: 'failed', reason: 'disconnected', prompt_tokens: 0, answer_tokens: 1 });
});

test('what a device refuses the prompt for ends it, with what it tells the caller alone', async () => {
  const { ask, clock, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  const { said } = await submit(await ask());
  const { lease, epoch } = last(ada);
  const failed = { t: 'sealed.failed', lease, epoch, code: 'context_length_exceeded', message: 'too long' } as const;
  ada.send({ ...failed, n: 0, sealed });
  await clock.advance(20);
  expect(said).toEqual(['failed context_length_exceeded 0']);
});

test('a caller that hangs up frees the device, and one whose right ends gets nothing more', async () => {
  const { ask, clock, ended, hub, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  const first = await submit(await ask());
  start(ada);
  first.handle.cancel('the caller hung up');
  await clock.advance(20);
  expect(cancels(ada)).toBe(1);
  expect([...hub.sessions.list()][0]?.leases.size).toBe(0);
  const right: { refusal: IdlewildError | undefined } = { refusal: undefined };
  const second = await submit(await ask(), { permit: { ...OWN_LEAVE, refusal: () => right.refusal } });
  start(ada);
  await clock.advance(200);
  right.refusal = Object.assign(new Error('the key was revoked'), {
    code: 'unauthenticated',
  }) as unknown as IdlewildError;
  await clock.advance(1_000);
  expect(second.said).toEqual(['part 0', 'failed unauthenticated']);
  expect(cancels(ada)).toBe(2);
  expect(ended).toEqual(['cancelled cancelled', 'failed unauthenticated']);
});

test('offers wait for a device that is busy; who hangs up, or waits too long, is let go', async () => {
  const { ask, clock, hub, submit, vouched } = await createWorld();
  const ada = await vouched('ada', { slots: 1 });
  const running = await submit(await ask());
  const waiting = ask();
  const abort = new AbortController();
  const left = codeOf(ask({}, abort.signal));
  await clock.advance(500);
  expect(hub.sealed.counts()).toEqual({ open: 1, waiting: 2 });
  abort.abort();
  expect(await left).toContain('cancelled');
  start(ada);
  finish(ada, 0, last(ada));
  await clock.advance(200);
  expect(running.said).toEqual(['part 0', 'done 1']);
  expect((await waiting).device.name).toBe('ada');
  const late = codeOf(ask());
  const own = await submit(await waiting);
  for (let waited = 0; waited < HUB_LIMITS.queueMsMax + 1_000; waited += 2_000) {
    const { lease, epoch } = last(ada);
    ada.send({ t: 'sealed.progress', lease, epoch });
    await clock.advance(2_000);
  }
  expect(await late).toContain('too_busy');
  expect(own.said).toEqual([]);
});

test('one key cannot hold every place', async () => {
  const { ask, vouched } = await createWorld();
  await vouched('ada', { slots: 64 });
  const offers = await Promise.all(Array.from({ length: HUB_LIMITS.offersPerKeyMax }, () => ask()));
  expect(offers).toHaveLength(HUB_LIMITS.offersPerKeyMax);
  expect(await codeOf(ask())).toContain('too_busy');
});

test('one key cannot hold more places by asking for all of them in one moment', async () => {
  const { ask, clock, vouched } = await createWorld();
  await vouched('ada', { slots: 64 });
  // What is known of devices has to be read again: all of them wait for that together.
  await clock.advance(HUB_LIMITS.vouchesReadMs);
  const asked = Array.from({ length: 3 * HUB_LIMITS.offersPerKeyMax }, () => codeOf(ask()));
  const codes = (await Promise.all(asked)).map((said) => said.split(':', 1)[0]);
  expect(codes.filter((code) => code === 'none')).toHaveLength(HUB_LIMITS.offersPerKeyMax);
  expect(codes.filter((code) => code === 'too_busy')).toHaveLength(2 * HUB_LIMITS.offersPerKeyMax);
});

test('answers in the open do not keep a sealed prompt waiting for ever, nor the other way round', async () => {
  const { ask, clock, hub, keyId, model, submit, vouched } = await createWorld();
  const ada = await vouched('ada', { slots: 1 });
  const served: string[] = [];
  ada.onMessage = (message) => {
    if (message.t !== 'answer') return;
    served.push('open');
    const { lease, epoch } = message;
    clock.after(400, () =>
      ada.send({ t: 'answer.failed', lease, epoch, code: 'context_length_exceeded', message: 'x' }),
    );
  };
  const sink = { started: () => {}, token: () => {}, finished: () => {}, failed: () => {} };
  const work = { prompt: { kind: 'text' as const, text: 'x' }, sampling: { seed: 0 }, choice: 0, stop: [] };
  const text = { dataClass: 'internal', cause: undefined, person: undefined } as const;
  for (let i = 0; i < 40; i++) {
    const asked = { territory: hub.territory.id, key: keyId, model, work, text, permit: OWN_LEAVE };
    void hub.answers.submit(asked, sink);
  }
  await clock.advance(100);
  const offered = ask().then(async (offer) => {
    served.push('sealed');
    return submit(offer);
  });
  await clock.advance(4_000);
  await offered;
  expect(served.indexOf('sealed')).toBeGreaterThan(0);
  expect(served.indexOf('sealed')).toBeLessThan(10);
  start(ada);
  finish(ada, 0);
  await clock.advance(2_000);
  expect(served.slice(served.indexOf('sealed') + 1)).toContain('open');
});

test('an offer is of a device that its asker’s rights are for, and is lost when they are for others', async () => {
  const { clock, hub, vouched, ask, submit } = await createWorld();
  const [ada, bea] = [await vouched('ada'), await vouched('bea')];
  const territory = hub.territory.id;
  const poolOf = async (device: ScriptedDevice, pool: string): Promise<void> => {
    const id = await idOfKey('dev', device.key.publicKey, nodeCrypto);
    await hub.deviceTrust.addToPool({ territory, id, pool, actor: 'hub' });
  };
  await poolOf(ada, 'lab');
  await poolOf(bea, 'attic');
  await clock.advance(1_000);
  const right = { pool: 'attic' };
  const reach = (): Reach => {
    const { pool } = right;
    return { key: pool, pools: () => [pool], includes: (pools) => pools.includes(pool) };
  };
  const permit = { ...OWN_LEAVE, reach };
  const [first, second] = [await ask({ permit }), await ask({ permit })];
  expect([first.device.name, second.device.name]).toEqual(['bea', 'bea']);
  const { said } = await submit(first, { permit });
  right.pool = 'lab';
  await clock.advance(HUB_LIMITS.sweepMs * 2);
  expect(said).toEqual(['lost consent_refused']);
  expect(bea.heard.filter(({ t }) => t === 'cancel')).toHaveLength(1);
  await expect(submit(second, { permit })).rejects.toMatchObject({ code: 'offer_expired' });
  expect((await ask({ permit })).device.name).toBe('ada');
});

test('a device whose tier falls loses a sealed answer within a second, where nothing else is asked', async () => {
  const { clock, hub, vouched, ask, submit } = await createWorld();
  const ada = await vouched('ada');
  const { said } = await submit(await ask());
  const id = await idOfKey('dev', ada.key.publicKey, nodeCrypto);
  await hub.deviceTrust.set({ territory: hub.territory.id, id, tier: 'public', actor: 'hub' });
  for (let i = 0; i < 10; i++) await clock.advance(HUB_LIMITS.sweepMs);
  expect(said).toEqual(['lost consent_refused']);
});

const phrases = [{ rule: 'arms', phrases: ['nerve gas'] }];
const held: UseOrder = { phrases, classifiers: [], preambles: [] };
const judgedBy = (model: string): UseOrder => ({
  ...held,
  classifiers: [{ rule: 'rude', model, labels: [1], threshold: 0.5 }],
});

test('what a prompt is held to goes with it, and only to a device that can hold it to that', async () => {
  const { ask, clock, model, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  await submit(await ask({ use: held }), { use: held });
  await clock.advance(50);
  expect(orders(ada)).toMatchObject([{ use: held }]);
  await expect(ask({ use: judgedBy('bafyguard') })).rejects.toMatchObject({ code: 'use_unjudged' });
  ada.setStatus({ models: [warmModel(model.cid), warmModel('bafyguard')], slots: 2 });
  await clock.advance(LIMITS.heartbeatMs);
  await expect(ask({ use: judgedBy('bafyguard') })).resolves.toMatchObject({ lease: expect.any(String) as string });
});

test('an offer is over when other rules hold for its caller than when it was made', async () => {
  const { ask, submit, vouched } = await createWorld();
  await vouched('ada');
  await expect(submit(await ask({ use: held }))).rejects.toMatchObject({ code: 'offer_expired' });
  await expect(submit(await ask(), { use: held })).rejects.toMatchObject({ code: 'offer_expired' });
  const other = { ...held, preambles: ['Be kind.'] };
  await expect(submit(await ask({ use: held }), { use: other })).rejects.toMatchObject({ code: 'offer_expired' });
});

test("a device refuses by the caller's rules for good; by one that it made up it only loses the prompt", async () => {
  const { ask, clock, ended, refusals, submit, vouched } = await createWorld();
  const ada = await vouched('ada');
  const refusedBy = async (rule: string | undefined): Promise<string[]> => {
    const { said } = await submit(await ask({ use: held }), { use: held });
    await clock.advance(50);
    const { lease, epoch } = orders(ada).at(-1) as Order;
    const told = { t: 'sealed.failed', lease, epoch, code: 'use_refused', message: '' } as const;
    ada.send(rule === undefined ? told : { ...told, rule });
    await clock.advance(50);
    return said;
  };
  expect(await refusedBy('arms')).toEqual(['failed use_refused']);
  expect(await refusedBy(undefined)).toEqual(['failed use_refused']);
  expect(await refusedBy('made-up')).toEqual([expect.stringContaining('lost frame_invalid')]);
  expect(refusals).toEqual(['poet arms', 'poet undefined']);
  expect(ended).toEqual(['failed use_refused', 'failed use_refused', 'failed frame_invalid']);
});

test('a caller that finds a rule against its prompt frees the place, once, by a rule that holds for it', async () => {
  const { ask, hub, keyId, refuse, vouched } = await createWorld();
  await vouched('ada', { slots: 1 });
  const { token } = await ask({ use: held });
  const offered = { token, territory: hub.territory.id, caller: keyId, use: held, refuse };
  await expect(hub.sealed.withdraw(offered, 'made-up')).rejects.toMatchObject({ code: 'invalid_request' });
  await expect(hub.sealed.withdraw({ ...offered, use: undefined }, 'arms')).rejects.toMatchObject({
    code: 'invalid_request',
  });
  expect([...hub.sessions.list()][0]?.leases.size).toBe(1);
  await expect(hub.sealed.withdraw(offered, 'arms')).rejects.toMatchObject({ code: 'use_refused' });
  expect([...hub.sessions.list()][0]?.leases.size).toBe(0);
  await expect(hub.sealed.withdraw(offered, 'arms')).rejects.toMatchObject({ code: 'offer_expired' });
});
