import { schemaToJson } from '@cedar-policy/cedar-wasm/nodejs';
import { codeOf } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import type { KeyPrincipal, Principal } from '../identity/principal.ts';
import { ACTIONS, type Action } from './actions.ts';
import { PERMISSIONS } from './built-in-roles.ts';
import { SCHEMA } from './cedar.ts';
import type { Resource, Said } from './port.ts';
import { policyWorlds, type PolicyWorld } from './testing/policy-world.ts';

const worlds = await policyWorlds();
const everyAction = (Object.keys(ACTIONS) as Action[]).filter((action) => action !== 'readText');

const on = (resource: Partial<Resource> = {}): Resource => ({ territory: 'ter_a', ...resource });

async function allowed(world: PolicyWorld, principal: Principal, resource = on()): Promise<Action[]> {
  const may: Action[] = [];
  for (const action of everyAction) if (await world.policy.allows(principal, action, resource)) may.push(action);
  return may;
}

test('the schema declares every action of the table, on the same kind of thing, and no other', () => {
  const answer = schemaToJson(SCHEMA);
  if (answer.type === 'failure') throw new Error(answer.errors[0]?.message);
  const actions = Object.entries(answer.json['']?.actions ?? {});
  const declared = actions.map(([name, { appliesTo }]) => [name, appliesTo?.resourceTypes.join()]);
  expect(Object.fromEntries(declared)).toEqual(ACTIONS);
  for (const [name, { appliesTo }] of actions)
    if (name !== 'readText') expect(appliesTo?.context, name).toMatchObject({ type: 'Said' });
});

describe.each(worlds)('on $kind', ({ open }) => {
  test('a steward may do everything in its territory', async () => {
    const world = await open();
    expect(await allowed(world, await world.key('steward'), on({ id: 'some' }))).toEqual(everyAction);
  });

  test('a caller asks and reads, and nothing else', async () => {
    const world = await open();
    const may = await allowed(world, await world.key('caller'), on({ id: 'some' }));
    expect(new Set(may)).toEqual(new Set([...PERMISSIONS.caller, 'readSelf']));
    expect(may).toEqual(
      expect.arrayContaining(['answer', 'readOwnRequests', 'listModels', 'readStatus', 'readOwnUsage']),
    );
    expect(
      may.filter((action) => /^(add|remove|create|revoke|drain|invite|manage|bind|change|stop|host)/.test(action)),
    ).toEqual([]);
  });

  test('a device fetches blobs, and nothing else', async () => {
    const world = await open();
    expect(await allowed(world, await world.device())).toEqual(['fetchBlob']);
  });

  test('nothing is allowed across territories', async () => {
    const world = await open();
    const strangers: Principal[] = [await world.key('steward'), await world.key('caller'), await world.device()];
    for (const principal of strangers) {
      for (const action of everyAction) {
        const asked = async (): Promise<void> =>
          world.policy.check(principal, action, { territory: 'ter_b', id: 'some' });
        await expect(asked()).rejects.toMatchObject({ code: 'forbidden' });
      }
    }
    const elsewhere: KeyPrincipal = { ...(await world.key('steward')), territory: 'ter_b' };
    expect(await world.policy.allows(elsewhere, 'answer', { territory: 'ter_b' })).toBe(false);
  });

  test('a refusal names what is missing and who could, also for programs', async () => {
    const world = await open();
    const refused = async (): Promise<void> => world.policy.check(await world.key('caller'), 'createInvite', on());
    await expect(refused()).rejects.toMatchObject({
      code: 'forbidden',
      message: 'this key (caller) may not createInvite: no policy permits it; it takes the role steward; ask a steward',
      details: { action: 'createInvite', decidedBy: [], rolesThatMay: ['steward'] },
    });
  });

  test('a refusal to an own key says which of the two lacks it, and what that one takes', async () => {
    const world = await open();
    await world.member('per_ada', ['member', 'steward']);
    await world.member('per_bob', ['lender']);
    const refused = async (key: Principal, action: Action): Promise<unknown> =>
      Promise.resolve()
        .then(() => world.policy.check(key, action, on()))
        .catch((error: unknown) => error);
    const [caller, steward] = [await world.key('caller', 'per_ada'), await world.key('steward', 'per_bob')];
    expect(await refused(caller, 'createProject')).toMatchObject({
      message: expect.stringContaining(
        'its person may, and no policy permits it to the key; it takes a key with',
      ) as string,
      details: { rolesThatMay: ['steward', 'member'] },
    });
    // By a policy on members' keys, whose role does not list it.
    expect(await refused(caller, 'askAllocation')).toMatchObject({ details: { rolesThatMay: ['steward', 'member'] } });
    expect(await refused(steward, 'createProject')).toMatchObject({
      message: expect.stringContaining(
        'the key may, and no policy permits it to its person; it takes the role steward or member for the person',
      ) as string,
    });
    expect(await refused(await world.key('caller', 'per_bob'), 'createProject')).toMatchObject({
      message: expect.stringContaining(': no policy permits it; it takes the role steward or member; ask') as string,
    });
  });

  test('a refusal to whoever is suspended says what decided, too', async () => {
    const world = await open();
    await world.member('per_ada', ['member']);
    const key = await world.key('member', 'per_ada');
    await world.suspend('per_ada');
    const refused = async (): Promise<void> => world.policy.check(key, 'answer', on());
    await expect(refused()).rejects.toMatchObject({
      code: 'forbidden',
      details: { decidedBy: ['membership'], rolesThatMay: [], needed: 'ask a steward why' },
    });
  });

  test('a role holds where it is bound, and until it expires', async () => {
    const world = await open();
    const key = await world.key('nothing');
    const may = async (resource: Partial<Resource>): Promise<boolean> =>
      world.policy.allows(key, 'answer', on(resource));
    expect(await may({})).toBe(false);
    await world.bind({ key: key.keyId, role: 'caller', scope: ['model', 'bafy1'], untilMs: 10_000 });
    // Some model there is.
    expect([await may({}), await may({ id: 'bafy1' }), await may({ id: 'bafy2' })]).toEqual([true, true, false]);
    await world.bind({ key: key.keyId, role: 'caller', scope: ['project', 'prj_1'] });
    expect([await may({ id: 'bafy2', project: 'prj_1' }), await may({ id: 'bafy2', project: 'prj_2' })]).toEqual([
      true,
      false,
    ]);
    await world.clock.advance(10_000);
    expect(await may({ id: 'bafy1' })).toBe(false);
    expect(await may({ id: 'bafy1', project: 'prj_1' })).toBe(true);
  });

  test('a key of a person may do what both may', async () => {
    const world = await open();
    await world.member('per_ada', ['auditor']);
    const key = await world.key('steward', 'per_ada');
    expect(await world.policy.allows(key, 'readAudit', on())).toBe(true);
    expect(await world.policy.allows(key, 'createInvite', on())).toBe(false);
    const weak = await world.key('caller', 'per_ada');
    expect(await world.policy.allows(weak, 'readAudit', on())).toBe(false);
    expect(await world.policy.allows(weak, 'listModels', on())).toBe(true);
  });

  test('who is in a group has its roles, and loses them with it', async () => {
    const world = await open();
    await world.member('per_ada', []);
    const key = await world.key('steward', 'per_ada');
    await world.group('students', ['per_ada'], ['caller']);
    expect(await world.policy.allows(key, 'answer', on())).toBe(true);
    await world.group('students', [], []);
    expect(await world.policy.allows(key, 'answer', on())).toBe(false);
  });

  test('a suspended member, an ended session and a revoked key have nothing', async () => {
    const world = await open();
    await world.member('per_ada', ['steward']);
    const [session, key] = [await world.session('per_ada'), await world.key('steward')];
    expect(await world.policy.allows(session, 'createInvite', on())).toBe(true);
    await world.suspend('per_ada');
    expect(await world.refusal(session, 'createInvite')).toMatchObject({ code: 'forbidden', message: /suspended/ });
    await world.member('per_bo', ['steward']);
    const other = await world.session('per_bo');
    await world.endSession(other);
    expect(await world.refusal(other, 'createInvite')).toMatchObject({ code: 'unauthenticated' });
    await world.revoke(key);
    expect(await world.refusal(key, 'createInvite')).toMatchObject({ code: 'unauthenticated', message: /revoked/ });
  });

  test('a lender controls her own devices and no others', async () => {
    const world = await open();
    await world.member('per_ada', ['lender']);
    const hers = await world.device('per_ada');
    const other = await world.device();
    for (const asker of [await world.session('per_ada'), await world.key('lender', 'per_ada')]) {
      for (const action of ['showDevice', 'drainDevice', 'revokeDevice'] as const) {
        expect(await world.policy.allows(asker, action, on({ id: hers.deviceId }))).toBe(true);
        expect(await world.policy.allows(asker, action, on({ id: other.deviceId }))).toBe(false);
      }
    }
    // Made for asking.
    const caller = await world.key('caller', 'per_ada');
    expect(await world.policy.allows(caller, 'drainDevice', on({ id: hers.deviceId }))).toBe(false);
  });

  test('a territory forbids what roles permit, and says so', async () => {
    const world = await open();
    const key = await world.key('caller');
    await world.write(
      'quiet',
      `@id("no-secrets") forbid (principal, action == Action::"answer", resource)
      when { context has dataClass && context.dataClass == DataClass::"confidential" };`,
    );
    const ask = async (said: Said): Promise<void> => world.policy.check(key, 'answer', on({ id: 'bafy1' }), said);
    await ask({ dataClass: 'internal' });
    await expect(ask({ dataClass: 'confidential' })).rejects.toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('"quiet/no-secrets" forbids it; a steward can show and change it'),
      details: { decidedBy: ['quiet/no-secrets'], dataClass: 'confidential', rolesThatMay: [] },
    });
    // It may be asked for something else.
    expect(await world.policy.allows(key, 'answer', on())).toBe(true);
  });

  test('a territory permits what no role does, under circumstances', async () => {
    const world = await open();
    await world.member('per_ada', []);
    await world.group('students', ['per_ada'], []);
    const session = await world.session('per_ada');
    expect(await world.policy.allows(session, 'answer', on())).toBe(false);
    await world.write(
      'students',
      `@id("public") permit (principal in Group::"students", action == Action::"answer",
      resource == Model::"bafy1") when { context has purpose && context.purpose == "homework" };`,
    );
    expect(await world.policy.allows(session, 'answer', on())).toBe(true);
    expect(await world.policy.allows(session, 'answer', on({ id: 'bafy1' }))).toBe(false);
    expect(await world.policy.allows(session, 'answer', on({ id: 'bafy1' }), { purpose: 'homework' })).toBe(true);
    expect(await world.policy.allows(session, 'answer', on({ id: 'bafy2' }), { purpose: 'homework' })).toBe(false);
  });

  test('which devices may see which texts is a policy', async () => {
    const world = await open();
    const tiers = async (): Promise<string[][]> =>
      Promise.all(
        (['public', 'internal', 'confidential'] as const).map(async (each) => [
          ...(await world.policy.tiersFor(each)).tiers,
        ]),
      );
    expect((await world.policy.tiersFor('confidential')).forbids).toEqual(new Map());
    expect(await tiers()).toEqual([
      ['own', 'vetted', 'member', 'public'],
      ['own', 'vetted', 'member'],
      ['own', 'vetted'],
    ]);
    await world.write(
      'texts',
      `@id("own-only") forbid (principal, action == Action::"readText", resource)
      unless { principal == Tier::"own" || resource == DataClass::"public" };`,
    );
    expect(await tiers()).toEqual([['own', 'vetted', 'member', 'public'], ['own'], ['own']]);
    const forbidden = ['vetted', 'member', 'public'].map((tier) => [tier, ['texts/own-only']] as const);
    expect((await world.policy.tiersFor('internal')).forbids).toEqual(new Map(forbidden));
  });

  test('what is known is answered at once, and what changed is asked again', async () => {
    const world = await open();
    const key = await world.key('caller');
    await world.policy.allows(key, 'answer', on());
    expect(world.policy.allows(key, 'answer', on())).toBe(true);
    expect(world.policy.check(key, 'answer', on())).toBeUndefined();
    await world.unbind(key);
    expect(await world.policy.allows(key, 'answer', on())).toBe(false);
  });

  test('a database that does not answer permits nothing', async () => {
    const world = await open();
    const key = await world.key('steward');
    expect(await world.policy.allows(key, 'answer', on())).toBe(true);
    await world.clock.advance(500);
    world.breakDatabase();
    const asked = async (): Promise<boolean> => world.policy.allows(key, 'answer', on());
    await expect(asked()).rejects.toThrow('the database is gone');
    await expect((async () => world.policy.check(key, 'answer', on()))()).rejects.toSatisfy(
      (error) => codeOf(error) !== 'forbidden',
    );
  });

  test('policies that no longer hold shut everything but what mends them', async () => {
    const world = await open();
    const [key, caller] = [await world.key('steward'), await world.key('caller')];
    await world.write('old', '@id("gone") permit (principal, action == Action::"fly", resource);');
    expect(await allowed(world, key, on({ id: 'some' }))).toEqual(['readPolicy', 'changePolicy']);
    expect(await allowed(world, caller)).toEqual([]);
    expect([...(await world.policy.tiersFor('public')).tiers]).toEqual([]);
  });
});
