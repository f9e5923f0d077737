/** Claims about whom a role on a pool reaches: which devices may answer, and how that is told. */
import { describe, expect, test } from 'vitest';
import type { KeyPrincipal } from '../identity/principal.ts';
import { policyWorlds, type PolicyWorld } from './testing/policy-world.ts';

const MODEL = { territory: 'ter_a', id: 'bafy1' };
const LAB = ['pool', 'lab'] as const;
const ATTIC = ['pool', 'attic'] as const;

/** Of these four places, those where the asker may be answered. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  none: [],
  lab: ['lab'],
  attic: ['attic'],
  both: ['attic', 'lab'],
};
async function placesOf(world: PolicyWorld, asker: KeyPrincipal): Promise<string[]> {
  const reach = (await world.policy.permit(asker, 'answer', MODEL)).reach();
  return Object.keys(PLACES).filter((name) => reach.includes([...(PLACES[name] ?? []), 'elsewhere']));
}

describe.each(await policyWorlds())('with $kind', ({ open }) => {
  /** A key whose own role permits to list models, and no answers. */
  async function bare(): Promise<{
    world: PolicyWorld;
    key: KeyPrincipal;
    bind: (...scope: readonly string[]) => Promise<void>;
  }> {
    const world = await open();
    const key = await world.key('auditor');
    const bind = async (...[kind, id]: readonly string[]): Promise<void> =>
      world.bind({
        key: key.keyId,
        role: 'caller',
        ...(kind === undefined ? {} : { scope: [kind as 'pool', id ?? ''] }),
      });
    return { world, key, bind };
  }

  test('a role on a pool reaches its devices, on two pools those of both, in the whole territory all', async () => {
    const { world, key, bind } = await bare();
    expect(await world.refusal(key, 'answer')).toMatchObject({ code: 'forbidden' });
    await bind(...LAB);
    expect(await placesOf(world, key)).toEqual(['lab', 'both']);
    await bind(...ATTIC);
    expect(await placesOf(world, key)).toEqual(['lab', 'attic', 'both']);
    await bind();
    expect(await placesOf(world, key)).toEqual(['none', 'lab', 'attic', 'both']);
  });

  test('a model is not reached by way of a pool on which something else is permitted', async () => {
    const { world, key } = await bare();
    await world.bind({ key: key.keyId, role: 'auditor', scope: LAB });
    await expect(world.policy.permit(key, 'answer', MODEL)).rejects.toMatchObject({ code: 'forbidden' });
    await world.bind({ key: key.keyId, role: 'caller', scope: ['model', 'bafy1'] });
    expect(await placesOf(world, key)).toEqual(['none', 'lab', 'attic', 'both']);
  });

  test('a key of a person reaches what both reach', async () => {
    const world = await open();
    await world.member('per_ada', []);
    await world.bind({ person: 'per_ada', role: 'caller', scope: LAB });
    const wide = await world.key('caller', 'per_ada');
    expect(await placesOf(world, wide)).toEqual(['lab', 'both']);
    const narrow = await world.key('auditor', 'per_ada');
    await world.bind({ key: narrow.keyId, role: 'caller', scope: ATTIC });
    expect(await placesOf(world, narrow)).toEqual(['both']);
  });

  test('what forbids in a pool forbids there, also to whom everything else is open', async () => {
    const world = await open();
    const key = await world.key('caller');
    await world.write('house', '@id("x") forbid (principal in Role::"auditor", action == Action::"answer", resource);');
    expect(await placesOf(world, key)).toEqual(['none', 'lab', 'attic', 'both']);
    await world.bind({ key: key.keyId, role: 'auditor', scope: LAB });
    expect(await placesOf(world, key)).toEqual(['none', 'attic']);
  });

  test('a permit that runs reaches less when a binding expires, and nothing when the last one does', async () => {
    const { world, key, bind } = await bare();
    await bind(...LAB);
    await world.bind({ key: key.keyId, role: 'caller', scope: ATTIC, untilMs: 5_000 });
    const permit = await world.policy.permit(key, 'answer', MODEL);
    expect(permit.reach().includes(['attic'])).toBe(true);
    await world.clock.advance(5_000);
    expect(await permit.refusal()).toBeUndefined();
    expect(permit.reach().includes(['attic'])).toBe(false);
    expect(permit.reach().includes(['lab'])).toBe(true);
    expect(permit.reach().pools()).toEqual(['lab']);
  });

  test('who asks why is told the pools', async () => {
    const { world, key, bind } = await bare();
    await bind(...LAB);
    await bind(...ATTIC);
    const told = await world.policy.explain(key, 'answer', MODEL);
    expect(told).toMatchObject({ isAllowed: true, decidedBy: ['role:caller'], pools: ['attic', 'lab'] });
    expect(told).toMatchObject({ message: expect.stringMatching(/for devices of the pools attic and lab only$/) });
    await bind();
    expect(await world.policy.explain(key, 'answer', MODEL)).not.toHaveProperty('pools');
  });

  test('for whom pools make no difference nothing is looked at', async () => {
    const world = await open();
    const { reach } = await world.policy.permit(await world.key('caller'), 'answer', MODEL);
    expect(reach()).toMatchObject({ key: '' });
    expect(reach().pools()).toBeUndefined();
  });
});
