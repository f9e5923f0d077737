/** Claims about who reads a text to judge it by a rule of use, where its asker has a right on a pool alone. */
import { expect, onTestFinished, test } from 'vitest';
import { openTestDoor } from '../../testing/test-door.ts';

const LABELS = ['unsafe', 'safe'];

async function openGuarded() {
  const door = await openTestDoor('guard', { manifest: { kind: 'classifier', labels: LABELS } });
  onTestFinished(() => door.close());
  const { hub } = door;
  const readers = new Set<string>();
  const join = async (name: string): Promise<string> => {
    const device = await door.join(undefined, { name, features: ['embed'] });
    device.onMessage = (message) => {
      if (message.t !== 'embed') return;
      readers.add(name);
      const { lease, epoch, work } = message;
      const vectors = work.inputs.map((text) => {
        const unsafe = text.includes('xyzzy') ? 0.9 : 0.1;
        return new Uint8Array(Float32Array.of(unsafe, 1 - unsafe).buffer);
      });
      device.send({ t: 'embed.done', lease, epoch, vectors, tokens: work.inputs.map(() => 1) });
    };
    return (await device.joined).device;
  };
  const territory = hub.territory.id;
  const steward = await hub.keys.create({ territory, role: 'steward', actor: 'test' });
  async function ask(key: string, method: string, path: string, body?: object) {
    const headers = { authorization: `Bearer ${key}`, ...(body && { 'content-type': 'application/json' }) };
    const response = await fetch(door.url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    const text = await response.text();
    return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as { error?: { code: string } } };
  }
  await ask(steward.key, 'POST', '/api/roles', { name: 'guest', permissions: ['listModels'] });
  return {
    readers,
    join,
    bySteward: (method: string, path: string, body?: object) => ask(steward.key, method, path, body),
    classify: (key: string, input: string) => ask(key, 'POST', '/v1/classify', { model: 'guard', input }),
    async guestOf(pool: string): Promise<string> {
      const { id, key } = await hub.keys.create({ territory, role: 'guest', actor: 'test' });
      const order = { subject: { kind: 'key', id }, role: 'caller', scope: { kind: 'pool', id: pool } };
      expect(await ask(steward.key, 'POST', '/api/bindings', order)).toMatchObject({ status: 201 });
      return key;
    },
  };
}

test('a classifier of the rules of use reads a text on the devices of its asker’s pool alone', async () => {
  const { bySteward, classify, guestOf, join, readers } = await openGuarded();
  const ada = await join('ada');
  for (const name of ['bea', 'cyd', 'dee']) await join(name);
  await bySteward('PUT', `/api/devices/${ada}/pools/lab`);
  const rule = { kind: 'classifier', id: 'magic', model: 'guard', labels: ['unsafe'], threshold: 0.5, why: 'no magic' };
  expect(await bySteward('PUT', '/api/use', { rules: { v: 1, rules: [rule] } })).toMatchObject({ status: 200 });

  const guest = await guestOf('lab');
  const asked = Array.from({ length: 12 }, (_, n) => classify(guest, n % 2 === 0 ? `plugh ${n}` : `xyzzy ${n}`));
  const codes = (await Promise.all(asked)).map(({ body }) => body.error?.code ?? 'answered');
  expect(codes).toEqual(codes.map((_, n) => (n % 2 === 0 ? 'answered' : 'use_refused')));
  expect([...readers]).toEqual(['ada']);

  // No device of the pool: nobody else judges in its place.
  readers.clear();
  const other = await guestOf('cellar');
  expect(await classify(other, 'plugh')).toMatchObject({ status: 503, body: { error: { code: 'use_unjudged' } } });
  expect([...readers]).toEqual([]);
});
