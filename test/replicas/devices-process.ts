/**
 * Many devices in one process: real agents over real sockets, each in a folder of its own, with engines that are
 * arithmetic instead of a model. So whole answers are known beforehand, and what two cores are busy with is the hubs.
 *
 * It is told everything in one JSON argument, prints a line for each change of a device's state, and stops when its
 * stdin ends.
 */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentState } from '@idlewild/agent';
import { startNodeAgent } from '@idlewild/agent/node';
import { createSimulatedEngineHost } from '@idlewild/agent/testing';
import type { EngineHost } from '@idlewild/engine';
import type { Machine } from '@idlewild/engine/node';
import { systemClock } from '@idlewild/protocol/node';

export interface DevicesTask {
  readonly folder: string;
  readonly url: string;
  /** `url`: where it dials, if not where all do. */
  readonly devices: readonly { readonly name: string; readonly invite: string; readonly url?: string }[];
  readonly slots: number;
  /** Of one device, all its streams together. */
  readonly tokensPerSecond: number;
  /** Each token's text is the time at which it was made, by the clock that all processes of a machine share. */
  readonly stamps?: boolean;
  /** They say that they can do all that a sealed prompt may ask for. */
  readonly sealed?: boolean;
}

/** One line on stdout: how a device is now. */
export interface DevicesLine {
  readonly name: string;
  readonly state: AgentState['state'];
  readonly warm: number;
  readonly problem?: string;
}

/** What such an engine would be measured to be. */
const MACHINE: Machine = {
  platform: process.platform,
  arch: process.arch,
  cores: 1,
  memoryBytes: 2 ** 31,
  gflops: 10,
  engineBuild: 'simulated-1',
  fingerprint: 'plain',
  providers: [{ name: 'cpu', works: true }],
};

const SEALABLE: Machine['features'] = ['form', 'tools', 'logprobs', 'bias'];

const task = JSON.parse(process.argv[2] ?? '{}') as DevicesTask;
const print = (line: DevicesLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};
mkdirSync(task.folder, { recursive: true });
const logFile = join(task.folder, 'devices.log');

function engineHost(): EngineHost {
  const host = createSimulatedEngineHost({
    clock: systemClock,
    tokensPerSecond: task.tokensPerSecond,
    prefillTokensPerSecond: 10_000,
    slots: task.slots,
  });
  if (task.stamps !== true) return host;
  return {
    async load(model, limits, signal) {
      const engine = await host.load(model, limits, signal);
      const stamp = (): string => ` ${process.hrtime.bigint()}`;
      return {
        ...engine,
        answer: (work, listen) =>
          engine.answer(work, (event) => listen(event.t === 'token' ? { ...event, s: stamp() } : event)),
      };
    },
  };
}

const agents = await Promise.all(
  task.devices.map(({ name, invite, url = task.url }) => {
    const told = { state: '', warm: -1 };
    return startNodeAgent({
      data: join(task.folder, name),
      name,
      invite,
      url,
      machine: task.sealed === true ? { ...MACHINE, features: SEALABLE } : MACHINE,
      consent: { kinds: ['answers'], presence: 'ignore' },
      limits: { threads: 1, slotsMax: task.slots },
      engineHost: engineHost(),
      log: (level, message, fields) => {
        if (level === 'debug') return;
        appendFileSync(
          logFile,
          `${JSON.stringify({ at: new Date().toISOString(), name, level, message, ...fields })}\n`,
        );
      },
      onState({ state, models, problem }) {
        const warm = models.filter((model) => model.state === 'warm').length;
        if (told.state === state && told.warm === warm) return;
        Object.assign(told, { state, warm });
        print({ name, state, warm, ...(problem === undefined ? {} : { problem: problem.code }) });
      },
    });
  }),
);
process.stdin.resume().once('end', () => void Promise.all(agents.map((agent) => agent.stop())));
