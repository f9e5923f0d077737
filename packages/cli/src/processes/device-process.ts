/**
 * A device of this machine in a process of its own. It gets ready while it waits for its token, which it is told over
 * its stdin, where no list of processes shows it.
 */
import { startChild, type Child } from './child.ts';

export interface DeviceProcessOptions {
  readonly name: string;
  readonly data: string;
  /** The consent that the one who starts it gives. */
  readonly presence: 'respect' | 'ignore';
  onState(state: Readonly<Record<string, unknown>>): void;
}

/** Say the token of an invite to it; the invite tells where the hub is. */
export function startDeviceProcess({ name, data, presence, onState }: DeviceProcessOptions): Child {
  const options = Object.entries({ token: '-', name, data, presence }).flatMap(([option, value]) => [
    `--${option}`,
    value,
  ]);
  // Who starts devices here to work while they use this machine waits for their answers, on battery and under load.
  const whatever = presence === 'ignore' ? ['--never-pause'] : [];
  return startChild(['join', ...options, ...whatever, '--yes'], { onLine: onState });
}
