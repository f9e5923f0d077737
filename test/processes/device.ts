/**
 * A device as a process for the end-to-end tests: what `idlewild join` runs, with a real engine in a process below it.
 * It is told everything in one JSON argument, prints a line for each change of its state and one at its end, writes all
 * that it logs to a file, and stops when its stdin ends. SIGUSR2 pauses and resumes it, as of the command.
 *
 * Three switches make a device that this machine is not: one whose engine is another build, and so of another numeric
 * class, one that says far more than it was asked for, and one that gives others garbage for blobs.
 */
import { appendFileSync } from 'node:fs';
import type { AgentState } from '@idlewild/agent';
import { startNodeAgent, type NodeAgentOptions } from '@idlewild/agent/node';
import type { Engine, EngineHost } from '@idlewild/engine';
import { createNodeEngineHost } from '@idlewild/engine/node';
import { decodeCbor, encodeFrame, type ToHub } from '@idlewild/protocol';
import { WebSocket } from 'ws';

export interface DeviceProcessOptions extends Pick<
  NodeAgentOptions,
  'data' | 'name' | 'invite' | 'url' | 'consent' | 'lending' | 'limits' | 'machine'
> {
  readonly logFile: string;
  readonly engineBuild?: string;
  /** Characters of each token's text, every one of which is six bytes of JSON. */
  readonly wordyCharacters?: number;
  readonly givesGarbage?: boolean;
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

/** An honest agent gives only what it has hashed: the lie is told on its way out. */
function garbleBlobs(): void {
  const sendHonestly = WebSocket.prototype.send as (this: WebSocket, frame: Uint8Array) => void;
  WebSocket.prototype.send = function send(this: WebSocket, frame: Uint8Array): void {
    const message = decodeCbor(frame, 'an own frame') as ToHub;
    const isPart = message.t === 'blob.have' && message.bytes !== undefined;
    sendHonestly.call(this, isPart ? encodeFrame({ ...message, bytes: message.bytes?.toReversed() }) : frame);
  };
}

if (options.givesGarbage === true) garbleBlobs();
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
  process.on('SIGUSR2', () => {
    if (agent.state().pauses.some(({ name }) => name === 'lender')) agent.resume('lender');
    else agent.pause('lender', 'its lender paused it');
  });
} catch (error) {
  const { code = 'internal', message } = error as Error & { code?: string };
  print({ ended: { code, message } });
  process.exitCode = 1;
}
