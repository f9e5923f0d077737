/**
 * A device as a process for the end-to-end tests: what `idlewild join` runs, with a real engine in a process below it.
 * It is told everything in one JSON argument, prints a line for each change of its state and one at its end, writes all
 * that it logs to a file, and stops when its stdin ends.
 *
 * Two switches make a device that this machine is not: one whose engine is another build, and so of another numeric
 * class, and one that says far more than it was asked for.
 */
import { appendFileSync } from 'node:fs';
import type { AgentState } from '@idlewild/agent';
import { startNodeAgent, type NodeAgentOptions } from '@idlewild/agent/node';
import type { Engine, EngineHost } from '@idlewild/engine';
import { createNodeEngineHost } from '@idlewild/engine/node';

export interface DeviceProcessOptions extends Pick<
  NodeAgentOptions,
  'data' | 'name' | 'invite' | 'url' | 'consent' | 'limits' | 'machine'
> {
  readonly logFile: string;
  readonly engineBuild?: string;
  /** Characters of each token's text, every one of which is six bytes of JSON. */
  readonly wordyCharacters?: number;
}

export type DeviceLine =
  { readonly state: AgentState } | { readonly ended: { readonly code: string; readonly message: string } | null };

const print = (line: DeviceLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};
const options = JSON.parse(process.argv[2] ?? '{}') as DeviceProcessOptions;
const log: NodeAgentOptions['log'] = (level, message, fields) =>
  appendFileSync(options.logFile, `${JSON.stringify({ level, message, ...fields })}\n`);

function hostOf({ engineBuild, wordyCharacters }: DeviceProcessOptions): EngineHost {
  const real = createNodeEngineHost({ log: (message) => log('info', message) });
  const wordy =
    (engine: Engine): Engine['answer'] =>
    (work, listen) =>
      engine.answer(work, (event) =>
        listen(event.t === 'token' ? { ...event, s: '\u0001'.repeat(wordyCharacters ?? 0) } : event),
      );
  return {
    async load(model, limits, signal) {
      const engine = await real.load(model, limits, signal);
      return {
        ...engine,
        engineBuild: engineBuild ?? engine.engineBuild,
        answer: wordyCharacters === undefined ? engine.answer : wordy(engine),
      };
    },
  };
}

try {
  const agent = await startNodeAgent({
    ...options,
    log,
    engineHost: hostOf(options),
    onState: (state) => print({ state }),
  });
  void agent.ended.then((error) => {
    print({ ended: error === undefined ? null : { code: error.code, message: error.message } });
    process.stdin.destroy();
  });
  process.stdin.resume().once('end', () => void agent.stop());
} catch (error) {
  const { code = 'internal', message } = error as Error & { code?: string };
  print({ ended: { code, message } });
  process.exitCode = 1;
}
