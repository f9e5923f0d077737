/** Claims about the socket to a running device: who may use it, what becomes of a stale one, and what a flood gains. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { LendingControl, LendingStatus } from '../core/lending/control/control.ts';
import { CONTROL_LIMITS } from '../core/lending/control/limits.ts';
import { addressFor, serveControl, type ControlServer } from './control.ts';
import { openControl, type ControlClient } from './control-client.ts';
import { newFolder } from './testing/real-hub.ts';

interface Told {
  readonly done: unknown[];
  readonly listeners: Set<(status: LendingStatus) => void>;
  readonly server: ControlServer;
  client(): Promise<ControlClient>;
  raw(): Promise<Socket>;
}

const secretOf = (folder: string): string =>
  (JSON.parse(readFileSync(join(folder, 'control.json'), 'utf8')) as { secret: string }).secret;
const status = (name: string): LendingStatus => ({ name }) as LendingStatus;

async function serve(folder: string, change: Partial<LendingControl> = {}): Promise<Told> {
  const done: unknown[] = [];
  const listeners = new Set<(status: LendingStatus) => void>();
  const server = await serveControl(folder, {
    status: () => status('ada'),
    watch(listen) {
      listeners.add(listen);
      listen(status('first'));
      return { stop: () => listeners.delete(listen) };
    },
    pause: async (order) => {
      done.push(order);
      return { sinceMs: 0 };
    },
    resume: async () => undefined,
    limits: async () => undefined,
    leave: () => Promise.reject(new Error('not here')),
    ...change,
  });
  onTestFinished(() => server.close());
  return {
    done,
    listeners,
    server,
    async client() {
      const client = await openControl(folder);
      if (client === undefined) throw new Error('nobody is there');
      onTestFinished(() => client.close());
      return client;
    },
    async raw() {
      const socket = createConnection(server.address);
      onTestFinished(() => void socket.destroy());
      await new Promise((done_) => socket.once('connect', done_));
      // One that the other side drops is reset; its end is what tests look at.
      socket.on('error', () => undefined).write(`${secretOf(folder)}\n`);
      return socket;
    },
  };
}

/** All that comes until the other side ends. */
const readAll = (socket: Socket): Promise<string> =>
  new Promise((done) => {
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    socket.once('close', () => done(text));
  });

test('a command is asked and answered; the socket is for its owner alone', async () => {
  const folder = await newFolder();
  const { client, done, server } = await serve(folder);
  expect(await (await client()).ask({ do: 'status' })).toEqual({ name: 'ada' });
  await (await client()).ask({ do: 'pause', forMs: 60_000 });
  expect(done).toMatchObject([{ forMs: 60_000 }]);
  await expect((await client()).ask({ do: 'leave' })).rejects.toMatchObject({ code: 'internal', message: /not here/ });
  expect(statSync(server.address).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder, 'control.json')).mode & 0o777).toBe(0o600);
});

test.skipIf(process.getuid?.() !== 0)('another user of the machine is not let in (needs root to try it)', async () => {
  const folder = await newFolder();
  const { server } = await serve(folder);
  const tries = `require('net').createConnection(${JSON.stringify(server.address)})
    .on('connect', () => console.log('in')).on('error', (e) => console.log(e.code))`;
  // Everybody may come as far as the socket itself.
  spawnSync('chmod', ['755', folder]);
  const { stdout } = spawnSync(process.execPath, ['-e', tries], { uid: 65_534, encoding: 'utf8', cwd: '/' });
  expect(stdout.trim()).toBe('EACCES');
});

test('where nobody is there, nobody answers: no folder, no device, or what a killed one left', async () => {
  const folder = await newFolder();
  expect(await openControl(join(folder, 'nowhere'))).toBeUndefined();
  expect(await openControl(folder)).toBeUndefined();
  const address = addressFor(folder);
  writeFileSync(join(folder, 'control.json'), '{"addr');
  expect(await openControl(folder)).toBeUndefined();
  writeFileSync(join(folder, 'control.json'), JSON.stringify({ address, secret: 'old' }));
  expect(await openControl(folder)).toBeUndefined();
  const dead = `require('net').createServer()
    .listen(${JSON.stringify(address)}, () => process.kill(process.pid, 'SIGKILL'))`;
  expect(spawnSync(process.execPath, ['-e', dead]).signal).toBe('SIGKILL');
  expect(existsSync(address)).toBe(true);
  expect(await openControl(folder)).toBeUndefined();
  const { client } = await serve(folder);
  expect(await (await client()).ask({ do: 'status' })).toEqual({ name: 'ada' });
});

test('a folder whose path is too long for a socket has it in a folder of this user alone', async () => {
  const folder = join(await newFolder(), 'x'.repeat(100));
  await mkdir(folder);
  const { client, server } = await serve(folder);
  expect(server.address.startsWith(folder)).toBe(false);
  expect(statSync(join(server.address, '..')).mode & 0o777).toBe(0o700);
  expect(await (await client()).ask({ do: 'status' })).toEqual({ name: 'ada' });
  await server.close();
  expect(existsSync(server.address)).toBe(false);
});

test('who cannot read the folder is nobody, though it runs as the same user', async () => {
  const folder = await newFolder();
  const { server, done } = await serve(folder);
  const secret = secretOf(folder);
  for (const first of ['{"id":1,"do":"pause"}', secret.slice(1), `${secret}0`]) {
    const socket = createConnection(server.address);
    socket.write(`${first}\n{"id":2,"do":"pause"}\n`);
    expect(JSON.parse(await readAll(socket))).toMatchObject({ error: { code: 'forbidden' } });
  }
  expect(done).toEqual([]);
});

test('on Windows it is a pipe whose name nobody can guess', () => {
  const [one, other] = [addressFor('C:\\lent', 'win32'), addressFor('C:\\lent', 'win32')];
  expect(one).toMatch(/^\\\\\.\\pipe\\idlewild-[0-9a-f]{32}$/);
  expect(one).not.toBe(other);
});

test('a watch hears each status until it goes, and all who wait hear that the device has ended', async () => {
  const folder = await newFolder();
  const { client, listeners, server } = await serve(folder);
  const events: unknown[] = [];
  const watcher = await client();
  const watching = watcher.watch((event) => events.push(event));
  await expect.poll(() => listeners.size).toBe(1);
  for (const listen of listeners) listen(status('second'));
  await expect.poll(() => events).toEqual([{ name: 'first' }, { name: 'second' }]);
  (await client()).close();
  const gone = await client();
  const going = gone.watch(() => undefined);
  await expect.poll(() => listeners.size).toBe(2);
  gone.close();
  await going;
  await expect.poll(() => listeners.size).toBe(1);
  await server.close();
  await watching;
  expect(existsSync(join(folder, 'control.json'))).toBe(false);
});

test('what was asked before the end is answered before the socket closes', async () => {
  const folder = await newFolder();
  const leaving = Promise.withResolvers<never>();
  const { client, server } = await serve(folder, { leave: () => leaving.promise });
  const asked = (await client()).ask({ do: 'leave' });
  await expect.poll(async () => (await client()).ask({ do: 'status' })).toBeDefined();
  const closing = server.close();
  leaving.resolve({ acknowledged: true } as never);
  expect(await asked).toEqual({ acknowledged: true });
  await closing;
});

test('one who floods is closed: a line without an end, too many requests, too many connections', async () => {
  const folder = await newFolder();
  const never = new Promise<never>(() => undefined);
  const { raw } = await serve(folder, { pause: () => never });
  const long = await raw();
  long.write('x'.repeat(CONTROL_LIMITS.requestBytesMax + 1));
  expect(await readAll(long)).toContain('at most 65536 bytes');
  const many = await raw();
  for (let id = 1; id <= CONTROL_LIMITS.requestsMax + 1; id++) many.write(`${JSON.stringify({ id, do: 'pause' })}\n`);
  expect(await readAll(many)).toContain('too_busy');
  const sockets = await Promise.all(Array.from({ length: CONTROL_LIMITS.connectionsMax + 2 }, () => raw()));
  const closed = new Set<number>();
  sockets.forEach((socket, n) => socket.resume().once('close', () => closed.add(n)));
  await expect.poll(() => closed.size).toBe(2);
});

test('what is refused before it is read as a request is told as such, to all that wait', async () => {
  const folder = await newFolder();
  const { client } = await serve(folder, { pause: () => new Promise<never>(() => undefined) });
  const change = { refused: [`x${'y'.repeat(CONTROL_LIMITS.requestBytesMax)}`] };
  await expect((await client()).ask({ do: 'limits', change })).rejects.toMatchObject({ code: 'invalid_request' });
  const greedy = await client();
  const watching = greedy.watch(() => undefined);
  const asked = Array.from({ length: CONTROL_LIMITS.requestsMax }, () => greedy.ask({ do: 'pause' }));
  const ends = await Promise.allSettled([watching, ...asked]);
  for (const end of ends) expect(end).toMatchObject({ reason: { code: 'too_busy' } });
});

test('a device that answers what nobody understands is told from one that has ended', async () => {
  const folder = await newFolder();
  const address = addressFor(folder);
  const server = createServer((socket) => socket.on('error', () => undefined).end('{"id":1,"done":true}\n'));
  onTestFinished(() => void server.close());
  await new Promise<void>((done) => server.listen(address, done));
  writeFileSync(join(folder, 'control.json'), JSON.stringify({ address, secret: 'any' }));
  const client = await openControl(folder);
  await expect(client?.ask({ do: 'status' })).rejects.toMatchObject({ code: 'internal', message: /other version/ });
});

test('a watcher that does not read is told the newest status once it does, and not all in between', async () => {
  const folder = await newFolder();
  const { raw, listeners } = await serve(folder);
  const socket = await raw();
  socket.pause();
  socket.write('{"id":1,"do":"watch"}\n');
  await expect.poll(() => listeners.size).toBe(1);
  const [listen] = listeners;
  for (let n = 0; n < 1_000; n++) listen?.(status(`${n} ${'x'.repeat(10_000)}`));
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.resume();
  await expect.poll(() => text.endsWith('\n') && text.trim().split('\n').at(-1)?.includes('"name":"999 ')).toBe(true);
  expect(text.trim().split('\n').length).toBeLessThan(200);
});

test('who does not say the secret keeps nobody out, and is gone after a while', async () => {
  const folder = await newFolder();
  const { client, server } = await serve(folder);
  const strangers = Array.from({ length: 3 * CONTROL_LIMITS.connectionsMax }, () => createConnection(server.address));
  const gone = new Set<Socket>();
  for (const stranger of strangers) stranger.on('error', () => undefined).once('close', () => gone.add(stranger));
  await Promise.all(strangers.map((stranger) => new Promise((done) => stranger.once('connect', done))));
  expect(await (await client()).ask({ do: 'status' })).toEqual({ name: 'ada' });
  await expect.poll(() => gone.size).toBe(strangers.length);
  expect(await (await client()).ask({ do: 'status' })).toEqual({ name: 'ada' });
});

test('the secret goes into a new file that its owner alone reads, whatever lies in its place', async () => {
  const folder = await newFolder();
  const elsewhere = join(await newFolder(), 'mine.txt');
  writeFileSync(elsewhere, 'mine', { mode: 0o644 });
  symlinkSync(elsewhere, join(folder, 'control.json'));
  const { client } = await serve(folder);
  expect(readFileSync(elsewhere, 'utf8')).toBe('mine');
  expect(statSync(join(folder, 'control.json')).mode & 0o777).toBe(0o600);
  expect(await (await client()).ask({ do: 'status' })).toEqual({ name: 'ada' });
});
