/** What a lane says of energy: in receipts that the device signs, and to its lender; nothing where nobody counts. */
import { openStatement, receiptSchema, type Receipt } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import type { AgentOptions } from '../agent.ts';
import type { Energy } from '../lending/energy/energy.ts';
import type { WorkDone } from '../lending/control/work.ts';
import { exampleAnswer } from '../../testing/example-answer.ts';

interface Counted extends Fixture {
  readonly model: string;
  readonly done: WorkDone[];
  /** By the whole device, as its meter says. */
  readonly drawn: { wattHours: number };
  /** Pieces of work that began, and the processor time of those that ended. */
  readonly begun: () => number;
  readonly ended: number[];
}

async function countedFixture(change: Partial<AgentOptions> = {}, cpuMsPerToken?: number): Promise<Counted> {
  const done: WorkDone[] = [];
  const ended: number[] = [];
  let begun = 0;
  const drawn = { wattHours: 5 };
  const energy: AgentOptions['energy'] = {
    drawnWattHours: () => drawn.wattHours,
    begin() {
      begun++;
      return {
        async end(cpuMs): Promise<Energy> {
          ended.push(cpuMs);
          return { wattHours: cpuMs / 1_000, how: 'measured' };
        },
      };
    },
  };
  const engine = cpuMsPerToken === undefined ? {} : { cpuMsPerToken };
  const fixture = await createFixture({ energy, engine, onWork: (work) => done.push(work), ...change });
  const model = await putModel(fixture.store, 'weights');
  await fixture.startWith(model);
  return { ...fixture, model, done, drawn, ended, begun: () => begun };
}

async function receiptOf({ got, identity }: Counted, lease: string): Promise<Receipt> {
  const carried = got('answer.finished').find((message) => message.lease === lease)?.receipt as Uint8Array;
  return (await openStatement('receipt', carried, receiptSchema, nodeCrypto, identity.publicKey)).statement;
}

test('a receipt says what its attempt cost, by what the engine says it took, and so is the lender told', async () => {
  const fixture = await countedFixture({}, 4);
  const { clock, model, peer, done, ended } = fixture;
  peer().send(exampleAnswer(model));
  await clock.advance(2_000);
  expect(ended).toEqual([200]);
  expect((await receiptOf(fixture, 'att_1')).energy).toEqual({ wattHours: 0.2, how: 'measured' });
  expect(done).toMatchObject([{ kind: 'answer', whole: true, wattHours: 0.2 }]);
});

test('vectors have no receipt, and their lender is told all the same', async () => {
  const { clock, model, peer, done } = await countedFixture({}, 4);
  peer().send({
    t: 'embed',
    lease: 'att_1',
    epoch: 1,
    model,
    work: { kind: 'embed', inputs: ['one', 'two words'] },
    deadlineMs: 60_000,
  });
  await clock.advance(2_000);
  expect(done).toMatchObject([{ kind: 'embed', whole: true, tokens: 4, wattHours: 0.016 }]);
});

test('an engine that does not say, and a device that does not count, leave it unsaid', async () => {
  const silent = await countedFixture();
  const uncounted = await countedFixture({ energy: undefined }, 4);
  for (const fixture of [silent, uncounted]) {
    fixture.peer().send(exampleAnswer(fixture.model));
    await fixture.clock.advance(2_000);
    expect(await receiptOf(fixture, 'att_1')).not.toHaveProperty('energy');
    expect(fixture.done[0]).not.toHaveProperty('wattHours');
  }
  expect([silent.begun(), uncounted.begun()]).toEqual([1, 0]);
});

test('what was cancelled has no price of its own', async () => {
  const { clock, model, peer, done, ended } = await countedFixture({}, 4);
  peer().send(exampleAnswer(model));
  await clock.advance(200);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  await clock.advance(2_000);
  expect(ended).toEqual([]);
  expect(done).toMatchObject([{ whole: false }]);
  expect(done[0]).not.toHaveProperty('wattHours');
});

test('what runs is told with about what it cost so far: what the device drew meanwhile, in equal parts', async () => {
  const { agent, clock, drawn, model, peer } = await countedFixture({}, 4);
  const costs = (): (number | undefined)[] => agent.state().running.map(({ wattHours }) => wattHours);
  const ask = async (lease: string): Promise<void> => {
    peer().send(exampleAnswer(model, { lease }));
    await clock.advance(10);
  };
  drawn.wattHours += 100;
  await ask('att_1');
  expect(costs()).toEqual([0]);
  drawn.wattHours += 3;
  expect(costs()).toEqual([3]);
  await ask('att_2');
  drawn.wattHours += 4;
  expect(costs()).toEqual([5, 2]);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  await clock.advance(10);
  drawn.wattHours += 1;
  expect(costs()).toEqual([3]);
});

test('where nobody counts nothing is told of what runs', async () => {
  const { agent, clock, model, peer } = await countedFixture({ energy: undefined }, 4);
  peer().send(exampleAnswer(model));
  await clock.advance(10);
  expect(agent.state().running[0]).not.toHaveProperty('wattHours');
});
