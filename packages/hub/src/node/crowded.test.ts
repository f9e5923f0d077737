/** Claims about a hub as a process when more want to connect than it has files for: over real sockets, in its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';

const FILES = 300;
const STRANGERS = 1_000;
const SCRIPT = `
  import { readFileSync } from 'node:fs';
  import { startHub } from './start-hub.ts';
  const say = (kind) => (fields, text) => console.log(JSON.stringify({ kind, text, ...fields }));
  const log = { debug() {}, info() {}, warn: say('warn'), error: say('error') };
  const hub = await startHub({ data: process.argv[1], host: '127.0.0.1', port: 0, log });
  console.log(JSON.stringify({ url: hub.url, key: readFileSync(hub.stewardKeyFile, 'utf8').trim() }));
`;

interface Said {
  readonly url?: string;
  readonly key?: string;
  readonly kind?: string;
  readonly text?: string;
}

/** A hub that may open no more files than that, and all that it said since. */
async function start(): Promise<{ url: URL; key: string; said: Said[]; isOver: () => boolean }> {
  const data = mkdtempSync(join(tmpdir(), 'idlewild-crowded-'));
  const child = spawn(
    'sh',
    ['-c', `ulimit -n ${FILES} && exec "$0" --input-type=module -e "$1" "$2"`, process.execPath, SCRIPT, data],
    { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let isOver = false;
  const over = once(child, 'exit').then(() => (isOver = true));
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await over;
    rmSync(data, { recursive: true, force: true });
  });
  const said: Said[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => void said.push(JSON.parse(line) as Said));
  await expect.poll(() => isOver || said.some(({ url }) => url !== undefined)).toBe(true);
  const { url = '', key = '' } = said.find((one) => one.url !== undefined) ?? {};
  return { url: new URL(url), key, said, isOver: () => isOver };
}

test('a hub with no files left serves those who are in, hears who speaks up, and says so once', async () => {
  const { url, key, said, isOver } = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const sockets = new Set<Socket>();
  /** Over one and the same connection. */
  const metrics = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request(
        new URL('/metrics', url),
        { agent, headers: { authorization: `Bearer ${key}` } },
        (heard) => {
          sockets.add(heard.socket);
          let text = '';
          heard.on('data', (bytes: Buffer) => (text += bytes.toString()));
          heard.once('end', () => resolve(text));
        },
      );
      asked.once('error', reject);
      asked.end();
    });
  await metrics();
  const strangers = Array.from({ length: STRANGERS }, () => connect(Number(url.port), url.hostname));
  onTestFinished(() => strangers.forEach((socket) => void socket.destroy()));
  let gone = 0;
  for (const socket of strangers) socket.on('error', () => {}).once('close', () => gone++);
  // Of 300 files a quarter is the hub's own, and of the rest half is for strangers.
  const most = (FILES * 3) / 8;
  await expect.poll(() => gone).toBeGreaterThanOrEqual(STRANGERS - most);
  const text = await metrics();
  expect(sockets.size).toBe(1);
  expect(text).toContain('idlewild_connections{of="known"} 1\n');
  expect(Number(/idlewild_connections\{of="strangers"\} (\d+)/.exec(text)?.[1])).toBeLessThanOrEqual(most);
  expect(text).toMatch(/idlewild_connections_dropped_total\{why="strangers"\} \d{3}\n/);
  expect((await fetch(new URL('/.well-known/idlewild', url))).status).toBe(200);
  expect(isOver()).toBe(false);
  expect(said.filter(({ kind }) => kind === 'error')).toEqual([]);
  expect(said.filter(({ text: line = '' }) => line.includes('the oldest are closed'))).toHaveLength(1);
});
