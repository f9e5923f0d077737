/** Claims about a device that runs and its lender's commands, over the real socket, folder and hub's channel. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openLeft } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { ConsentChange } from '../core/lending/terms/consent-change.ts';
import type { LeaveReport, LendingStatus } from '../core/lending/control/control.ts';
import { createScriptedSignals, type ScriptedSignals } from '../testing/scripted-signals.ts';
import { simulatedAnswer } from '../testing/simulated-engine.ts';
import { openControl, type ControlClient } from './control-client.ts';
import { hasDevice, leaveFolder } from './leave.ts';
import { putModel } from './testing/fixture.ts';
import { CONSENT, newFolder, serveHub, start, type Device, type RealHub } from './testing/real-hub.ts';
import { exampleAnswer, exampleWork } from '../testing/example-answer.ts';

/** What it comes to, if it is let run. */
const WHOLE = simulatedAnswer(exampleWork({ tokensMax: 100 })).tokens.length;

interface World extends RealHub {
  readonly data: string;
  readonly device: Device;
  readonly model: string;
  client(): Promise<ControlClient>;
  status(): Promise<LendingStatus>;
  /** An answer to the newest channel. */
  order(lease: string, tokensMax?: number): void;
}

async function lend(tokensPerSecond = 5_000): Promise<World> {
  const real = await serveHub();
  const model = await putModel(real.store, 'weights');
  const data = await newFolder();
  const device = await start({ data, name: 'kettle', invite: real.invite, consent: CONSENT }, tokensPerSecond);
  await device.until((state) => state.state === 'ready');
  const client = async (): Promise<ControlClient> => {
    const found = await openControl(data);
    if (found === undefined) throw new Error('nobody is there');
    onTestFinished(() => found.close());
    return found;
  };
  real.hub.peers.at(-1)?.send({ t: 'hold', models: [{ cid: model, name: 'small', bytes: 7 }], sources: ['/'] });
  await device.until((state) => state.models[0]?.state === 'warm');
  return {
    ...real,
    data,
    device,
    model,
    client,
    status: async () => (await (await client()).ask({ do: 'status' })) as LendingStatus,
    order(lease, tokensMax = 40) {
      const work = exampleWork({ tokensMax });
      real.hub.peers.at(-1)?.send(exampleAnswer(model, { lease, cause: 'climate', dataClass: 'public', work }));
    },
  };
}

test('status tells what runs and for what, what was done, what is agreed, and each pause', async () => {
  const { device, model, order, status, url, client } = await lend();
  order('att_1');
  await device.until((state) => state.answering === 1);
  await device.until((state) => state.answering === 0);
  const before = await status();
  expect(before).toMatchObject({
    name: 'kettle',
    community: 'the scripted ones',
    state: 'ready',
    hub: url,
    running: [],
    pauses: [],
  });
  expect(before.territory).toMatch(/^ter_/);
  expect(before.models).toMatchObject([{ cid: model, name: 'small', state: 'warm' }]);
  expect(before.today.work).toContainEqual(expect.objectContaining({ cause: 'climate', answers: 1, tokens: 40 }));
  expect(before.consent).toMatchObject({ kinds: ['answers'], presence: 'ignore' });
  expect(before.limits.length).toBeGreaterThan(0);
  order('att_2', 100_000);
  await device.until((state) => state.answering === 1);
  expect((await status()).running).toEqual([
    {
      kind: 'answer',
      model,
      modelName: 'small',
      dataClass: 'public',
      cause: 'climate',
      sinceMs: expect.any(Number) as number,
      wattHours: expect.any(Number) as number,
    },
  ]);
  await (await client()).ask({ do: 'pause', forMs: 60_000 });
  const paused = await status();
  expect(paused.state).toBe('paused');
  expect(paused.pauses).toMatchObject([{ name: 'lender', text: 'its lender paused it' }]);
  expect((paused.paused?.untilMs ?? 0) - (paused.paused?.sinceMs ?? 0)).toBe(60_000);
  expect(paused.running).toEqual([]);
});

test("the lender's pause outlives the device, and is taken back by a command", async () => {
  const { data, device, client, hub } = await lend();
  await (await client()).ask({ do: 'pause' });
  await device.agent.stop();
  expect(existsSync(join(data, 'pause.json'))).toBe(true);
  const again = await start({ data });
  await expect.poll(() => again.agent.state().state).toBe('paused');
  expect(hub.peers.at(-1)?.device?.proof.status.state).toBe('paused');
  const found = await openControl(data);
  await found?.ask({ do: 'resume' });
  found?.close();
  await again.until((state) => state.state === 'ready');
  expect(existsSync(join(data, 'pause.json'))).toBe(false);
});

test('narrower limits hold after the answers under way, which end whole, and the hub is told of them', async () => {
  const { hub, device, client, order, data, status } = await lend(200);
  order('att_1', 100);
  await device.until((state) => state.answering === 1);
  const [before] = hub.peers;
  await (await client()).ask({ do: 'limits', change: { tokensPerSecondMax: 50, gpu: 'never' } });
  expect(before?.got.filter(({ t }) => t === 'answer.finished')).toHaveLength(1);
  expect(before?.got.filter(({ t }) => t === 'answer.token')).toHaveLength(WHOLE);
  await device.until((state) => state.state === 'ready');
  expect(hub.peers).toHaveLength(2);
  expect(hub.peers[1]?.device?.consent).toMatchObject({ tokensPerSecondMax: 50, kinds: ['answers'] });
  const kept = JSON.parse(readFileSync(join(data, 'consent.json'), 'utf8')) as { consent: object };
  expect(kept.consent).toMatchObject({ tokensPerSecondMax: 50 });
  expect((await status()).consent).toEqual(kept.consent);
  await (await client()).ask({ do: 'limits', change: { tokensPerSecondMax: 50 } });
  expect(hub.peers).toHaveLength(2);
});

test('wider limits need a yes: without one nothing changes, and what would be wider is said', async () => {
  const { hub, device, client, data } = await lend();
  const before = readFileSync(join(data, 'consent.json'), 'utf8');
  const change: ConsentChange = { kinds: ['answers', 'training'], diskBytesMax: 40e9 };
  const wider = { do: 'limits', change } as const;
  await expect((await client()).ask(wider)).rejects.toMatchObject({
    code: 'consent_refused',
    message: expect.stringMatching(/work: training.*more disk/) as string,
  });
  expect(readFileSync(join(data, 'consent.json'), 'utf8')).toBe(before);
  expect(hub.peers).toHaveLength(1);
  await (await client()).ask({ ...wider, agreed: true });
  await device.until((state) => state.state === 'ready');
  expect(hub.peers.at(-1)?.device?.consent.kinds).toEqual(['answers', 'training']);
});

test('a pause of its lender stays when the limits change', async () => {
  const { device, client, hub } = await lend();
  await (await client()).ask({ do: 'pause' });
  await (await client()).ask({ do: 'limits', change: { tokensPerSecondMax: 9 } });
  await expect.poll(() => hub.peers.at(-1)?.device?.consent.tokensPerSecondMax).toBe(9);
  await device.until((state) => state.state === 'paused');
});

test('a device that is stopped while it takes up other limits runs no more, and its folder is free', async () => {
  const real = await serveHub();
  const data = await newFolder();
  const sources: ScriptedSignals[] = [];
  const held = Promise.withResolvers<void>();
  const device = await start({
    data,
    name: 'kettle',
    invite: real.invite,
    consent: { ...CONSENT, presence: 'respect' },
    async openSignals() {
      sources.push(createScriptedSignals({ inputIdleMs: 3_600_000 }));
      if (sources.length === 2) await held.promise;
      return sources.at(-1) as ScriptedSignals;
    },
  });
  const changing = device.agent.control.limits({ change: { tokensPerSecondMax: 9 } });
  await expect.poll(() => sources.length).toBe(2);
  const stopping = device.agent.stop();
  held.resolve();
  await Promise.all([changing, stopping]);
  expect(sources.map((source) => source.isClosed())).toEqual([true, true]);
  const again = await start({ data });
  await again.until((state) => state.state === 'ready');
  expect(real.hub.peers.at(-1)?.device?.consent.tokensPerSecondMax).toBe(9);
});

test('a device that is stopped while it leaves has left when it has stopped', async () => {
  const { hub, device, data } = await lend();
  const leaving = device.agent.control.leave({});
  await device.agent.stop();
  expect(device.agent.left()).toEqual(await leaving);
  expect(hub.peers.at(-1)?.got).toContainEqual({ t: 'leave' });
  expect(readdirSync(data)).toHaveLength(1);
});

test('leave: answers end, the hub signs, and nothing is left on the disk but the receipt', async () => {
  const { hub, device, client, order, data } = await lend(200);
  order('att_1', 100);
  await device.until((state) => state.answering === 1);
  const report = (await (await client()).ask({ do: 'leave' })) as LeaveReport;
  expect(await device.agent.ended).toBeUndefined();
  expect(device.agent.left()).toEqual(report);
  expect(report).toMatchObject({ acknowledged: true, answers: 3, tokens: 40, leftAlone: [] });
  expect(report.freedBytes).toBeGreaterThan(7);
  expect(hub.peers[0]?.got.filter(({ t }) => t === 'answer.finished')).toHaveLength(1);
  expect(hub.peers.at(-1)?.got).toContainEqual({ t: 'leave' });
  expect(readdirSync(data).map((name) => join(data, name))).toEqual([report.receipt]);
  expect(statSync(report.receipt).mode & 0o777).toBe(0o600);
  const receipt = JSON.parse(readFileSync(report.receipt, 'utf8')) as Record<string, string>;
  expect(receipt).toMatchObject({ acknowledged: true, device: report.deviceId, countedBy: 'the hub' });
  const whose = {
    territory: hub.territory.publicKey,
    device: new Uint8Array(Buffer.from(receipt.deviceKey ?? '', 'hex')),
  };
  const left = await openLeft(new Uint8Array(Buffer.from(receipt.signed ?? '', 'base64')), whose, nodeCrypto);
  expect(left).toMatchObject({ answers: 3, atMs: report.atMs });
});

test('leave now: running answers go back to the hub at once', async () => {
  const { hub, device, client, order } = await lend(50);
  order('att_1', 1_000);
  await device.until((state) => state.answering === 1);
  await (await client()).ask({ do: 'leave', now: true });
  expect(hub.peers[0]?.got.find(({ t }) => t === 'answer.failed')).toMatchObject({ code: 'device_paused' });
});

test('a device that does not run leaves, too; its receipt may lie elsewhere, and then its folder is gone', async () => {
  const { device, data, hub } = await lend();
  await device.agent.stop();
  const receipt = join(await newFolder(), 'left.json');
  const report = await leaveFolder(data, { receipt });
  expect(report).toMatchObject({ acknowledged: true, receipt });
  expect(existsSync(receipt)).toBe(true);
  expect(existsSync(data)).toBe(false);
  expect(hub.peers.at(-1)?.got).toContainEqual({ t: 'leave' });
  await expect(leaveFolder(data)).rejects.toMatchObject({ code: 'not_found' });
});

test('a receipt that cannot be written, or would go with the device, is refused before anything is done', async () => {
  const { device, data, client } = await lend();
  const places = [join(data, 'nowhere', 'left.json'), join(data, 'models', 'left.json'), join(data, 'device.key.new')];
  for (const receipt of places) {
    await expect((await client()).ask({ do: 'leave', receipt })).rejects.toMatchObject({ code: 'usage' });
  }
  expect(device.agent.state().state).toBe('ready');
  await device.agent.stop();
  await expect(leaveFolder(data, { receipt: places[0] })).rejects.toMatchObject({ code: 'usage' });
  expect(existsSync(join(data, 'device.key'))).toBe(true);
});

test('a receipt beside what is left in the folder is not told as something of others', async () => {
  const { device, data } = await lend();
  await device.agent.stop();
  const receipt = join(data, 'bye.json');
  expect(await leaveFolder(data, { receipt })).toMatchObject({ receipt, leftAlone: [] });
  expect(readdirSync(data)).toEqual(['bye.json']);
});

test('a folder that cannot be removed, as a link or what is mounted there, is left empty', async () => {
  const { device, data } = await lend();
  await device.agent.stop();
  const link = join(await newFolder(), 'data');
  symlinkSync(data, link);
  const receipt = join(await newFolder(), 'left.json');
  expect(await leaveFolder(link, { receipt })).toMatchObject({ acknowledged: true, leftAlone: [] });
  expect(readdirSync(data)).toEqual([]);
});

test('with the hub away it leaves all the same, and the receipt says that nobody acknowledged it', async () => {
  const { device, data, hub, order } = await lend();
  order('att_1');
  await device.until((state) => state.answering === 1);
  await device.until((state) => state.answering === 0);
  await device.agent.stop();
  hub.behave({ signsLeft: false });
  const report = await leaveFolder(data, { boundMs: 300 });
  expect(report).toMatchObject({ acknowledged: false, answers: 1, tokens: 40 });
  expect(report.why).toMatch(/did not acknowledge/);
  expect(readdirSync(data)).toHaveLength(1);
  const receipt = JSON.parse(readFileSync(report.receipt, 'utf8')) as object;
  expect(receipt).toMatchObject({ acknowledged: false, countedBy: 'the device', why: report.why });
});

test('what is not of the device stays where it is, and is named', async () => {
  const { device, data } = await lend();
  await device.agent.stop();
  writeFileSync(join(data, 'holiday.jpg'), 'x');
  const report = await leaveFolder(data, {});
  expect(report.leftAlone).toEqual(['holiday.jpg']);
  expect(existsSync(join(data, 'holiday.jpg'))).toBe(true);
});

/** Leaves, and dies at the moment at which the key is gone, or the receipt is there. */
const KILLED_LEAVER = `
  import { existsSync, readdirSync } from 'node:fs';
  const [, leave, data, at] = process.argv;
  const isThere = at === 'receipt' ? () => !readdirSync(data).some((name) => /^left-.*json$/.test(name))
    : () => existsSync(data + '/device.key');
  const look = () => (isThere() ? setImmediate(look) : process.kill(process.pid, 'SIGKILL'));
  setImmediate(look);
  await (await import(leave)).leaveFolder(data, { boundMs: 300 });`;

async function killLeaving(data: string, at: 'key' | 'receipt'): Promise<void> {
  const words = ['--input-type=module', '-e', KILLED_LEAVER, new URL('leave.ts', import.meta.url).href, data, at];
  const signal = await new Promise((resolve) => {
    spawn(process.execPath, words, { stdio: 'ignore' }).once('close', (_, how) => resolve(how));
  });
  expect(signal).toBe('SIGKILL');
}

test('a leaving that was killed between key and models goes on by leaving again, and tells the same', async () => {
  const { device, data } = await lend();
  await device.agent.stop();
  await killLeaving(data, 'key');
  expect([hasDevice(data), readdirSync(data).includes('models')]).toEqual([true, true]);
  const report = await leaveFolder(data);
  expect(report).toMatchObject({ deviceId: device.agent.deviceId, acknowledged: true, leftAlone: [] });
  expect(readdirSync(data).map((name) => join(data, name))).toEqual([report.receipt]);
  expect(hasDevice(data)).toBe(false);
});

test.each([
  ['away', 'away'],
  ['away', 'there'],
  ['there', 'away'],
])('killed between receipt and key, with the hub %s and then %s, it leaves one receipt', async (first, then) => {
  const { device, data, hub } = await lend();
  await device.agent.stop();
  hub.behave({ signsLeft: first === 'there' });
  await killLeaving(data, 'receipt');
  const written = readdirSync(data).filter((name) => name.startsWith('left-'));
  expect([hasDevice(data), existsSync(join(data, 'device.key')), written.length]).toEqual([true, true, 1]);
  hub.behave({ signsLeft: then === 'there' });
  const report = await leaveFolder(data, { boundMs: 300 });
  expect(readdirSync(data)).toEqual(written);
  expect(report.receipt).toBe(join(data, written[0] ?? ''));
  const acknowledged = [first, then].includes('there');
  expect(report.acknowledged).toBe(acknowledged);
  expect(JSON.parse(readFileSync(report.receipt, 'utf8'))).toMatchObject({ acknowledged });
});

test('a leaving that was interrupted after its receipt is finished by leaving again', async () => {
  const { device, data } = await lend();
  await device.agent.stop();
  for (const name of ['device.json', 'consent.json']) rmSync(join(data, name));
  writeFileSync(join(data, 'left-20261123T033000Z.json'), '{}');
  const report = await leaveFolder(data);
  expect(report).toMatchObject({ acknowledged: false, receipt: join(data, 'left-20261123T033000Z.json') });
  expect(readdirSync(data)).toEqual(['left-20261123T033000Z.json']);
});
