/**
 * How a command that stays learns that it is to go: Ctrl-C, an orderly end by the system, the terminal closing, or, for
 * one that another process started, the end of its stdin, which comes however that process ends.
 */
import { EXIT } from '../exit-codes.ts';

export interface Telling {
  /** Resolves at the first word. */
  readonly told: Promise<void>;
}

/** `again` is called when it is told a second time; without it, the process ends there and then. */
export function untilTold(stopWithStdin: boolean, again: () => void = () => process.exit(EXIT.interrupted)): Telling {
  let times = 0;
  const told = new Promise<void>((resolve) => {
    const first = (): void => {
      // An open pipe would keep the process alive after its work is done.
      if (stopWithStdin) process.stdin.destroy();
      resolve();
    };
    const tell = (): void => {
      times++;
      if (times === 1) first();
      else if (times === 2) again();
      else process.exit(EXIT.interrupted);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, tell);
    if (!stopWithStdin) return;
    if (process.stdin.readableEnded) return first();
    process.stdin.once('end', first).once('error', first);
    process.stdin.resume();
  });
  return { told };
}
