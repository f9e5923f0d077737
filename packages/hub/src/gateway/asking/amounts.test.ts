/** Claims about what is held for bodies that claim absurd amounts, before anybody looked whether they are right. */
import { describe, expect, test } from 'vitest';
import { testDatabases } from '../../testing/databases.ts';
import { openTestDoor } from '../../testing/test-door.ts';

describe.each(await testDatabases())('with $kind', ({ open }) => {
  test('no amount in a body is more, or less whole, than what can be held and given back', async () => {
    const database = await open();
    // Whoever opened it closes it.
    const door = await openTestDoor('jacobean', { database: { ...database, close: async () => {} } });
    try {
      const { hub, url } = door;
      const territory = hub.territory.id;
      await door.join(() => ({ tokens: ['well', ' met'] }));
      const { id, key } = await hub.keys.create({ territory, role: 'caller', actor: 'test' });
      // Tokens are bounded by nothing.
      await hub.spendRules.setCaps({ kind: 'key', subject: id, caps: { requestsPerDay: 100 }, actor: 'test' });
      const ask = async (more: object): Promise<number> => {
        const messages = [{ role: 'user', content: 'Hail' }];
        const body = JSON.stringify({ model: 'jacobean', messages, ...more });
        const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
        return (await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body })).status;
      };
      const absurd = [
        { max_tokens: 1e308, n: 1e308 },
        { max_tokens: 1e300 },
        { max_tokens: 9e15, n: 3 },
        { max_tokens: 1.5 },
        { max_tokens: 2, n: 1.5 },
      ];
      for (const more of absurd) expect([more, await ask(more)]).toEqual([more, 400]);
      // In one moment with somebody who asks for what there is.
      const all = await Promise.all([...absurd.map(ask), ask({ max_tokens: 2 })]);
      expect(all).toEqual([...absurd.map(() => 400), 200]);
      const accounts = () => hub.db.selectFrom('spend_days').select(['held', 'requests', 'tokens']).execute();
      await expect.poll(accounts).toEqual([{ held: 0, requests: 1, tokens: expect.any(Number) as number }]);
      const holds = () => hub.db.selectFrom('spend_holds').select('id').execute();
      await expect.poll(holds).toEqual([]);
    } finally {
      await door.close();
    }
  });
});
