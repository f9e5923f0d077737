/**
 * Looks into a process of Node that was started with `inspectedEnv`, as a debugger does: what it needs of memory once
 * everything that is garbage has been collected. So what is measured is the command that people run.
 */
import { WebSocket } from 'ws';

/** Any free port, on loopback; the address is said on stderr. */
export const inspectedEnv = (): NodeJS.ProcessEnv => ({
  ...process.env,
  NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --inspect=127.0.0.1:0`.trim(),
});

const COLLECTIONS = 4;

/** `said`: what the process has printed. */
export async function residentAfterCollection(said: string): Promise<number> {
  const address = /Debugger listening on (ws:\/\/\S+)/.exec(said)?.[1];
  if (address === undefined)
    throw new Error(`the process does not say where it can be looked into: ${said.slice(0, 500)}`);
  const socket = new WebSocket(address, { perMessageDeflate: false });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  let id = 0;
  const call = (method: string, params: object = {}): Promise<{ result?: { value?: unknown } }> => {
    const asked = ++id;
    socket.send(JSON.stringify({ id: asked, method, params }));
    return new Promise((resolve) => {
      const listen = (data: Buffer): void => {
        const told = JSON.parse(data.toString('utf8')) as { id?: number; result: { result?: { value?: unknown } } };
        if (told.id !== asked) return;
        socket.off('message', listen);
        resolve(told.result);
      };
      socket.on('message', listen);
    });
  };
  try {
    for (let round = 0; round < COLLECTIONS; round++) await call('HeapProfiler.collectGarbage');
    const { result } = await call('Runtime.evaluate', { expression: 'process.memoryUsage().rss', returnByValue: true });
    return Number(result?.value);
  } finally {
    socket.close();
  }
}
