/**
 * A device in its folder for as long as it is lent: what its lender may do with it while it runs, and what it writes
 * down of itself.
 *
 *   lent ──limits──► drained, and lent again by the new consent ──leave──► drained, gone
 *
 * The agent inside is replaced when the consent changes, for a consent is read once, at its start; running answers end
 * first. The folder stays held all the time, and the lender's own pause goes with it. What an agent does and when it
 * pauses by itself is not known here.
 */
import { IdlewildError, asIdlewildError, type Clock, type Timer } from '@idlewild/protocol';
import type { Agent, AgentState, Log } from '../core/agent.ts';
import type { LeaveReport, LendingControl, LendingStatus } from '../core/lending/control/control.ts';
import { CONTROL_LIMITS } from '../core/lending/control/limits.ts';
import { createLenderPause, type LenderPause } from '../core/lending/control/lender-pause.ts';
import type { Energy } from '../core/lending/energy/energy.ts';
import type { WorkDone } from '../core/lending/control/work.ts';
import { serveControl, type ControlServer } from './control.ts';
import type { DataFolder } from './data-folder.ts';
import { openHistory, type History } from './history.ts';
import { readConsent } from './kept-consent.ts';
import { keepPause, readKeptPause } from './kept-pause.ts';
import { checkReceipt, leaveWith } from './leave.ts';
import { changeLimits } from './change-limits.ts';

export interface LentDevice extends Agent {
  readonly control: LendingControl;
  /** What became of it, once it has left for good. */
  left(): LeaveReport | undefined;
}

/** What is the same for as long as one agent runs. */
export interface StartedAgent {
  readonly agent: Agent;
  /** At this moment. */
  facts(): Pick<
    LendingStatus,
    'territory' | 'hub' | 'limits' | 'signals' | 'cooled' | 'isolation' | 'preset' | 'energy'
  > & {
    /** As they are seen now, where that is more than what was told. */
    readonly pauses?: LendingStatus['pauses'];
  };
}

export interface Hooks {
  onState(state: AgentState): void;
  onWork(work: WorkDone): void;
  onDrawn(energy: Energy): void;
}

export interface LentDeviceDeps {
  readonly folder: DataFolder;
  readonly clock: Clock;
  readonly log: Log;
  /** Starts an agent by what the folder holds; the folder stays held when it ends. */
  start(hooks: Hooks): Promise<StartedAgent>;
  onState(state: AgentState): void;
}

/** What the functions below share. */
interface Device {
  readonly deps: LentDeviceDeps;
  start(): Promise<StartedAgent>;
  readonly startedAtMs: number;
  readonly history: History;
  readonly watchers: Set<(status: LendingStatus) => void>;
  /** Of what the lender agreed to, for people. */
  consent: Readonly<Record<string, unknown>>;
  started: StartedAgent;
  pause: LenderPause;
  server: ControlServer | undefined;
  telling: Timer | undefined;
  ticking: Timer | undefined;
  /** An agent is replaced: the end of the one before is not the device's. */
  replacing: boolean;
  /** One thing at a time; `over` resolves when it is done, however it ended. */
  busy: { readonly what: string; readonly over: Promise<void> } | undefined;
  stopping: boolean;
  left: LeaveReport | undefined;
  closing: Promise<void> | undefined;
  finish(error: IdlewildError | undefined): void;
}

/** Throws what `start` throws; the folder is the caller's then, and this device's afterwards. */
export async function lendDevice(deps: LentDeviceDeps): Promise<LentDevice> {
  const { folder, clock, log } = deps;
  const kept = await readKeptPause(folder.folder);
  const ended = Promise.withResolvers<IdlewildError | undefined>();
  let territory = '';
  const history = await openHistory({ folder: folder.folder, clock, log, territory: () => territory });
  const made: { device?: Device } = {};
  const hooks: Hooks = {
    onState(state) {
      history.state(state);
      deps.onState(state);
      if (made.device !== undefined) tellSoon(made.device);
    },
    onWork: (work) => history.done(work),
    onDrawn: (energy) => history.drawn(energy),
  };
  const start = (): Promise<StartedAgent> => deps.start(hooks);
  const started = await start().catch(async (error: unknown) => {
    await history.close();
    throw error;
  });
  // Before anything can have come from a hub.
  const pause = createLenderPause({
    clock,
    kept,
    device: {
      pause: (name, text) => (made.device?.started ?? started).agent.pause(name, text),
      resume: (name) => (made.device?.started ?? started).agent.resume(name),
    },
    keep: (each) => keepPause(folder.folder, each),
    onFailed: (error) => log('warn', asIdlewildError(error, 'noting that the pause is over').message),
  });
  ({ territory } = started.facts());
  const device: Device = {
    deps,
    start,
    startedAtMs: clock.now(),
    history,
    watchers: new Set(),
    consent: {},
    started,
    pause,
    server: undefined,
    telling: undefined,
    ticking: undefined,
    replacing: false,
    busy: undefined,
    stopping: false,
    left: undefined,
    closing: undefined,
    finish: ended.resolve,
  };
  made.device = device;
  try {
    device.consent = await readableConsent(folder);
    return await opened(device, ended.promise);
  } catch (error) {
    await started.agent.stop();
    await close(device, undefined);
    throw error;
  }
}

async function opened(device: Device, ended: Promise<IdlewildError | undefined>): Promise<LentDevice> {
  const { folder, log } = device.deps;
  const control = controlOf(device);
  follow(device);
  // A disk that makes no sockets is no reason to lend nothing: keys and signals work all the same.
  device.server = await serveControl(folder.folder, control).catch((thrown: unknown) => {
    log('warn', asIdlewildError(thrown, 'opening the way for `idlewild lending`').message);
    return undefined;
  });
  const agent = (): Agent => device.started.agent;
  return {
    deviceId: agent().deviceId,
    ended,
    control,
    left: () => device.left,
    start: () => agent().start(),
    async stop(how) {
      device.stopping = true;
      await agent().stop(how);
      // An agent that was about to take the place of this one, or a leaving, has the folder until it is over.
      await device.busy?.over;
      await close(device, undefined);
    },
    pause: (name, text, told) => agent().pause(name, text, told),
    resume: (name) => agent().resume(name),
    halt: (is) => agent().halt(is),
    throttle: (share) => agent().throttle(share),
    idle: (isIdle) => agent().idle(isIdle),
    state: () => agent().state(),
  };
}

/** When the agent that runs now ends, so does the device, unless another takes its place. */
function follow(device: Device): void {
  const { agent } = device.started;
  void agent.ended.then((error) => {
    if (agent === device.started.agent && !device.replacing) void close(device, error);
  });
}

function close(device: Device, error: IdlewildError | undefined): Promise<void> {
  device.closing ??= (async () => {
    device.pause.stop();
    device.telling?.cancel();
    device.ticking?.cancel();
    if (device.left === undefined) await device.history.close();
    await device.server?.close();
    device.deps.folder.close();
    device.finish(error);
  })();
  return device.closing;
}

function controlOf(device: Device): LendingControl {
  return {
    status: () => statusOf(device),
    watch(listen) {
      const hear = (status: LendingStatus): void => listen(status);
      device.watchers.add(hear);
      hear(statusOf(device));
      tick(device);
      return {
        stop() {
          device.watchers.delete(hear);
          if (device.watchers.size === 0) device.ticking?.cancel();
        },
      };
    },
    async pause({ forMs }) {
      const keeping = device.pause.pause(forMs);
      tellSoon(device);
      return keeping;
    },
    async resume() {
      const keeping = device.pause.resume();
      tellSoon(device);
      await keeping;
    },
    limits: (order) =>
      alone(device, 'limits are being changed', async () => {
        const { folder } = device.deps;
        if (!(await changeLimits(folder, order))) return;
        device.consent = await readableConsent(folder);
        await startAnew(device);
      }),
    leave: (order) =>
      alone(device, 'it is leaving', async () => {
        checkReceipt(device.deps.folder.folder, order);
        device.replacing = true;
        try {
          await device.started.agent.stop({ drain: order.now !== true });
          device.pause.stop();
          await device.history.close();
          device.left = await leaveWith(device.deps.folder, order);
          return device.left;
        } finally {
          // Nothing runs here any more; whoever asked is answered before the way to here is closed.
          void close(device, undefined);
        }
      }),
  };
}

async function alone<Result>(device: Device, what: string, act: () => Promise<Result>): Promise<Result> {
  const refusal = device.busy?.what ?? (device.stopping || device.closing !== undefined ? 'it is stopping' : undefined);
  if (refusal !== undefined) throw new IdlewildError('conflict', `${refusal}; try again in a moment`);
  const { promise: over, resolve } = Promise.withResolvers<void>();
  device.busy = { what, over };
  try {
    return await act();
  } finally {
    device.busy = undefined;
    resolve();
  }
}

/** Running answers end, and what comes next is held against what the folder says now. */
async function startAnew(device: Device): Promise<void> {
  const { pause } = device;
  device.replacing = true;
  try {
    await device.started.agent.stop({ drain: true });
    if (device.stopping) return;
    device.started = await device.start();
    if (device.stopping) return await device.started.agent.stop();
    if (pause.now() !== undefined) pause.hold();
    follow(device);
  } catch (thrown) {
    const error = asIdlewildError(thrown, 'starting anew with other limits');
    void close(device, error);
    throw error;
  } finally {
    device.replacing = false;
  }
  tellSoon(device);
}

function statusOf({ started, history, pause, consent, startedAtMs }: Device): LendingStatus {
  const { deviceId, name, community, state, running, models, tokensPerSecond, pauses, problem } = started.agent.state();
  const paused = pause.now();
  return {
    deviceId,
    name,
    ...(community === undefined ? {} : { community }),
    state,
    startedAtMs,
    running,
    models,
    tokensPerSecond,
    pauses,
    ...(paused === undefined ? {} : { paused }),
    today: history.today(),
    consent,
    ...(problem === undefined ? {} : { problem }),
    ...started.facts(),
  };
}

/** Those who watch hear what changes together as one. */
function tellSoon(device: Device): void {
  if (device.watchers.size === 0 || device.closing !== undefined) return;
  device.telling ??= device.deps.clock.after(CONTROL_LIMITS.watchMs, () => {
    device.telling = undefined;
    const status = statusOf(device);
    for (const watcher of device.watchers) watcher(status);
  });
}

/** What is counted grows without a change of state. */
function tick(device: Device): void {
  device.ticking?.cancel();
  device.ticking = device.deps.clock.after(CONTROL_LIMITS.watchTickMs, () => {
    tellSoon(device);
    tick(device);
  });
}

const readableConsent = async ({ folder }: DataFolder): Promise<Readonly<Record<string, unknown>>> =>
  (await readConsent(folder))?.readable ?? {};
