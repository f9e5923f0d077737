/**
 * A claim about end-to-end encrypted prompts with replicas as processes: in a rolling restart no answer is lost and no
 * token changes. What a replica has open when it is told to go may finish; what does not is sealed anew elsewhere.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { createSealedClient, type SealedClientEvent } from '@idlewild/client';
import { simulatedAnswer } from '@idlewild/agent/testing';
import { codeOf } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../processes/child.ts';
import { addSteward, steward, territoryOf, vouchFor } from '../sealed-world.ts';
import { createReplicaWorld, MODEL, type ReplicaWorld } from './world.ts';

const DEVICES = 3;
const STREAMS = 6;
/** Six streams over three devices: an answer of 100 tokens takes some two seconds. */
const OPTIONS = { slots: 4, tokensPerSecond: 100, sealed: true };
const TOKENS_MAX = 100;

let world: ReplicaWorld | undefined;
beforeAll(async () => {
  world = await createReplicaWorld({ replicas: 2 });
  if (world === undefined) return;
  await addSteward(world.steward);
  await world.addDevices(DEVICES, OPTIONS);
  await world.whole();
  for (let index = 0; index < DEVICES; index++) await vouchFor(world.steward, `device-${index}`);
});
afterAll(() => world?.end());

test('in a rolling restart no sealed answer is lost, and none has a token changed', async ({ skip }) => {
  if (world === undefined) return skip('PostgreSQL or NATS is missing');
  const { front, replicas } = world;
  const { url: hub, key } = await world.newCaller();
  const ports = { fetch, clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
  const territory = await territoryOf(world.steward);
  const client = createSealedClient({ hub, key, territory, stewards: [steward.publicKey], ...ports });
  const wrong: string[] = [];
  let [whole, isOver, failovers, receipts, refused] = [0, false, 0, 0, 0];

  async function stream(number: number): Promise<void> {
    for (let round = 0; !isOver && wrong.length === 0; round++) {
      const prompt = { kind: 'text' as const, text: `Question ${number}-${round}.` };
      const work = { prompt, sampling: { seed: round }, choice: 0, stop: [], tokensMax: TOKENS_MAX };
      const events: SealedClientEvent[] = [];
      try {
        for await (const event of client.answer({ model: MODEL, work })) events.push(event);
      } catch (error) {
        // On a busy machine all devices may be on their way to another replica. As for any 503: asked again.
        if (codeOf(error) === 'no_device' && events.length === 0) {
          refused++;
          await pause(500);
          continue;
        }
        wrong.push(`${prompt.text} ${String(error)}`);
      }
      const text = events.map((event) => (event.t === 'started' ? '' : event.s)).join('');
      if (text !== simulatedAnswer(work).text) wrong.push(`${prompt.text} has another text`);
      const end = events.at(-1);
      if (end?.t !== 'finished') continue;
      whole++;
      failovers += end.failovers;
      if (end.kept !== undefined) receipts++;
    }
  }

  const streams = Promise.all(Array.from({ length: STREAMS }, (_, number) => stream(number)));
  await until(() => whole >= STREAMS || wrong.length > 0, 'the first answers');
  expect(wrong).toEqual([]);
  for (const replica of replicas) {
    const { code } = await replica.terminate();
    expect(code).toBe(0);
    await replica.start();
    await until(() => front.ready().includes(replica.name), `${replica.name} being ready again`);
  }
  const before = whole;
  await until(() => whole >= before + STREAMS || wrong.length > 0, 'answers afterwards');
  isOver = true;
  await streams;
  const told = `${failovers} gone on with elsewhere, ${refused} refused before they began`;
  console.log(`${whole} sealed answers over ${replicas.length} restarts, ${told}`);
  expect(wrong).toEqual([]);
  expect(receipts).toBe(whole);
});
