import { IdlewildError, codeOf } from '@idlewild/protocol';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { createGuesses } from './guesses.ts';

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
        const code = await guesses.watch(address, guess(index), act).catch((error: unknown) => codeOf(error) ?? 'none');
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
  await expect(guesses.watch('203.0.113.7', guess(9_999), right)).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
    details: { retryAfterSeconds: 1 },
  });
  expect(await guesses.watch('203.0.113.8', guess(9_999), right)).toBe('ada');
  await clock.advance(60_000);
  expect(await flood('203.0.113.7', MANY)).toEqual({ unauthenticated: MANY });
  expect(told).toHaveLength(2);
});

test('whose key worked before goes on, beside somebody who guesses at the same address', async () => {
  const { guesses, flood } = setUp();
  await guesses.watch('203.0.113.7', guess(9_999), right);
  await flood('203.0.113.7', MANY + 1);
  expect(await guesses.watch('203.0.113.7', guess(9_999), right)).toBe('ada');
});

test('what is known and over, what is shaped like no secret, and what else goes wrong is no guess', async () => {
  const { guesses, flood } = setUp();
  const failing = async (): Promise<string> => {
    throw new IdlewildError('database_unavailable', 'away');
  };
  for (let index = 0; index < 2 * MANY; index++) {
    await guesses.watch('a', guess(index), unknown({ keyId: 'key_1' })).catch(() => {});
    await guesses.watch('a', guess(index), unknown({ session: 'sis_1' })).catch(() => {});
    await guesses.watch('a', `Bearer sk-${index}`, unknown()).catch(() => {});
    await guesses.watch('a', guess(index), failing).catch(() => {});
  }
  expect(await flood('a', MANY)).toEqual({ unauthenticated: MANY });
});

test('addresses are forgotten oldest first, beyond the bound', async () => {
  const { guesses, flood } = setUp();
  await flood('the first', MANY);
  for (let index = 0; index < HUB_LIMITS.guessersMax; index++)
    await guesses.watch(`a${index}`, guess(1), unknown()).catch(() => {});
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
