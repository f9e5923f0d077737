import { IdlewildError, codeOf } from '@idlewild/protocol';
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { createGuesses } from './guesses.ts';
import { SCRIPT_HEADER } from './same-origin.ts';

const MANY = HUB_LIMITS.wrongSecretsPerMinute;
/** Another one for each number. */
const guess = (index: number): string =>
  `Bearer iw_${String(index)
    .replaceAll(/\d/g, (digit) => 'abcdefghij'[Number(digit)] as string)
    .padEnd(52, 'z')}`;
const unknown =
  (details = {}) =>
  async (): Promise<string> => {
    throw new IdlewildError('unauthenticated', 'unknown here', { details });
  };
const shown = (address: string, secret: string, territory = 'ter_a') => ({ territory, address, secret });
const right = async (): Promise<string> => 'ada';

function setUp() {
  const clock = createFakeClock(async () => {});
  const told: string[] = [];
  const log = { ...silentLog, warn: (fields: object) => void told.push(JSON.stringify(fields)) };
  const guesses = createGuesses({ clock, log });
  let asked = 0;
  return {
    clock,
    told,
    guesses,
    asked: () => asked,
    async flood(address: string, count: number) {
      const codes = new Map<string, number>();
      for (let index = 0; index < count; index++) {
        const act = (): Promise<string> => {
          asked++;
          return unknown()();
        };
        const code = await guesses
          .watch(shown(address, guess(index)), act)
          .catch((error: unknown) => codeOf(error) ?? 'none');
        codes.set(code, (codes.get(code) ?? 0) + 1);
      }
      return Object.fromEntries(codes);
    },
  };
}

test('guesses beyond so many in a minute are refused unseen, with a time to come back, and told of once', async () => {
  const { guesses, flood, asked, told, clock } = setUp();
  expect(await flood('203.0.113.7', MANY + 50)).toEqual({ unauthenticated: MANY, rate_limit_exceeded: 50 });
  expect(asked()).toBe(MANY);
  expect(told).toEqual(['{"address":"203.0.113.7"}']);
  // The right one is not found among them either.
  await expect(guesses.watch(shown('203.0.113.7', guess(9_999)), right)).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
    details: { retryAfterSeconds: 1 },
  });
  expect(await guesses.watch(shown('203.0.113.8', guess(9_999)), right)).toBe('ada');
  await clock.advance(60_000);
  expect(await flood('203.0.113.7', MANY)).toEqual({ unauthenticated: MANY });
  expect(told).toHaveLength(2);
});

test('ten thousand guesses in one moment are looked up no more often than one after the other', async () => {
  const { guesses } = setUp();
  let looking = 0;
  let most = 0;
  let asked = 0;
  const slowly = async (): Promise<string> => {
    asked++;
    most = Math.max(most, ++looking);
    await yieldToNode();
    looking--;
    return unknown()();
  };
  const codes = await Promise.all(
    Array.from({ length: 10_000 }, (_, index) =>
      guesses.watch(shown('203.0.113.7', guess(index)), slowly).catch((error: unknown) => codeOf(error)),
    ),
  );
  expect(asked).toBe(MANY);
  expect(most).toBeLessThanOrEqual(MANY);
  expect(Object.fromEntries([...Map.groupBy(codes, String)].map(([code, all]) => [code, all.length]))).toEqual({
    unauthenticated: MANY,
    rate_limit_exceeded: 10_000 - MANY,
  });
});

test('a thousand who come at once with keys that work wait for each other, and are all let in', async () => {
  const { guesses } = setUp();
  let looking = 0;
  let most = 0;
  const slowly = async (): Promise<string> => {
    most = Math.max(most, ++looking);
    await yieldToNode();
    looking--;
    return 'somebody';
  };
  const all = Array.from({ length: 1_000 }, (_, index) => guesses.watch(shown('203.0.113.7', guess(index)), slowly));
  expect(new Set(await Promise.all(all))).toEqual(new Set(['somebody']));
  expect(most).toBe(MANY);
});

test('guesses in all communities of a process count together, and a key of one is a guess in another', async () => {
  const { guesses } = setUp();
  const mine = guess(9_999);
  await guesses.watch(shown('203.0.113.7', mine, 'ter_a'), right);
  const codes: unknown[] = [];
  for (let index = 0; index < MANY + 10; index++) {
    // Even one that works elsewhere.
    const secret = index % 2 === 0 ? mine : guess(index);
    const tried = guesses.watch(shown('203.0.113.7', secret, `ter_${index}`), unknown());
    codes.push(await tried.catch((error: unknown) => codeOf(error)));
  }
  expect(codes.filter((code) => code === 'rate_limit_exceeded')).toHaveLength(10);
  expect(await guesses.watch(shown('203.0.113.7', mine, 'ter_a'), right)).toBe('ada');
  // Whoever asks before it is known whose a key is hears the same.
  expect(guesses.isRefused({ address: '203.0.113.7', secret: guess(1) })).toBe(true);
  expect(guesses.isRefused({ address: '203.0.113.7', secret: mine })).toBe(false);
  expect(guesses.isRefused({ address: '203.0.113.8', secret: guess(1) })).toBe(false);
});

test('whose key worked before goes on, beside somebody who guesses at the same address', async () => {
  const { guesses, flood } = setUp();
  await guesses.watch(shown('203.0.113.7', guess(9_999)), right);
  await flood('203.0.113.7', MANY + 1);
  expect(await guesses.watch(shown('203.0.113.7', guess(9_999)), right)).toBe('ada');
});

test('what is known and over, what is shaped like no secret, and what else goes wrong is no guess', async () => {
  const { guesses, flood } = setUp();
  const failing = async (): Promise<string> => {
    throw new IdlewildError('database_unavailable', 'away');
  };
  for (let index = 0; index < 2 * MANY; index++) {
    await guesses.watch(shown('a', guess(index)), unknown({ keyId: 'key_1' })).catch(() => {});
    await guesses.watch(shown('a', guess(index)), unknown({ session: 'sis_1' })).catch(() => {});
    await guesses.watch(shown('a', `Bearer sk-${index}`), unknown()).catch(() => {});
    await guesses.watch(shown('a', guess(index)), failing).catch(() => {});
  }
  expect(await flood('a', MANY)).toEqual({ unauthenticated: MANY });
});

test('addresses are forgotten oldest first, beyond the bound', async () => {
  const { guesses, flood } = setUp();
  await flood('the first', MANY);
  for (let index = 0; index < HUB_LIMITS.guessersMax; index++)
    await guesses.watch(shown(`a${index}`, guess(1)), unknown()).catch(() => {});
  expect(await flood('the first', 1)).toEqual({ unauthenticated: 1 });
});

test('a hub slows who guesses keys, sessions and tickets on any route, and nobody whose key it knows', async () => {
  const door = await openTestDoor('any');
  const ask = (authorization: string, path: string): Promise<Response> =>
    fetch(door.url + path, { headers: { authorization } });
  try {
    expect((await ask(`Bearer ${door.key}`, '/v1/models')).status).toBe(200);
    const paths = door.routes.filter(({ method, action }) => method === 'GET' && action !== 'public');
    const guessed = async (index: number): Promise<number> => {
      const { url = '' } = paths[index % paths.length] ?? {};
      const kind = ['iw_', 'iws_', 'iwt1.'][index % 3] ?? '';
      return (await ask(guess(index).replace('iw_', kind), url)).status;
    };
    const statuses = new Set<number>();
    for (let index = 0; index < MANY; index++) statuses.add(await guessed(index));
    expect(statuses).toEqual(new Set([401]));
    // One more every 600 ms, so sooner or later, on however slow a machine, two come within that.
    let index = MANY;
    while ((await guessed(index++)) !== 429) expect(index).toBeLessThan(3 * MANY);
    expect((await ask(`Bearer ${door.key}`, '/v1/models')).status).toBe(200);
  } finally {
    await door.close();
  }
});

/** Somebody who signed in, and how a page of hers asks where, with these cookies beside her session's. */
async function signedIn({ hub, url }: TestDoor, name: string) {
  const { id: keyId } = await hub.keys.create({ territory: hub.territory.id, role: 'steward', actor: 'test' });
  const { id: territory } = hub.territory;
  const by = { kind: 'key', keyId, territory, role: 'steward', name: '', dataClass: 'internal' } as const;
  const { code } = await hub.signIn.links.invite({ by, name, role: 'member', groups: [] });
  const session = await hub.signIn.links.redeem(code, { kind: 'browser', label: 'a browser' });
  const ask = async (beside: string, token = session.token): Promise<number> => {
    const own = token === '' ? '' : `; idlewild-${territory}-session=${token}`;
    return (await fetch(`${url}/api/sessions`, { headers: { cookie: beside + own } })).status;
  };
  return { ...session, ask };
}

test('a page that goes on asking when its session is over, or has that of another community, is no guess', async () => {
  const door = await openTestDoor('any');
  try {
    const eve = await signedIn(door, 'Eve');
    expect(await eve.ask('a=1')).toBe(200);
    await door.hub.signIn.sessions.end({ actor: eve.person, person: eve.person });
    const statuses = new Set<number>();
    for (let index = 0; index < MANY; index++) {
      statuses.add(await eve.ask('a=1'));
      statuses.add(await eve.ask(`idlewild-ter_b-session=iws_${'z'.repeat(52)}`, ''));
    }
    expect([...statuses]).toEqual([401]);
    // Somebody who was never seen before, at the same address.
    expect(await (await signedIn(door, 'Fay')).ask('a=1')).toBe(200);
  } finally {
    await door.close();
  }
});

test('made-up sessions are guesses on routes, too, where nobody has to say who he is', async () => {
  const door = await openTestDoor('any');
  try {
    const { ask } = await signedIn(door, 'Eve');
    expect(await ask('a=1')).toBe(200);
    const { id } = door.hub.territory;
    const end = (index: number): Promise<Response> =>
      fetch(`${door.url}/api/session`, {
        method: 'DELETE',
        headers: {
          cookie: `idlewild-${id}-session=${guess(index).replace('Bearer iw_', 'iws_')}`,
          origin: door.url,
          [SCRIPT_HEADER]: '1',
        },
      });
    const statuses = await Promise.all(Array.from({ length: 2 * MANY }, async (_, index) => (await end(index)).status));
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
    expect(statuses.filter((status) => status === 401).length).toBeLessThan(1.5 * MANY);
    // Nor are they looked up for a page.
    const cookie = `idlewild-${id}-session=${guess(9_999).replace('Bearer iw_', 'iws_')}`;
    const seen = async (): Promise<number> => (await fetch(`${door.url}/sign-in`, { headers: { cookie } })).status;
    for (let index = 0; (await seen()) !== 429; index++) expect(index).toBeLessThan(2 * MANY);
    expect((await fetch(`${door.url}/sign-in`)).status).toBe(200);
    expect(await ask('a=1')).toBe(200);
  } finally {
    await door.close();
  }
});

test('who is signed in goes on beside somebody who guesses, whatever else her browser keeps', async () => {
  const door = await openTestDoor('any');
  try {
    const { ask } = await signedIn(door, 'Eve');
    expect(await ask('a=1')).toBe(200);
    let status = 0;
    for (let index = 0; index < 2 * MANY && status !== 429; index++) status = await ask('a=1', `iws_${'z'.repeat(52)}`);
    expect(status).toBe(429);
    for (const beside of ['a=2', 'a=3; b=4', 'a=1']) expect(await ask(beside)).toBe(200);
  } finally {
    await door.close();
  }
});
