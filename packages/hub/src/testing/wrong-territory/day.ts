/**
 * An ordinary day of one territory, so that methods are reached that need more than rows that a test makes up: people
 * sign in, a device answers, tokens are granted, held and spent, policies and rules change. Where something of another
 * territory may be named it is, and what comes of that is told.
 */
import { joinTokenOf, messageOf } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import type { Hub } from '../../hub.ts';
import type { KeyPrincipal } from '../../identity/principal.ts';
import { SHOWBACK_BY, readShowback } from '../../projects/showback.ts';
import type { TestDoor } from '../test-door.ts';
import type { Handles } from './attack.ts';

export interface Day {
  readonly fetch: typeof fetch;
  readonly door: TestDoor;
  /** Id of a steward's key. */
  readonly actor: string;
  readonly other: Handles;
}

/** Each thing that was asked for of the other territory, with what came of it. */
export async function spend({ door, fetch, actor, other }: Day): Promise<Map<string, string>> {
  const { hub } = door;
  const { id: territory } = hub.territory;
  const steward: KeyPrincipal = {
    kind: 'key',
    keyId: actor,
    territory,
    role: 'steward',
    name: '',
    dataClass: 'internal',
  };
  const told = new Map<string, string>();
  const vain = async (what: string, asked: Promise<unknown>): Promise<void> => {
    const came = await asked.then(
      (result) => `was given ${JSON.stringify(result)}`,
      (error: unknown) => messageOf(error),
    );
    told.set(what, came);
  };
  const theirs = (kind: string): string => other.get(kind) ?? '';
  await people(hub, steward, theirs, vain);
  const project = await money(hub, steward, theirs, vain);
  await policies(hub, actor);
  await answer(door, fetch, project);
  await hub.auditDesk.report({ fromMs: 0, toMs: 2 ** 34 });
  for (const actions of [['create*'], ['grant*']]) await hub.audit.search({ territory, actions, limit: 1 });
  for (const by of SHOWBACK_BY)
    await readShowback(hub.db, { territory, by, from: '2026-01-01', to: '2026-01-02', project: theirs('prj') });
  await hub.keys.authenticate(door.key);
  await hub.models.pin({ territory, name: door.model.name, pinned: true, actor });
  await hub.models.remove({ territory, name: door.model.name, actor });
  return told;
}

type Theirs = (kind: string) => string;
type Vain = (what: string, asked: Promise<unknown>) => Promise<void>;

async function people(hub: Hub, steward: KeyPrincipal, theirs: Theirs, vain: Vain): Promise<void> {
  const { signIn, people: room } = hub;
  const { territory, keyId: actor } = steward;
  const { code } = await signIn.links.invite({ by: steward, name: 'Ada', role: 'member', groups: [] });
  const session = await signIn.links.redeem(code, { kind: 'browser', label: 'a browser' });
  const { principal, session: facts } = await signIn.sessions.authenticate(session.token);
  await room.selfOf(principal);
  await hub.policy.permit(principal, 'answer', { territory, id: 'x' });
  const asking = await signIn.approvals.ask({ label: 'a program', address: '127.0.0.1' });
  await signIn.approvals.answer({ userCode: asking.userCode, by: facts, isApproved: true });
  await signIn.approvals.claim(asking.secret);
  const readers = await room.groups.create({ territory, name: 'readers', actor });
  await room.groups.add({ territory, id: readers.id, person: session.person, actor });
  await vain('a member', room.groups.add({ territory, id: readers.id, person: theirs('per'), actor }));
  await room.roles.create({ territory, name: 'asker', permissions: ['answer'], actor });
  await room.roles.change({ territory, name: 'asker', permissions: ['listModels'], actor });
  const binding = { territory, role: 'asker', actor, scope: { kind: 'territory', id: '' } } as const;
  await room.bindings.create({ ...binding, subject: { kind: 'group', id: readers.id } });
  for (const [kind, prefix] of [
    ['person', 'per'],
    ['group', 'grp'],
    ['key', 'key'],
  ] as const)
    await vain(`a ${kind} with a role`, room.bindings.create({ ...binding, subject: { kind, id: theirs(prefix) } }));
  await vain(
    'a project with roles',
    room.bindings.create({
      ...binding,
      subject: { kind: 'person', id: session.person },
      scope: { kind: 'project', id: theirs('prj') },
    }),
  );
  await room.keyDesk.makeOwn(principal, { role: 'caller', name: 'own' });
  await room.ownDevices.list(principal);
  await room.members.list({ territory });
  await room.roles.remove({ territory, name: 'asker', force: true, actor });
  const stolen = { ...principal, session: theirs('sis') };
  await vain('a session', (async () => hub.policy.check(stolen, 'listModels', { territory }))());
}

async function money(hub: Hub, steward: KeyPrincipal, theirs: Theirs, vain: Vain): Promise<string> {
  const { keyId: actor } = steward;
  const named = { name: 'weather', purpose: 'research', description: '' };
  const { id: project } = await hub.projects.create({ ...named, maker: steward, actor });
  const wish = {
    tokens: 1_000_000,
    deviceMs: undefined,
    bytes: 0,
    fromMs: systemClock.now() - 1_000,
    toMs: systemClock.now() + 86_400_000,
    why: 'weather',
    actor,
  };
  const { id } = await hub.allocations.ask({ ...wish, project });
  await vain('a project', hub.allocations.ask({ ...wish, project: theirs('prj') }));
  await hub.allocations.grant({ id, note: 'yes', actor });
  await vain('an allocation', hub.allocations.grant({ id: theirs('alc'), note: 'yes', actor }));
  const caps = { tokensPerDay: 1_000_000 };
  // A cap that is set while a request runs counts what that holds.
  const wanted = { promptTokens: 1, answerTokens: 1, answers: 1 };
  const { id: keyId } = await hub.keys.create({ territory: steward.territory, role: 'caller', project, actor });
  const hold = await hub.spending.begin({ id: 'req_runs', keyId, project, wanted });
  await hub.spendRules.setCaps({ kind: 'project', subject: project, caps, actor });
  hold?.over();
  for (const [kind, prefix] of [
    ['project', 'prj'],
    ['person', 'per'],
    ['key', 'key'],
  ] as const)
    await vain(`a cap of a ${kind}`, hub.spendRules.setCaps({ kind, subject: theirs(prefix), caps, actor }));
  return project;
}

async function policies(hub: Hub, actor: string): Promise<void> {
  await hub.policyDesk
    .apply([{ name: 'quiet', text: 'forbid (principal, action == Action::"speak", resource);' }], {
      actor,
      why: 'a word',
    })
    .catch(() => {});
  await hub.policyDesk.stopModel('bafystopped', { actor, why: 'a word', name: 'stopped' });
  hub.announcePeople();
  await hub.use.apply({ rules: { v: 1 }, actor });
  await hub.use.current();
}

/** Under a key of the project, and an Idempotency-Key, so that it is written down, held for and kept. */
async function answer(door: TestDoor, ask: typeof fetch, project: string): Promise<void> {
  const { hub, url, model } = door;
  const { id: territory } = hub.territory;
  await door.join(() => ({ tokens: ['Good', ' morrow'] }));
  const { key } = await hub.keys.create({ territory, role: 'caller', project, actor: 'test' });
  const response = await ask(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'idempotency-key': 'once' },
    body: JSON.stringify({ model: model.name, messages: [{ role: 'user', content: 'hello' }] }),
  });
  if (!response.ok) throw new Error(`nobody answered: ${await response.text()}`);
  await response.text();
}

/** What opens doors of another territory, tried at the own ones. */
export async function tryKeys(
  hub: Hub,
  theirs: { readonly key: string; readonly invite: Uint8Array; readonly link: string; readonly session: string },
): Promise<string[]> {
  const device = { publicKey: new Uint8Array(32), name: 'x', consent: new Uint8Array(1), profile: {} as never };
  const doors: Readonly<Record<string, () => Promise<unknown>>> = {
    key: () => hub.keys.authenticate(theirs.key),
    invite: () => hub.invites.redeem(hub.territory.id, joinTokenOf(theirs.invite), device),
    link: () => hub.signIn.links.redeem(theirs.link, { kind: 'browser', label: 'x' }),
    session: () => hub.signIn.sessions.authenticate(theirs.session),
  };
  const open: string[] = [];
  for (const [name, door] of Object.entries(doors))
    await door().then(
      () => open.push(name),
      () => {},
    );
  return open;
}
