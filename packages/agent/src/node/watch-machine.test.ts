import { expect, test } from 'vitest';
import type { Consent } from '@idlewild/protocol';
import { openConsent, signConsent } from '../core/consent.ts';
import type { Signals } from '../core/lending/idleness/port.ts';
import { PRESETS } from '../core/lending/terms/presets.ts';
import type { LendingSettings } from '../core/lending/terms/settings.ts';
import { createScriptedSignals, type ScriptedSignals } from '../testing/scripted-signals.ts';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel, type Fixture } from './testing/fixture.ts';
import { watchMachine, type Watch } from './watch-machine.ts';
import { exampleAnswer, exampleWork } from '../testing/example-answer.ts';

const CALM: Signals = { inputIdleMs: 3_600_000, otherCpu: 0.01, celsius: 45, onBattery: false, programs: [] };

interface Watched extends Fixture {
  readonly watch: Watch;
  readonly source: ScriptedSignals;
  /** How often the signals of this machine were asked for, and with which programs. */
  readonly opened: (readonly string[])[];
  readonly told: () => (readonly string[] | undefined)[];
}

/** A device whose one model is warm, watched as `startNodeAgent` does it. */
async function createWatched(
  consents: Partial<Consent>,
  {
    signals = CALM,
    lending,
    usedWattHours,
  }: { signals?: Signals; lending?: LendingSettings; usedWattHours?: number } = {},
): Promise<Watched> {
  const watching: { watch?: Watch } = {};
  const fixture = await createFixture({ consents, onState: (state) => watching.watch?.stateChanged(state) });
  const { agent, clock, hub, identity, logged, store, got } = fixture;
  const source = createScriptedSignals(signals);
  const opened: (readonly string[])[] = [];
  const signed = await signConsent(
    { territories: [hub.territory.publicKey], kinds: ['answers'], presence: 'ignore', ...consents },
    identity,
    clock,
    nodeCrypto,
  );
  const watch = await watchMachine({
    clock,
    agent,
    cores: 8,
    consent: await openConsent(signed, identity.publicKey, nodeCrypto),
    lending,
    openSignals(programs) {
      opened.push(programs);
      return Promise.resolve(source);
    },
    ...(usedWattHours === undefined ? {} : { wattHoursToday: () => usedWattHours }),
    log: (_level, message) => logged.push(message),
  });
  watching.watch = watch;
  await fixture.startWith(await putModel(store, 'weights'));
  return { ...fixture, watch, source, opened, told: () => got('heartbeat').map(({ status }) => status?.pauseReasons) };
}

const nameOf = ({ agent }: Watched): readonly string[] => agent.state().pauses.map(({ name }) => name);

/** The hub sends it something that takes a while. */
function answer({ agent, peer }: Watched): void {
  const model = agent.state().models[0]?.cid ?? '';
  peer().send(exampleAnswer(model, { work: exampleWork({ tokensMax: 1_000 }) }));
}

test('a device that respects presence stops at a touch, tells its hub, and goes on when nobody is there', async () => {
  const device = await createWatched({ presence: 'respect' });
  const { agent, clock, source, told, watch } = device;
  expect(agent.state().state).toBe('ready');
  source.touch();
  expect(nameOf(device)).toEqual(['input']);
  await clock.advance(10);
  expect(told().at(-1)).toEqual(['a person is using this machine']);
  source.say({ inputIdleMs: 60_000 });
  await clock.advance(1_000);
  // The lender reads what is seen now; the hub is not told again.
  const { pauses } = watch.facts(agent.state());
  expect(pauses).toMatchObject([{ text: 'somebody used this machine 60 s ago; it works again in 2 min' }]);
  expect(told().at(-1)).toEqual(['a person is using this machine']);
  source.say({ inputIdleMs: 180_000 });
  await clock.advance(3_000);
  expect(agent.state().state).toBe('ready');
});

test('a device whose lender is there from the start is paused before it meets its hub', async () => {
  const device = await createWatched({ presence: 'respect' }, { signals: { ...CALM, inputIdleMs: 5_000 } });
  expect(device.hub.peers[0]?.device?.proof.status).toMatchObject({ state: 'paused' });
  expect(device.engineHost.engines.size).toBe(0);
});

test('a device whose consent says ignore goes on, and its machine is not even looked at', async () => {
  const device = await createWatched({ presence: 'ignore' }, { signals: { inputIdleMs: 0, onBattery: true } });
  const { agent, clock, opened, source, watch } = device;
  source.touch();
  await clock.advance(10_000);
  expect(agent.state().state).toBe('ready');
  expect(opened).toEqual([]);
  expect(watch.facts(agent.state())).toEqual({ pauses: [] });
});

test('what the lender wrote in lending.json holds, and of its programs only their names are asked for', async () => {
  const lending: LendingSettings = { v: 1, preset: 'balanced', rules: { onBattery: false, programs: ['doom'] } };
  const device = await createWatched({ presence: 'respect' }, { lending });
  const { clock, opened, source, told } = device;
  expect(opened).toEqual([['doom']]);
  source.say({ onBattery: true });
  await clock.advance(2_000);
  expect(nameOf(device)).toEqual([]);
  source.say({ programs: ['doom'] });
  await clock.advance(2_000);
  expect(device.agent.state().pauses).toMatchObject([{ name: 'programs', text: 'doom runs here' }]);
  expect(JSON.stringify(told())).not.toContain('doom');
});

test('a dedicated machine ignores people and load, and still stops when it suffers', async () => {
  const lending: LendingSettings = { v: 1, preset: 'dedicated', rules: {} };
  expect(PRESETS.dedicated.consent.presence).toBe('ignore');
  const device = await createWatched({ presence: 'ignore' }, { lending });
  const { clock, source } = device;
  source.touch();
  source.say({ otherCpu: 1, audio: true, fullScreen: true });
  await clock.advance(60_000);
  expect(nameOf(device)).toEqual([]);
  source.say({ celsius: 101 });
  await clock.advance(3_000);
  expect(nameOf(device)).toEqual(['temperature']);
});

test('warmth reaches the engines as a smaller share before anything is paused', async () => {
  const device = await createWatched({ presence: 'ignore', celsiusMax: 80 });
  device.source.say({ celsius: 76 });
  await device.clock.advance(60_000);
  expect(nameOf(device)).toEqual([]);
  expect(device.agent.state().share).toBeCloseTo(0.55, 1);
});

test('a program that keeps one processor of eight busy pauses, unless the lender moved the line', async () => {
  const lending = (rules: LendingSettings['rules']): LendingSettings => ({ v: 1, preset: 'balanced', rules });
  const device = await createWatched({ presence: 'respect' });
  const raised = await createWatched({ presence: 'respect' }, { lending: lending({ otherCpuMax: 0.25 }) });
  const none = await createWatched({ presence: 'respect' }, { lending: lending({ otherCoresMax: null }) });
  const ofBoth = await createWatched({ presence: 'ignore' });
  for (const { source, clock } of [device, raised, none, ofBoth]) {
    source.say({ otherCpu: 1 / 8 });
    await clock.advance(60_000);
  }
  expect([device, raised, none, ofBoth].map(nameOf)).toEqual([['load'], [], [], []]);
  const [pause] = device.watch.facts(device.agent.state()).pauses;
  expect(pause?.text).toBe('other programs use 13 % of the processors; the line is 9 %, and it works below 6 %');
});

test('another program halts an engine that answers at once, and the hub hears of it once it is believed', async () => {
  const device = await createWatched({ presence: 'respect' });
  const { clock, source, told, agent, engineHost } = device;
  const engine = engineHost.engines.get(agent.state().models[0]?.cid ?? '');
  answer(device);
  await clock.advance(100);
  source.say({ otherCpu: 0.2 });
  await clock.advance(150);
  expect(engine?.isSuspended()).toBe(true);
  expect(agent.state()).toMatchObject({ state: 'ready', answering: 1 });
  await clock.advance(500);
  expect(agent.state()).toMatchObject({ answering: 0, pauses: [{ name: 'load' }] });
  expect(told().at(-1)).toEqual(['other programs need this machine']);
  expect(engine?.isSuspended()).toBe(true);
});

test('what the consent says of energy holds whatever the rules are', async () => {
  const device = await createWatched({ presence: 'ignore', wattHoursPerDayMax: 50 }, { usedWattHours: 51 });
  expect(nameOf(device)).toEqual(['energy']);
});

test('while it answers its machine is looked at twenty times a second', async () => {
  const device = await createWatched({ presence: 'respect' });
  const { clock, source, agent } = device;
  answer(device);
  await clock.advance(100);
  const before = source.readings();
  await clock.advance(200);
  expect(source.readings() - before).toBe(4);
  expect(agent.state().answering).toBe(1);
  source.touch();
  await clock.advance(10);
  expect(agent.state().answering).toBe(0);
});
