/** Claims about what an owner says to the homes of devices over a bus that loses things. */
import { IdlewildError, type ErrorCode } from '@idlewild/protocol';
import { yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import type { Bus } from '../bus/port.ts';
import { silentLog } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import { createAfar } from './afar.ts';
import { orderSchema, readAs, write } from './fleet-wire.ts';
import { FLEET_LIMITS } from './limits.ts';

/** A bus that fails with these, one after the other, and hears what comes then. */
function setUp(failures: readonly ErrorCode[]) {
  const asked: unknown[] = [];
  const left = [...failures];
  const bus = {
    request(_: string, bytes: Uint8Array) {
      asked.push(readAs(orderSchema, bytes));
      const failure = left.shift();
      return failure === undefined ? Promise.resolve(write({})) : Promise.reject(new IdlewildError(failure, 'lost'));
    },
    subscribe: () => ({ stop: () => {} }),
  } as unknown as Bus;
  const device = { id: 'dev_a', leases: new Set(['att_a']) } as unknown as ConnectedDevice;
  const events = { onAnswer: () => {}, onEmbed: () => {}, onSealed: () => {} };
  const afar = createAfar({ replica: 'rep_a', bus, log: silentLog, events, get: () => device });
  return { afar, asked, device };
}
const CANCEL = { k: 'cancel', from: 'rep_a', lease: 'att_a', epoch: 2 };

test('that an order is wanted no more is said until it was heard', async () => {
  const { afar, asked, device } = setUp(['bus_timeout', 'bus_timeout']);
  afar.revokeLease(device, 'att_a', 2);
  expect(device.leases.size).toBe(0);
  await yieldToNode();
  expect(asked).toEqual([CANCEL, CANCEL, CANCEL]);
});

test('nobody says it to a replica that is gone, for ever, or once it stops itself', async () => {
  const gone = setUp(['bus_no_responder']);
  gone.afar.revokeLease(gone.device, 'att_a', 2);
  const silent = setUp(Array.from({ length: 100 }, () => 'bus_timeout' as const));
  silent.afar.revokeLease(silent.device, 'att_a', 2);
  const stopped = setUp(['bus_timeout', 'bus_timeout']);
  stopped.afar.revokeLease(stopped.device, 'att_a', 2);
  stopped.afar.stop();
  for (let turns = 0; turns < 3; turns++) await yieldToNode();
  expect([gone, silent, stopped].map(({ asked }) => asked.length)).toEqual([1, FLEET_LIMITS.cancelTries, 1]);
});
