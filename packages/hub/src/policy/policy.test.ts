import { readFileSync } from 'node:fs';
import { schemaToJson } from '@cedar-policy/cedar-wasm/nodejs';
import { expect, test } from 'vitest';
import type { Principal } from '../identity/principal.ts';
import { ACTIONS, type Action } from './actions.ts';
import { createPolicy } from './policy.ts';

const here = { territory: 'ter_a' };
const key = (role: string): Principal => ({
  kind: 'key',
  keyId: 'key_1',
  territory: 'ter_a',
  role,
  name: '',
  dataClass: 'internal',
});
const device: Principal = { kind: 'device', deviceId: 'dev_1', territory: 'ter_a' };
const everyAction = Object.keys(ACTIONS) as Action[];

const policy = await createPolicy();
const may = (principal: Principal, action: Action, resource = here): boolean => {
  try {
    policy.decide(principal, action, resource);
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'forbidden' });
    return false;
  }
};
const allowed = (principal: Principal): Action[] => everyAction.filter((action) => may(principal, action));

test('the schema declares every action of the table, on the same kind of thing, and no other', () => {
  const answer = schemaToJson(readFileSync(new URL('schema.cedarschema', import.meta.url), 'utf8'));
  if (answer.type === 'failure') throw new Error(answer.errors[0]?.message);
  const declared = Object.entries(answer.json['']?.actions ?? {}).map(([name, { appliesTo }]) => [
    name,
    appliesTo?.resourceTypes.join(),
  ]);
  expect(Object.fromEntries(declared)).toEqual(ACTIONS);
});

test('a steward may do everything in its territory', () => {
  expect(allowed(key('steward'))).toEqual(everyAction);
});

test('a caller asks and reads, and nothing else', () => {
  expect(allowed(key('caller')).sort()).toEqual([
    'answer',
    'listModels',
    'readOwnRequests',
    'readOwnUsage',
    'readStatus',
    'showModel',
  ]);
});

test('a device fetches blobs, and nothing else', () => {
  expect(allowed(device)).toEqual(['fetchBlob']);
});

test('nothing is allowed across territories', () => {
  for (const principal of [key('steward'), key('caller'), device]) {
    for (const action of everyAction) expect(may(principal, action, { territory: 'ter_b' })).toBe(false);
  }
});

test('a refusal names what is missing and who could', () => {
  const asCaller = (): void => policy.decide(key('caller'), 'createInvite', here);
  expect(asCaller).toThrow('role caller may not createInvite; ask a steward');
  const asDevice = (): void => policy.decide(device, 'createKey', here);
  expect(asDevice).toThrow('a device may not createKey; that takes the key of a steward');
  expect(() => policy.decide(key('steward'), 'answer', { territory: 'ter_b' })).toThrow(/another territory/);
});

test('without policies nothing is permitted', async () => {
  const none = await createPolicy({ policies: '' });
  for (const principal of [key('steward'), key('caller'), device]) {
    for (const action of everyAction) expect(() => none.decide(principal, action, here)).toThrow(/; nobody may/);
  }
});

test('policies under two texts are two versions that do not disturb each other', async () => {
  const open = await createPolicy({ policies: 'permit (principal is Device, action, resource);' });
  expect(open.version).not.toBe(policy.version);
  open.decide(device, 'answer', here);
  expect(may(device, 'answer')).toBe(false);
});

test.each([
  ['does not parse', 'permit (principal action resource);'],
  ['names an unknown action', 'permit (principal, action == Action::"fly", resource);'],
  ['names an unknown role', 'permit (principal is Key, action, resource) when { principal.role == Role::"stewart" };'],
  ['reads what is not there', 'permit (principal is Key, action, resource) when { principal.colour == "red" };'],
  ['can never apply', 'permit (principal is Device, action == Action::"createKey", resource);'],
])('a policy that %s is refused at the start', async (_, policies) => {
  await expect(createPolicy({ policies })).rejects.toThrow(/the policies do not hold/);
});
