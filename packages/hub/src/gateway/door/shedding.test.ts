/** Claims about what a hub that is behind with its work still does, over a real door. */
import { IdlewildError } from '@idlewild/protocol';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let steward: string;
let isBehind: boolean;

beforeAll(async () => {
  const details = { retryAfterMs: 1_500, retryAfterSeconds: 2 };
  const refusal = () => (isBehind ? new IdlewildError('too_busy', 'it is behind', { details }) : undefined);
  door = await openTestDoor('jacobean', { refusal });
  await door.join(() => ({ tokens: ['Good', ' morrow'] }));
  const made = await door.hub.keys.create({ territory: door.hub.territory.id, role: 'steward', actor: 'test' });
  steward = made.key;
});
afterAll(() => door.close());
beforeEach(() => {
  isBehind = true;
});

const ask = (headers: Record<string, string> = {}, body: object = {}): Promise<Response> =>
  fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'jacobean', messages: [{ role: 'user', content: 'Speak.' }], ...body }),
  });

test('new answers are refused with a time to come back, to strangers, too, before anything is read', async () => {
  for (const key of [door.key, 'iwk_unknown']) {
    const refused = await ask({ authorization: `Bearer ${key}` });
    expect([refused.status, refused.headers.get('retry-after'), refused.headers.get('retry-after-ms')]).toEqual([
      429,
      '2',
      '1500',
    ]);
    expect(await refused.json()).toMatchObject({ error: { code: 'too_busy', type: 'rate_limit_error' } });
  }
});

test('health, metrics, status and lists are always answered', async () => {
  const paths = [
    '/healthz',
    '/readyz',
    '/metrics',
    '/api/status',
    '/api/devices',
    '/v1/models',
    '/.well-known/idlewild',
  ];
  const headers = { authorization: `Bearer ${steward}` };
  const statuses = await Promise.all(paths.map(async (path) => (await fetch(door.url + path, { headers })).status));
  expect(statuses).toEqual(paths.map(() => 200));
});

test('who was let in is carried out, and who comes back to what runs is let in', async () => {
  const name = { 'idempotency-key': 'shed-1' };
  isBehind = false;
  const first = await ask(name, { stream: true });
  isBehind = true;
  const text = await first.text();
  expect(first.status).toBe(200);
  const id = /^id: (\S+)/m.exec(text)?.[1] ?? '';
  expect(id).not.toBe('');
  expect((await ask({ ...name, 'last-event-id': id }, { stream: true })).status).toBe(200);
  expect((await ask(name, { stream: true })).status).toBe(429);
});
