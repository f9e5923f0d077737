/**
 * A hub that announces itself and a lender who listens, each an `idlewild` process, over multicast DNS on loopback.
 * Other hubs may be announced there at the same time, so each claim is about the test's own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { startChild, type Child } from './processes/child.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const LOOPBACK = '127.0.0.1';
const folder = mkdtempSync(join(tmpdir(), 'idlewild-lan-'));
const env: NodeJS.ProcessEnv = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: join(folder, 'share') };
const staying: Child<unknown>[] = [];

afterAll(async () => {
  await Promise.all(staying.map((child) => child.kill()));
  rmSync(folder, { recursive: true, force: true });
});

interface Heard {
  readonly name: string;
  readonly territory: { readonly id: string; readonly name: string };
  readonly urls: readonly string[];
  readonly isEncrypted: boolean;
}

async function listen(words: readonly string[] = []): Promise<{ code: number | null; said: string }> {
  const child = startChild(CLI, ['join', '--interface', LOOPBACK, '--data', join(folder, 'device'), ...words], env);
  const { code } = await child.ended;
  return { code, said: child.said() };
}

test('join without an address lists the hub that announces itself, until it has stopped', async (context) => {
  const up = startChild<{ url: string; territory: string; announced: string }>(
    CLI,
    ['up', '--port', '0', '--announce', LOOPBACK, '--json', '--stop-with-stdin'],
    env,
  );
  staying.push(up);
  const hub = await up.line(() => true, 'idlewild up --announce').catch((error: unknown) => error as Error);
  if (hub instanceof Error && /no network on which hubs can be announced/.test(hub.message))
    return context.skip('this machine has no multicast on loopback');
  if (hub instanceof Error) throw hub;
  expect(hub.announced).toMatch(/^home [a-z2-7]{10}$/);

  const { code, said } = await listen(['--json']);
  expect(code).toBe(EXIT.ok);
  expect(JSON.parse(said) as Heard[]).toContainEqual({
    name: hub.announced,
    territory: { id: hub.territory, name: 'home' },
    urls: [hub.url],
    isEncrypted: false,
    version: expect.any(String) as string,
  });

  const told = await listen();
  expect(told.code).toBe(EXIT.ok);
  expect(told.said).toContain(hub.territory);
  expect(told.said).toMatch(/ask a steward/);

  await up.stop();
  const { said: later } = await listen(['--json']);
  expect((JSON.parse(later) as Heard[]).map(({ name }) => name)).not.toContain(hub.announced);
});
