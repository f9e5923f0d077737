/** Claims about how a replica goes. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { drainHub, drainTimes } from './leave.ts';

interface Setting {
  readonly clock: FakeClock;
  readonly server: Server;
  readonly drained: { moveMs: number; boundMs: number }[];
  readonly devices: { count: number };
  readonly told: string[];
  /** Resolves when it has left; `over` tells whether it has. */
  leave(times: Parameters<typeof drainTimes>[0]): { readonly left: Promise<void>; over: boolean };
  endAnswers(): void;
}

async function setUp(count: number, isAlone = false): Promise<Setting> {
  const clock = createFakeClock(yieldToNode);
  const server = createServer((_, response) => response.end('ok')).listen(0, '127.0.0.1');
  onTestFinished(() => server.closeAllConnections());
  await once(server, 'listening');
  const [drained, told]: [Setting['drained'], string[]] = [[], []];
  const devices = { count };
  const answers = Promise.withResolvers<void>();
  const hub = {
    local: { count: () => devices.count },
    drain(times: { moveMs: number; boundMs: number }) {
      drained.push(times);
      return answers.promise;
    },
  };
  const register = { draining: async () => void told.push('others') };
  return {
    clock,
    server,
    drained,
    devices,
    told,
    endAnswers: answers.resolve,
    leave(times) {
      const left = drainHub(
        { hubs: [hub], server, register, isAlone, clock, log: silentLog },
        drainTimes(times, isAlone),
      );
      const leaving = { left, over: false };
      void left.then(() => {
        leaving.over = true;
      });
      return leaving;
    },
  };
}

test('until balancers have noticed it takes connections, and others know at once', async () => {
  const { leave, clock, server, told, drained } = await setUp(0);
  leave({});
  expect(told).toEqual(['others']);
  await clock.advance(HUB_LIMITS.drainNoticeMs - 1);
  const { port } = server.address() as AddressInfo;
  expect(await (await fetch(`http://127.0.0.1:${port}`)).text()).toBe('ok');
  expect(drained).toEqual([]);
  await clock.advance(1);
  expect(server.listening).toBe(false);
  expect(drained).toEqual([{ moveMs: 0, boundMs: HUB_LIMITS.drainMs - HUB_LIMITS.drainNoticeMs }]);
});

test('devices go at an even pace, and it waits for them when answers are over', async () => {
  const { leave, clock, drained, devices, endAnswers } = await setUp(1_000);
  const leaving = leave({ totalMs: 20_000, noticeMs: 0 });
  await clock.advance(0);
  expect(drained).toEqual([{ moveMs: 1_000 * HUB_LIMITS.moveEachMs, boundMs: 20_000 }]);
  endAnswers();
  await clock.advance(3_000);
  expect(leaving.over).toBe(false);
  devices.count = 0;
  await clock.advance(HUB_LIMITS.sweepMs);
  expect(leaving.over).toBe(true);
});

test('devices that do not go are not waited for, and all of it ends at its bound', async () => {
  const few = await setUp(10);
  const leaving = few.leave({ totalMs: 20_000, noticeMs: 0 });
  few.endAnswers();
  await few.clock.advance(10 * HUB_LIMITS.moveEachMs + HUB_LIMITS.moveLateMs + 2 * HUB_LIMITS.sweepMs);
  expect(leaving.over).toBe(true);
  const many = await setUp(100_000);
  const bounded = many.leave({ totalMs: 4_000, noticeMs: 1_000 });
  many.endAnswers();
  await many.clock.advance(4_000 + HUB_LIMITS.sweepMs);
  expect(many.drained).toEqual([{ moveMs: 1_500, boundMs: 3_000 }]);
  expect(bounded.over).toBe(true);
});

test('who is alone goes at once when nothing is open, and has five seconds otherwise', async () => {
  const { leave, clock, server, drained, endAnswers } = await setUp(5, true);
  const leaving = leave(undefined);
  await clock.advance(0);
  expect(server.listening).toBe(false);
  expect(drained[0]?.boundMs).toBe(HUB_LIMITS.drainAloneMs);
  expect(leaving.over).toBe(false);
  endAnswers();
  await clock.settle();
  expect(leaving.over).toBe(true);
});
