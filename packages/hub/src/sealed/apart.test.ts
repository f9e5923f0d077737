/** Claims about which device a hub names for a second answer to a sealed prompt. */
import { LIMITS } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OWN_LEAVE } from '../policy/permit.ts';
import { warmModel } from '../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../testing/test-door.ts';
import { addTestSteward } from '../testing/test-steward.ts';
import type { OfferRequest } from './port.ts';

let door: TestDoor;
const ids = new Map<string, string>();
const idOf = (name: string): string => ids.get(name) ?? '';

const LENDERS: readonly (readonly [device: string, lender: string, numericClass: string])[] = [
  ['ada-1', 'ada', 'class-a'],
  ['ada-2', 'ada', 'class-a'],
  ['bea', 'bea', 'class-a'],
  ['cyd', 'cyd', 'class-b'],
];

beforeAll(async () => {
  door = await openTestDoor('jacobean');
  const { hub, model } = door;
  const territory = hub.territory.id;
  const actor = 'test';
  const vouch = await addTestSteward(hub, systemClock.now);
  for (const [name, lender, numericClass] of LENDERS) {
    // Ada's second device would be the fastest.
    const tokensPerSecond = name === 'ada-2' ? 1_000 : 100;
    const status = { models: [{ ...warmModel(model.cid), numericClass, tokensPerSecond }] };
    const device = await door.join(undefined, { name, status });
    const id = await vouch(device);
    ids.set(name, id);
    const person = `per_${lender.padEnd(26, 'a')}`;
    const known = await hub.db.selectFrom('people').select('id').where('id', '=', person).executeTakeFirst();
    if (known === undefined) {
      await hub.db.insertInto('people').values({ id: person, name: lender, created_at_ms: 0 }).execute();
      const member = { territory_id: territory, person_id: person, name: lender, state: 'active', joined_at_ms: 0 };
      await hub.db
        .insertInto('members')
        .values({ ...member, state: 'active' as const })
        .execute();
    }
    await hub.deviceTrust.set({ territory, id, actor, tier: 'vetted', person });
  }
  hub.versions.stale();
});
afterAll(() => door.close());

async function named(change: Partial<OfferRequest>): Promise<string> {
  const { hub, model } = door;
  const request: OfferRequest = {
    territory: hub.territory.id,
    caller: 'key_a',
    model,
    text: { dataClass: 'internal', cause: undefined, person: undefined },
    permit: OWN_LEAVE,
    bytes: LIMITS.sealedPromptBytesMin,
    tokens: 100,
    without: [],
    ...change,
  };
  const offer = await hub.sealed.offer(request, new AbortController().signal);
  // Nobody waits for the place to be let go.
  hub.sessions.get(offer.device.id)?.leases.delete(offer.lease);
  return offer.device.name;
}

test('a second answer is rather for a device of another lender, although one of the same is faster', async () => {
  const again = { without: [idOf('ada-1')], numericClass: 'class-a' };
  expect(await named(again)).toBe('ada-2');
  expect(await named({ ...again, apart: true })).toBe('bea');
});

test('where no other lender has such a device one of the same will do', async () => {
  const without = [idOf('ada-1'), idOf('bea')];
  expect(await named({ without, numericClass: 'class-a', apart: true })).toBe('ada-2');
});

test('one of another numeric class will not, and nobody waits long for one that is not there', async () => {
  const without = [idOf('ada-1'), idOf('ada-2'), idOf('bea')];
  const startedMs = performance.now();
  await expect(named({ without, numericClass: 'class-a', apart: true })).rejects.toMatchObject({ code: 'no_device' });
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});
