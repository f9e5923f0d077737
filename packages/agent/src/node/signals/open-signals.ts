/**
 * What this machine says of itself: `SignalSource` for Linux, macOS and Windows. On any other system nothing is read,
 * and each signal says so.
 */
import type { Clock } from '@idlewild/protocol';
import type { SignalSource } from '../../core/lending/idleness/port.ts';
import { openLinuxSignals } from './linux/linux.ts';
import { openMacSignals } from './macos.ts';
import { createNodeSystem } from './node-system.ts';
import { createSource } from './source.ts';
import type { System } from './system.ts';
import { openWindowsSignals } from './windows/windows.ts';

export interface SignalOptions {
  readonly clock: Clock;
  /** Programs that the lender listed, as they are now; asked anew at each look. */
  readonly programs?: () => readonly string[];
  /** The machine that this process runs on, unless a test says otherwise. */
  readonly system?: System;
}

/** Looks once at everything before it resolves, which takes a few seconds where a command hangs. Never throws. */
export function openSignals({
  clock,
  programs = () => [],
  system = createNodeSystem(),
}: SignalOptions): Promise<SignalSource> {
  if (system.platform === 'linux') return openLinuxSignals(system, clock, programs);
  if (system.platform === 'darwin') return openMacSignals(system, clock, programs);
  if (system.platform === 'win32') return openWindowsSignals(system, clock, programs);
  const absent = (): string => `Idlewild does not know how to ask ${system.platform}`;
  return createSource({ probes: [], isHeadless: () => true, absent });
}
