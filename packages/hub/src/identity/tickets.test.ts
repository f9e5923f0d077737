import { newId, type Crypto } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { createTickets, type TicketHolder, type Tickets } from './tickets.ts';

const random = createSeededRandom(8);
const key = random.bytes(32);
const newHolder = (): TicketHolder => ({
  device: newId('dev', random),
  session: newId('ses', random),
  territory: newId('ter', random),
});
const setUp = (of = key, crypto: Crypto = nodeCrypto): { tickets: Tickets; pass: (ms: number) => void } => {
  let nowMs = 1_800_000_000_000;
  return {
    tickets: createTickets({ key: of, crypto, clock: { now: () => nowMs } }),
    pass: (ms) => {
      nowMs += ms;
    },
  };
};

test('a ticket that one replica issued is read by another with the same key, and fits the wire', async () => {
  const holder = newHolder();
  const ticket = await setUp().tickets.issue(holder);
  expect(ticket).toMatch(/^iwt1\.[\w-]+$/);
  expect(ticket.length).toBeLessThanOrEqual(128);
  expect(await setUp().tickets.read(ticket)).toEqual(holder);
});

test('on Node both answer at once', () => {
  const { tickets } = setUp();
  const ticket = tickets.issue(newHolder());
  expect(typeof ticket).toBe('string');
  expect(tickets.read(ticket as string)).not.toBeInstanceOf(Promise);
});

test('where the platform answers later they say the same', async () => {
  const later: Crypto = { ...nodeCrypto, hkdf: async (...all) => nodeCrypto.hkdf(...all) };
  const holder = newHolder();
  const ticket = await setUp(key, later).tickets.issue(holder);
  expect(ticket).toBe(await setUp().tickets.issue(holder));
  expect(await setUp(key, later).tickets.read(ticket)).toEqual(holder);
  expect(await setUp(random.bytes(32), later).tickets.read(ticket)).toBeUndefined();
});

test('with another key nobody is anybody', async () => {
  const ticket = await setUp().tickets.issue(newHolder());
  expect(await setUp(random.bytes(32)).tickets.read(ticket)).toBeUndefined();
});

test('it ends after its time by the clock that all replicas share', async () => {
  const { tickets, pass } = setUp();
  const holder = newHolder();
  const ticket = await tickets.issue(holder);
  pass(HUB_LIMITS.ticketMs - 1);
  expect(await tickets.read(ticket)).toEqual(holder);
  pass(1);
  expect(await tickets.read(ticket)).toBeUndefined();
});

test('no byte of it can be another', async () => {
  const { tickets } = setUp();
  const ticket = await tickets.issue(newHolder());
  const bytes = Buffer.from(ticket.slice('iwt1.'.length), 'base64url');
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] as number) ^ 1;
    expect(await tickets.read(`iwt1.${changed.toString('base64url')}`)).toBeUndefined();
  }
});

test.each([
  ['nothing', ''],
  ['a word', 'ticket'],
  ['the prefix alone', 'iwt1.'],
  ['zeros of the right length', `iwt1.${'A'.repeat(118)}`],
  ['what is not base64url', `iwt1.${'%'.repeat(118)}`],
  ['a flood', `iwt1.${'A'.repeat(10_000)}`],
])('%s is no ticket', async (_, text) => {
  expect(await setUp().tickets.read(text)).toBeUndefined();
});

test('a ticket is for a device in a session of a territory, by their ids', () => {
  const holder = newHolder();
  for (const wrong of [{ device: 'ada' }, { session: holder.device }, { territory: '' }]) {
    expect(() => setUp().tickets.issue({ ...holder, ...wrong })).toThrow(/no id of a/);
  }
});
