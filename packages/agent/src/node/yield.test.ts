/** A real agent with a real engine at work, whose person comes back: what the kernel shows of the engine then. */
import { expect, test } from 'vitest';
import type { ToHub } from '@idlewild/protocol';
import { createNodeEngineHost } from '@idlewild/engine/node';
import { yieldToNode } from '@idlewild/protocol/testing';
import { AGENT_LIMITS } from '../core/limits.ts';
import { processorMs, threadStates } from '../testing/threads.ts';
import { longWork, publishJacobean } from './testing/publish.ts';
import { CONSENT, newFolder, serveHub, start } from './testing/real-hub.ts';

async function until(holds: () => boolean): Promise<number> {
  const fromMs = performance.now();
  while (!holds()) await yieldToNode();
  return performance.now() - fromMs;
}

test.skipIf(process.platform !== 'linux')(
  'an engine at work stands within 250 ms of its owner coming back, uses nothing, and is gone with its memory',
  { timeout: 60_000 },
  async () => {
    const { hub, invite, store } = await serveHub();
    const { cid, bytes } = await publishJacobean(store, await newFolder());
    const pids: number[] = [];
    const engineHost = createNodeEngineHost({
      log: (message) => {
        const pid = /in process (\d+)/.exec(message)?.[1];
        if (pid !== undefined) pids.push(Number(pid));
      },
    });
    const { agent, until: untilState } = await start({
      data: await newFolder(),
      name: 'kettle',
      invite,
      consent: CONSENT,
      engineHost,
    });
    await untilState((state) => state.state === 'ready');
    const [peer] = hub.peers;
    const got = <Kind extends ToHub['t']>(kind: Kind): Extract<ToHub, { t: Kind }>[] =>
      (peer?.got ?? []).filter((message): message is Extract<ToHub, { t: Kind }> => message.t === kind);
    const ask = (lease: string): void =>
      peer?.send({ t: 'answer', lease, epoch: 1, model: cid, work: longWork(), deadlineMs: 60_000 });
    peer?.send({ t: 'hold', models: [{ cid, name: 'jacobean', bytes }], sources: [] });
    await untilState((state) => state.models[0]?.state === 'warm');
    const [first = 0] = pids;

    ask('one');
    await until(() => got('answer.token').length > 5);
    agent.pause('input', 'somebody types');
    const stoodMs = await until(() => threadStates(first).every((state) => state === 'T'));
    expect(stoodMs).toBeLessThan(250);
    const ran = processorMs(first);
    await until(() => got('answer.failed').length === 1);
    expect(got('answer.failed')).toMatchObject([{ lease: 'one', code: 'device_paused' }]);
    for (let i = 0; i < 200; i++) await yieldToNode();
    expect(processorMs(first)).toBe(ran);

    // Back at once: the same process goes on.
    agent.resume('input');
    ask('two');
    await until(() => got('answer.token').filter(({ lease }) => lease === 'two').length > 5);
    expect(pids).toEqual([first]);

    agent.pause('input', 'somebody types');
    const goneMs = await until(() => threadStates(first).length === 0);
    expect(goneMs).toBeGreaterThan(AGENT_LIMITS.suspendedMs - 100);
    expect(goneMs).toBeLessThan(10_000);
    agent.resume('input');
    await untilState((state) => state.models[0]?.state === 'warm');
    ask('three');
    await until(() => got('answer.finished').some(({ lease }) => lease === 'three'));
    expect(pids).toHaveLength(2);
  },
);
