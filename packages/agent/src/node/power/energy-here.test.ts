/** The energy of this very machine: what the kernel counts of what was started here, whoever says what of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createFakeClock } from '@idlewild/protocol/testing';
import { energyHere } from './energy-here.ts';

const BURNT_MS = 400;
const BURN = `const until = ${BURNT_MS}; while (process.cpuUsage().user / 1000 < until); console.log('burnt');
  process.stdin.resume();`;

test.skipIf(process.platform !== 'linux')('a process that computes and says nothing of it is counted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-energy-here-'));
  const clock = createFakeClock(() => nextTurn());
  const settings = { machine: 'server', idleWatts: 0, fullWatts: 3_600 } as const;
  const energy = await energyHere({
    folder,
    clock,
    cores: 1,
    lending: { v: 1, preset: 'balanced', rules: {}, energy: settings },
    log: () => undefined,
    onDrawn: () => undefined,
  });
  const child = spawn(process.execPath, ['-e', BURN], { stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    energy.meter.used(0);
    const before = energy.wattHoursToday();
    await once(child.stdout, 'data');
    await clock.advance(10_000);
    energy.meter.used(0);
    // 3,600 W for one processor: a watt-hour is a second. The child had begun before the first look, or had not.
    expect(energy.wattHoursToday() - before).toBeGreaterThan(BURNT_MS / 2_000);
  } finally {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    await energy.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
