import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NO_PAUSE_RULES } from '@idlewild/agent';
import { afterAll, expect, test } from 'vitest';
import { agree, type Agreed } from './agree.ts';
import type { LendingFlags } from './commands/lending-options.ts';

const data = mkdtempSync(join(tmpdir(), 'idlewild-agree-'));
afterAll(() => rmSync(data, { recursive: true, force: true }));

const withYes = (flags: LendingFlags): Promise<Agreed> =>
  agree({ flags, yes: true, json: true, address: undefined, invite: undefined, name: undefined, data });

test('who says yes beforehand and nothing else lends as Balanced does', async () => {
  const { choice, settings } = await withYes({});
  expect(choice).toMatchObject({ kinds: ['answers'], presence: 'respect', cpuShareMax: 0.6 });
  expect(settings).toEqual({ v: 1, preset: 'balanced', rules: {} });
});

test('a device that is to pause for nothing but its lender has no lines at all', async () => {
  const { choice, settings } = await withYes({ presence: 'ignore', neverPause: true });
  expect(choice.presence).toBe('ignore');
  expect(settings).toEqual({ v: 1, preset: 'balanced', rules: NO_PAUSE_RULES });
});
