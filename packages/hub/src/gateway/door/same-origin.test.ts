import type { IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { callerAddress } from './caller-address.ts';
import { checkSameOrigin, checkScript, originOf, SCRIPT_HEADER } from './same-origin.ts';

const balanced = { url: 'https://hub.example/t/ter_a', isBehindBalancer: true };
const own = { url: 'https://10.0.0.5:7860', isBehindBalancer: false };
const loopback = { url: 'http://127.0.0.1:7860', isBehindBalancer: false };
const isLetIn = (place: typeof own, headers: Record<string, string>): boolean => {
  try {
    checkSameOrigin(place, headers);
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'forbidden' });
    return false;
  }
};

test('a form comes from the hub’s own origin, or from no form at all', () => {
  expect(isLetIn(balanced, { origin: 'https://hub.example', 'sec-fetch-site': 'same-origin' })).toBe(true);
  expect(isLetIn(balanced, { origin: 'https://hub.example' })).toBe(true);
  expect(isLetIn(balanced, { 'sec-fetch-site': 'same-origin' })).toBe(true);
  for (const origin of ['http://hub.example', 'https://hub.example:444', 'https://a.hub.example', 'null'])
    expect(isLetIn(balanced, { origin })).toBe(false);
  for (const site of ['cross-site', 'same-site', 'anything'])
    expect(isLetIn(balanced, { origin: 'https://hub.example', 'sec-fetch-site': site })).toBe(false);
  expect(isLetIn(balanced, {})).toBe(false);
});

test('a machine’s other names count where the host is told by the browser, and not by a balancer', () => {
  const headers = { origin: 'https://shed.lan:7860', host: 'shed.lan:7860' };
  expect(isLetIn(own, headers)).toBe(true);
  expect(isLetIn(balanced, { origin: 'https://evil.test', host: 'evil.test' })).toBe(false);
  expect(isLetIn(own, { ...headers, origin: 'http://shed.lan:7860' })).toBe(false);
  expect(isLetIn(loopback, { origin: 'http://localhost:7860', host: 'localhost:7860' })).toBe(true);
  expect(isLetIn(loopback, { origin: 'http://localhost:3000', host: 'localhost:7860' })).toBe(false);
});

test('a script says so besides', () => {
  const headers = { origin: 'https://hub.example', 'sec-fetch-site': 'same-origin' };
  expect(() => checkScript(balanced, headers)).toThrow(/x-idlewild-request/);
  checkScript(balanced, { ...headers, [SCRIPT_HEADER]: '1' });
});

test('nobody is sent to an address that a request made up', () => {
  expect(originOf(balanced, { host: 'evil.test' })).toBe('https://hub.example');
  expect(originOf(own, { host: 'evil.test' })).toBe('https://10.0.0.5:7860');
  expect(originOf(loopback, { host: 'localhost:7860' })).toBe('http://localhost:7860');
  expect(originOf(loopback, { host: 'evil.test:7860' })).toBe('http://127.0.0.1:7860');
});

test('behind a balancer the last address that was added counts, and elsewhere none', () => {
  const from = (forwarded: string | undefined, isBehindBalancer: boolean): string =>
    callerAddress(
      {
        headers: { 'x-forwarded-for': forwarded },
        socket: { remoteAddress: '10.0.0.9' },
      } as unknown as IncomingMessage,
      isBehindBalancer,
    );
  expect(from('192.0.2.1, 198.51.100.7', true)).toBe('198.51.100.7');
  expect(from('192.0.2.1', false)).toBe('10.0.0.9');
  expect(from('nonsense', true)).toBe('10.0.0.9');
  expect(from(undefined, true)).toBe('10.0.0.9');
});
