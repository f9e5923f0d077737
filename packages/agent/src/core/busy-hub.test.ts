/** A hub that proved itself and then only keeps its device busy: it gets little of it, and no way to more. */
import { expect, test } from 'vitest';
import { createMemoryBlobStore, type ToDevice } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel, type Fixture } from '../node/testing/fixture.ts';
import { FROM_HUB_LIMITS } from './from-hub-limits.ts';
import { exampleAnswer, exampleWork } from '../testing/example-answer.ts';

const connected = async (change: Parameters<typeof createFixture>[0] = {}): Promise<Fixture> => {
  const fixture = await createFixture(change);
  fixture.agent.start();
  await fixture.clock.advance(100);
  return fixture;
};

test('a hub that moves its device again and again is dialled no faster than one that fails', async () => {
  const { clock, hub, peer } = await connected();
  const told = new Set<unknown>();
  for (let ms = 0; ms < 30_000; ms += 10) {
    if (peer().device !== undefined && !told.has(peer())) {
      told.add(peer());
      peer().send({ t: 'move', afterMs: 0, reason: 'on and on' });
    }
    await clock.advance(10);
  }
  expect(hub.peers.length).toBeGreaterThan(FROM_HUB_LIMITS.movesAtOnceMax);
  expect(hub.peers.length).toBeLessThan(80);
});

test('a hub that is busy and says to come back at once is asked more and more seldom', async () => {
  const { agent, clock, hub } = await createFixture();
  hub.behave({ insteadOfWelcome: { t: 'refused', code: 'too_busy', message: 'later', retryAfterMs: 0 } });
  agent.start();
  await clock.advance(30_000);
  expect(hub.peers.length).toBeGreaterThan(10);
  expect(hub.peers.length).toBeLessThan(60);
});

/** Sends one frame after the other over whatever connection there is; resolves with how many replies came. */
async function flood({ clock, hub, peer }: Fixture, message: ToDevice, seconds: number, each: number): Promise<number> {
  const replies = (): number =>
    hub.peers.reduce((sum, { got }) => sum + got.filter(({ t }) => t === 'blob.have').length, 0);
  const before = replies();
  for (let ms = 0; ms < 1_000 * seconds; ms += 500) {
    for (let i = 0; i < each / 2 && peer().device !== undefined; i++) peer().send(message);
    await clock.advance(500);
  }
  return replies() - before;
}
const WANT: ToDevice = { t: 'blob.want', id: 1, cid: 'x'.repeat(64), offset: 0, length: 1 };

test('a hub that floods its device is heard at a bounded pace, and at a far lower one while it is paused', async () => {
  const fixture = await connected();
  fixture.agent.pause('lender', 'its lender paused it');
  const burst = FROM_HUB_LIMITS.burstMs / 1_000;
  const perSecond = FROM_HUB_LIMITS.bytesPerSecond / FROM_HUB_LIMITS.frameBytes / FROM_HUB_LIMITS.pausedWeight;
  const replies = await flood(fixture, WANT, 60, 1_000);
  expect(replies).toBeGreaterThan(100);
  expect(replies).toBeLessThan(perSecond * (burst + 60));
  expect(fixture.hub.peers.length).toBeGreaterThan(3);
  expect(fixture.logged.join()).toMatch(/sends more than a device reads/);
});

test('what an honest hub says is within the bound: a thousand frames a second are heard', async () => {
  const fixture = await connected();
  expect(await flood(fixture, WANT, 10, 1_000)).toBe(10_000);
  expect(fixture.hub.peers).toHaveLength(1);
});

test('an answer is heard again after lost connections, and not to fill the line of its device', async () => {
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const model = await putModel(store, 'weights');
  const fixture = await createFixture({ store });
  const { clock, got, hub, peer } = fixture;
  hub.behave({ resumes: true });
  await fixture.startWith(model);
  peer().send(exampleAnswer(model, { work: exampleWork({ tokensMax: 20 }), keep: true }));
  await clock.advance(2_000);
  const heard = got('answer.token').length;
  expect([heard, got('answer.finished').length]).toEqual([20, 1]);
  for (let times = 0; times < 100; times++) peer().send({ t: 'answer.resume', lease: 'att_1', epoch: 1, from: 0 });
  await clock.advance(2_000);
  expect(got('answer.token')).toHaveLength(heard * (1 + FROM_HUB_LIMITS.resumesMax));
  expect(got('answer.failed').map(({ code }) => code)).toEqual(
    Array(100 - FROM_HUB_LIMITS.resumesMax).fill('lease_unknown'),
  );
});
