/** Claims about the network that tests make to fail: it holds back what it should, and loses and doubles nothing. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { startBalancer } from './balancer.ts';

const PIECE = Buffer.alloc(65_536, 7);
/** More than a system keeps for two sockets: much of it waits in the balancer. */
const PIECES = 256;

test('what a silent network held passes on at the pace of who reads, by one waiter a socket', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => void warnings.push(`${warning.name}: ${warning.message}`);
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));

  const arrived = Promise.withResolvers<Socket>();
  const server = createServer({ pauseOnConnect: true }, (socket) => arrived.resolve(socket));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const balancer = await startBalancer();
  balancer.set('a', (server.address() as AddressInfo).port);
  const sender = connect({ port: balancer.port, host: '127.0.0.1' });
  const reader = await arrived.promise;
  onTestFinished(async () => {
    sender.destroy();
    reader.destroy();
    await balancer.close();
    server.close();
  });

  balancer.silence();
  let taken = 0;
  for (let piece = 0; piece < PIECES; piece++) sender.write(PIECE, () => taken++);
  await expect.poll(() => taken).toBe(PIECES);
  balancer.restore();
  let read = 0;
  reader.on('data', (bytes: Buffer) => (read += bytes.length)).resume();
  await expect.poll(() => read, { timeout: 10_000 }).toBe(PIECES * PIECE.length);
  expect(warnings).toEqual([]);
});
