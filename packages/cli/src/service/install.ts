/**
 * Installing, removing and looking at the service that lends this machine, over whichever manager there is. It touches
 * nothing that it did not make, and starts nothing that its lender has not agreed to.
 */
import { join } from 'node:path';
import { IdlewildError } from '@idlewild/protocol';
import { readMarked, type InstalledFacts, type ServiceDescription } from './description.ts';
import { isHeld, joinedFile, lastProblem, type LoggedProblem } from './joined.ts';
import type { Machine, ServiceManager, ServiceState } from './manager.ts';

export interface ServicePorts {
  readonly manager: ServiceManager;
  readonly machine: Machine;
}

/** What is installed; `undefined` where nothing is. Throws `conflict` for a file that somebody else wrote. */
export function installed({ manager, machine }: ServicePorts): InstalledFacts | undefined {
  const text = machine.read(manager.file);
  if (text === undefined) return undefined;
  const facts = readMarked(text);
  if (facts !== undefined) return facts;
  throw new IdlewildError(
    'conflict',
    `${manager.file} was not made by \`idlewild service install\`; move it away first`,
  );
}

/** Throws `conflict` where a device runs from the folder and is not the service that is about to be replaced. */
export async function refuseHeld({ manager, machine }: ServicePorts, data: string): Promise<void> {
  const before = installed({ manager, machine });
  if (before?.data === data && (await manager.state()).running) return;
  if (!isHeld(data)) return;
  throw new IdlewildError(
    'conflict',
    `a device runs from ${data} already, in a terminal or in a way of yours; stop it (Ctrl-C there), then install`,
  );
}

/** Whether a start went well shows within a moment: what is wrong with folder or consent ends it. */
const SETTLE_MS = 300;
const SETTLED_LOOKS = 10;

/** Installs, starts, and looks whether it stays. Throws `internal` with what is in its log. */
export async function install(
  { manager, machine }: ServicePorts,
  service: ServiceDescription,
  facts: InstalledFacts,
): Promise<ServiceState> {
  await manager.install(service, facts);
  let state = await manager.state();
  for (let look = 0; look < SETTLED_LOOKS; look++) {
    if (!state.running) throw ended(manager, facts);
    await machine.wait(SETTLE_MS);
    state = await manager.state();
  }
  return state;
}

function ended(manager: ServiceManager, { data }: InstalledFacts): IdlewildError {
  const why = lastProblem(logOf(data))?.message ?? `${manager.look} say more`;
  return new IdlewildError('internal', `the service is installed, and ended at once: ${why}`);
}

/** Returns what was removed; `undefined` where there was nothing. Throws `conflict` for what is not ours. */
export async function uninstall({ manager, machine }: ServicePorts): Promise<InstalledFacts | undefined> {
  const facts = installed({ manager, machine });
  if (facts === undefined) return undefined;
  await manager.uninstall();
  if (facts.linger) await manager.linger?.turn(false);
  return facts;
}

/**
 * Of a device that has left: there is nothing to start any more. Returns whether there was a service of that folder.
 */
export async function uninstallOf(ports: ServicePorts, data: string): Promise<boolean> {
  if (readMarked(ports.machine.read(ports.manager.file) ?? '')?.data !== data) return false;
  await uninstall(ports);
  return true;
}

export interface ServiceStatus extends ServiceState, InstalledFacts {
  readonly manager: ServiceManager['name'];
  readonly file: string;
  /** What the device's log says of its last end, while it does not run. */
  readonly problem: LoggedProblem | undefined;
  /** What has to be there, and is not. */
  readonly missing: readonly string[];
}

/** Throws `not_found` where nothing is installed. */
export async function statusOf({ manager, machine }: ServicePorts): Promise<ServiceStatus> {
  const facts = installed({ manager, machine });
  if (facts === undefined) {
    throw new IdlewildError('not_found', 'no service is installed for this user; `idlewild service install` makes one');
  }
  const state = await manager.state();
  const needed = [facts.program, facts.script, joinedFile(facts.data)];
  return {
    manager: manager.name,
    file: manager.file,
    ...facts,
    ...state,
    problem: state.running ? undefined : lastProblem(logOf(facts.data)),
    missing: needed.filter((path) => !machine.exists(path)),
  };
}

export const logOf = (data: string): string => join(data, 'device.log');
