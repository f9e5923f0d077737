/** Energy on a real machine with a real engine: in the receipt, in the status, in the lender's day, and its end. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { openStatement, receiptSchema, type Receipt, type ToHub } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import type { EnergyView } from '../core/lending/energy/budget.ts';
import { readHistory } from './history.ts';
import { CONSENT, newFolder, serveHub, start, type Device, type RealHub } from './testing/real-hub.ts';
import { longWork, publishJacobean } from './testing/publish.ts';

/** 2 kW between idle and full on 2 processors: a second of one is 0.28 Wh. */
const LENDING = {
  v: 1,
  preset: 'balanced',
  rules: {},
  place: 'DE',
  energy: { machine: 'server', idleWatts: 0, fullWatts: 2_000 },
} as const;

async function warm({ hub }: RealHub, { until }: Device, model: { cid: string; bytes: number }): Promise<void> {
  await until((state) => state.state === 'ready');
  hub.peers.at(-1)?.send({ t: 'hold', models: [{ ...model, name: 'jacobean' }], sources: ['/'] });
  await until((state) => state.models[0]?.state === 'warm');
}

/** Sends an order and waits for its end. */
async function ask({ hub }: RealHub, lease: string, model: string): Promise<ToHub> {
  const peer = hub.peers.at(-1);
  peer?.send({ t: 'answer', lease, epoch: 1, model, work: longWork(), deadlineMs: 60_000 });
  const isEnd = (message: ToHub | { t: '?' }): message is ToHub =>
    (message.t === 'answer.finished' || message.t === 'answer.failed') && message.lease === lease;
  for (;;) {
    const end = peer?.got.find(isEnd);
    if (end !== undefined) return end;
    // Not at every turn: the engine has only what nobody else wants of the processors.
    await pause(20);
  }
}

const energyOf = async ({ agent }: Device): Promise<EnergyView | undefined> => (await agent.control.status()).energy;

test('what an answer cost is in its receipt; when the day is used up nothing runs, over a restart, too', async () => {
  const real = await serveHub();
  const model = await publishJacobean(real.store, await newFolder());
  const data = await newFolder();
  const options = { data, name: 'kettle', engineHost: undefined };
  const first = await start({ ...options, invite: real.invite, consent: CONSENT, lending: LENDING });
  await warm(real, first, model);
  const loaded = (await energyOf(first))?.todayWattHours ?? Number.NaN;
  expect(loaded).toBeGreaterThan(0);
  const end = await ask(real, 'one', model.cid);
  expect(end.t).toBe('answer.finished');
  const { statement }: { statement: Receipt } = await openStatement(
    'receipt',
    (end as Extract<ToHub, { t: 'answer.finished' }>).receipt,
    receiptSchema,
    nodeCrypto,
  );
  const { wattHours = Number.NaN } = statement.energy ?? {};
  expect(wattHours).toBeGreaterThan(0);
  const view = await energyOf(first);
  expect(view?.todayWattHours).toBeGreaterThanOrEqual(loaded + wattHours * 0.99);
  expect(view?.grams).toBeCloseTo(((view?.todayWattHours ?? 0) * 344) / 1_000, 6);
  expect(view?.grid).toContain('DE in 2024');
  await first.agent.control.limits({ change: { wattHoursPerDayMax: loaded } });
  await first.until(({ pauses }) => pauses.some(({ name }) => name === 'energy'));
  await first.agent.stop();
  const kept = JSON.parse(readFileSync(join(data, 'energy.json'), 'utf8')) as { wattHours: number };
  expect(kept.wattHours).toBeGreaterThanOrEqual(view?.todayWattHours ?? Number.NaN);
  const [today] = await readHistory(data, 1, Date.now());
  expect(today?.energy?.drawnWattHours).toBeCloseTo(kept.wattHours, 6);

  const again = await start(options);
  const paused = await again.until(({ state }) => state === 'paused');
  const text = expect.stringMatching(/for today are used up; it works again in \d+ (s|min|h)/) as string;
  expect(paused.pauses).toMatchObject([{ name: 'energy', text }]);
  expect(await ask(real, 'two', model.cid)).toMatchObject({ t: 'answer.failed', code: 'device_paused' });
  // An engine has only what no other program wants of the processors, tests beside it among them.
});

test('outside the hours of clean electricity that its lender named a device waits, and says so', async () => {
  const { invite } = await serveHub();
  const hour = new Date().getHours();
  const gramsPerKwh = Array.from({ length: 24 }, (_, at) => (Math.abs(((at - hour + 36) % 24) - 12) < 3 ? 400 : 100));
  const lending = { ...LENDING, energy: { lowCarbon: { gramsPerKwh, gramsPerKwhMax: 200 } } };
  const { until } = await start({ data: await newFolder(), name: 'kettle', invite, consent: CONSENT, lending });
  const { pauses } = await until(({ state }) => state === 'paused');
  expect(pauses).toMatchObject([{ name: 'carbon' }]);
});
