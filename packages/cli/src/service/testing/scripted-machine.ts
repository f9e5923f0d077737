/** A machine in memory: files that it keeps, commands that a script answers, and what was called in its order. */
import type { Machine, Ran } from '../manager.ts';

export interface ScriptedMachine extends Machine {
  readonly called: readonly string[];
  readonly files: Map<string, string | Uint8Array>;
}

/** `answer`: for a command with its words; what it does not return ends well and says nothing. */
export function scriptedMachine(
  answer: (command: string, machine: ScriptedMachine) => Partial<Ran> | undefined = () => undefined,
): ScriptedMachine {
  const called: string[] = [];
  const files = new Map<string, string | Uint8Array>();
  const machine: ScriptedMachine = {
    called,
    files,
    run(program, words) {
      const command = [program, ...words].join(' ');
      called.push(command);
      return Promise.resolve({ code: 0, out: '', err: '', ...answer(command, machine) });
    },
    read(path) {
      const content = files.get(path);
      return typeof content === 'string' || content === undefined ? content : Buffer.from(content).toString('utf16le');
    },
    write(path, content) {
      called.push(`write ${path}`);
      files.set(path, content);
    },
    remove(path) {
      called.push(`remove ${path}`);
      files.delete(path);
    },
    exists: (path) => files.has(path),
    wait: () => Promise.resolve(),
  };
  return machine;
}
