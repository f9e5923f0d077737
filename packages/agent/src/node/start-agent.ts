/**
 * A device on Node, wired: data folder, identity, consent, store, engines and the way to the hub.
 *
 * Everything that it opens is let go of when the agent ends, or cannot be started. Where its hub is, `settle.ts` finds
 * out; what becomes of the device while it is lent is `lent-device.ts`.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { IdlewildError, asIdlewildError, idOfKey, type Consent, type DeviceProfile } from '@idlewild/protocol';
import { createDiskBlobStore, nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { EngineHost } from '@idlewild/engine';
import { createNodeEngineHost, isolationHere, type Isolation, type Machine } from '@idlewild/engine/node';
import packageJson from '../../package.json' with { type: 'json' };
import { createAgent, type AgentState, type LendingLimits, type Log } from '../core/agent.ts';
import { openConsent, type ConsentChoice } from '../core/consent.ts';
import { openDataFolder, type DataFolder, type DeviceSettings } from './data-folder.ts';
import { holdHere, type Holding, type Lending } from './holding/holding.ts';
import { createHttpSources } from './http-source.ts';
import { AGENT_LIMITS } from '../core/limits.ts';
import { CPU_SHARE, cpuShareOf } from '../core/lending/terms/cpu-share.ts';
import type { Energy } from '../core/lending/energy/energy.ts';
import type { SignalSource } from '../core/lending/idleness/port.ts';
import type { LendingSettings } from '../core/lending/terms/settings.ts';
import { NODE_LIMITS } from './limits.ts';
import { readLending, writeLending } from './lending-file.ts';
import { lendDevice, type Hooks, type LentDevice, type StartedAgent } from './lent-device.ts';
import { energyHere } from './power/energy-here.ts';
import type { DeviceEnergy } from './power/open-energy.ts';
import { localTimeOf } from './local-time.ts';
import { measureLent } from './measure-lent.ts';
import { createNodeModelFolders } from './model-folders.ts';
import { addressOf, createNotes, settle, type Joining, type Settled } from './settle.ts';
import { openSignals } from './signals/open-signals.ts';
import { idleRulesFor, watchMachine, type Watch } from './watch-machine.ts';
import { createWsTransport } from './ws-transport.ts';

/** What the lender allows in the territory of the invite. */
export type LenderChoice = Omit<ConsentChoice, 'territories'>;

export interface NodeAgentOptions extends Joining {
  /** The data folder; made if need be. */
  readonly data: string;
  /** Replaces the kept consent; needed at the first start. */
  readonly consent?: LenderChoice | undefined;
  /** Replaces the kept settings, which are the lender's own and never sent. */
  readonly lending?: LendingSettings | undefined;
  readonly limits?: Partial<LendingLimits> | undefined;
  /** What `measureMachine` said, where several devices of one machine share a measurement. */
  readonly machine?: Machine | undefined;
  readonly engineHost?: EngineHost | undefined;
  /** What tells of this machine, if not its own system. */
  openSignals?(programs: readonly string[]): Promise<SignalSource>;
  readonly log: Log;
  onState?(state: AgentState): void;
  /** At the start, where the device has been led elsewhere since its lender told it of `from`; and when it is. */
  onMoved?(hub: { readonly url: string; readonly from: string }): void;
}

/**
 * Starts a device. Throws `data_locked`, `data_corrupt`, `join_token_invalid`, `usage` when something needed is
 * missing, and `engine_failed` when the machine cannot be measured. What goes wrong later is in `state()` and
 * `ended`.
 */
export async function startNodeAgent(options: NodeAgentOptions): Promise<LentDevice> {
  const folder = await openDataFolder(options.data, PORTS);
  let given = options;
  try {
    return await lendDevice({
      ...PORTS,
      folder,
      log: options.log,
      onState: (state) => options.onState?.(state),
      start(hooks) {
        const starting = startIn(folder, { ...given, ...hooks });
        // What a person gave is kept in the folder from now on, where they may have changed it by the next time.
        given = { ...given, ...KEPT_IN_FOLDER };
        return starting;
      },
    });
  } catch (error) {
    folder.close();
    throw error;
  }
}

const PORTS = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto } as const;

const KEPT_IN_FOLDER = {
  name: undefined,
  invite: undefined,
  url: undefined,
  pin: undefined,
  consent: undefined,
  lending: undefined,
} satisfies Partial<NodeAgentOptions>;

async function startIn(folder: DataFolder, options: NodeAgentOptions & Hooks): Promise<StartedAgent> {
  const settled = await settle(folder, options);
  const consent = await consentFor(folder, options, settled.settings.territory);
  if (options.lending !== undefined) await writeLending(folder.folder, options.lending);
  const ground = await openGround(folder, consent, options);
  try {
    return await startOn(ground, settled, folder, options);
  } catch (error) {
    await ground.close();
    throw error;
  }
}

/** What an agent stands on while it runs: what is lent of this machine, held and counted. */
interface Ground {
  /** As its lender signed it, and opened. */
  readonly consent: Uint8Array;
  readonly lent: Consent;
  readonly lending: LendingSettings | undefined;
  readonly machine: Machine;
  readonly limits: LendingLimits;
  readonly store: Awaited<ReturnType<typeof createDiskBlobStore>>;
  readonly holding: Holding;
  readonly energy: DeviceEnergy;
  close(): Promise<void>;
}

async function openGround(
  { folder, identity }: DataFolder,
  consent: Uint8Array,
  options: NodeAgentOptions & Hooks,
): Promise<Ground> {
  const { log } = options;
  const lending = await readLending(folder);
  const lent = await openConsent(consent, identity.publicKey, nodeCrypto);
  const { diskBytesMax: quotaBytes = AGENT_LIMITS.diskBytes } = lent;
  const [store, machine] = await Promise.all([
    createDiskBlobStore({ folder: join(folder, 'blobs'), quotaBytes, crypto: nodeCrypto }),
    options.machine ?? measuredHere(lent, lending, options),
  ]);
  const limits = { ...limitsOf(lent, machine), ...options.limits };
  const { cores } = machine;
  const onDrawn = (drawn: Energy): void => options.onDrawn(drawn);
  const energy = await energyHere({ folder, clock: systemClock, cores, lending, log, onDrawn });
  const holding = holdHere(lendingOf(lent, machine, limits), (message) => log('info', message));
  return {
    ...{ consent, lent, lending, machine, limits, store, holding, energy },
    close() {
      holding.close();
      return energy.close();
    },
  };
}

async function startOn(
  { consent, lent, lending, machine, limits, store, holding, energy, close }: Ground,
  { settings, joinToken, byInvite }: Settled,
  folder: DataFolder,
  options: NodeAgentOptions & Hooks,
): Promise<StartedAgent> {
  const { log } = options;
  const { territory, name, movedFrom } = settings;
  const { downloadBytesPerSecondMax: bytesPerSecondMax } = lent;
  const told = (message: string): void => log('info', message);
  const territoryId = await idOfKey('ter', territory, nodeCrypto);
  let sources = createHttpSources({ ...sourcesAt(settings), bytesPerSecondMax });
  const notes = createNotes(folder, settings, log);
  const made: { watch?: Watch; isolation?: Isolation } = {};
  const agent = await createAgent({
    ...PORTS,
    store,
    log,
    identity: folder.identity,
    consent,
    name,
    freeMemoryBytes: () => process.availableMemory(),
    localTime: () => localTimeOf(systemClock.now()),
    transport: createWsTransport({ clock: systemClock }),
    engineHost: options.engineHost ?? createNodeEngineHost({ ...holding.process, log: told, onCpu: energy.meter.used }),
    energy: energy.meter,
    folders: createNodeModelFolders({ folder: join(folder.folder, 'models'), pathOf: (root) => store.pathOf(root) }),
    sources: (baseUrl, ticket) => sources.sourceFor(baseUrl, ticket),
    profile: { ...machine, agentVersion: packageJson.version } satisfies DeviceProfile,
    hub: addressOf(settings, joinToken, byInvite),
    limits,
    onState(state) {
      made.watch?.stateChanged(state);
      options.onState(state);
    },
    onWork: (work) => options.onWork(work),
    onEnrolled: () => notes.change({ enrolled: true }),
    onMoved(place) {
      const was = notes.settings();
      notes.moved(place);
      sources.close();
      sources = createHttpSources({ ...sourcesAt(notes.settings()), bytesPerSecondMax });
      options.onMoved?.({ url: place.url, from: was.url });
    },
  });
  if (movedFrom !== undefined) options.onMoved?.({ url: settings.url, from: movedFrom });
  const watch = await watchMachine({
    ...options,
    clock: systemClock,
    agent,
    cores: machine.cores,
    consent: lent,
    lending,
    wattHoursToday: energy.wattHoursToday,
  });
  made.watch = watch;
  const released = agent.ended.then(async () => {
    watch.stop();
    sources.close();
    // The folder is another process's as soon as it is unlocked.
    await close();
    await notes.written();
    return agent.ended;
  });
  const { preset } = { ...lending };
  const facts: StartedAgent['facts'] = () => ({
    ...watch.facts(agent.state()),
    territory: territoryId,
    hub: notes.settings().url,
    limits: holding.limitsHere(),
    energy: energy.today(),
    ...(made.isolation === undefined ? {} : { isolation: made.isolation }),
    ...(preset === undefined ? {} : { preset }),
  });
  agent.start();
  // Engines that come from elsewhere have walls of their own, or none.
  if (options.engineHost === undefined) void tellIsolation(made, log);
  return {
    facts,
    agent: {
      ...agent,
      ended: released,
      async stop(how) {
        await agent.stop(how);
        await released;
      },
    },
  };
}

/** Trying the walls takes a while, and nothing waits for it: engines find out by themselves before they start. */
async function tellIsolation(made: { isolation?: Isolation }, log: Log): Promise<void> {
  try {
    made.isolation = await isolationHere();
  } catch (thrown) {
    log('warn', asIdlewildError(thrown, 'trying what walls an engine has here').message);
  }
}

function measuredHere(
  consent: Consent,
  lending: LendingSettings | undefined,
  { openSignals: open, log }: NodeAgentOptions,
): Promise<Machine> {
  const clock = systemClock;
  return measureLent({
    consent,
    idleRules: idleRulesFor({ consent, lending, cores: availableParallelism() }),
    clock,
    openSignals: (programs) => open?.(programs) ?? openSignals({ clock, programs: () => programs }),
    log,
  });
}

/** What the lender agreed to, on this machine. */
const limitsOf = (consent: Consent, { cores, memoryBytes }: Machine): LendingLimits => ({
  ...cpuShareOf(consent.cpuShareMax ?? CPU_SHARE, cores),
  slotsMax: NODE_LIMITS.slotsMax,
  memoryBytesMax: Math.min(memoryBytes, consent.memoryBytesMax ?? Math.floor(memoryBytes / 2)),
});

/** The same, as it is told in words. */
const lendingOf = (consent: Consent, { cores }: Machine, limits: LendingLimits): Lending => ({
  limits,
  cores,
  diskBytes: consent.diskBytesMax ?? AGENT_LIMITS.diskBytes,
  gpu: consent.gpu,
  downloadBytesPerSecond: consent.downloadBytesPerSecondMax,
  uploadBytesPerSecond: consent.uploadBytesPerSecondMax ?? AGENT_LIMITS.uploadBytesPerSecond,
});

const sourcesAt = ({ url, pin }: DeviceSettings): Parameters<typeof createHttpSources>[0] => ({
  hubUrl: url,
  spkiPin: pin,
});

async function consentFor(
  folder: DataFolder,
  { consent }: NodeAgentOptions,
  territory: Uint8Array,
): Promise<Uint8Array> {
  if (consent !== undefined) return folder.giveConsent({ ...consent, territories: [territory] });
  const kept = await folder.consent();
  if (kept !== undefined) return kept;
  throw new IdlewildError('usage', 'the lender of this device has not consented to anything yet');
}
