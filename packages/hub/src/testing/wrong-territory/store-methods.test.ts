/**
 * Claims about every store method there is: asked by one territory with whatever is another's, it tells nothing of it
 * and changes nothing of it. Methods are found in the source; one that no call reaches fails by its name, until it is
 * reached or listed here with why not.
 */
import { createMemoryBlobStore } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { storeTinyModel } from '@idlewild/protocol/testing';
import { OperationNodeTransformer, ValueNode, type BinaryOperationNode, type KyselyPlugin } from 'kysely';
import { CID } from 'multiformats/cid';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase } from '../../db/open.ts';
import type { Database } from '../../db/schema.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets, secretsOf } from '../../identity/secrets.ts';
import { insertTerritory, makeTerritoryKey } from '../../identity/territory.ts';
import { silentLog } from '../../log.ts';
import { fillTerritory, keepTerritory, type FullTerritory } from '../full-territory.ts';
import { tablesOf } from '../territory-wall.ts';
import { openTestDoor, testMetrics, type TestDoor } from '../test-door.ts';
import { attack, type AttackDeps, type Handles, type Told } from './attack.ts';
import { spend, tryKeys } from './day.ts';
import { filesWithQueries, sitesIn, watchQueries, type Site } from './sites.ts';

/** Files that are about more than one territory, or make the first. */
const NOT_ASKED: Readonly<Record<string, string>> = {
  'archive/back-up.ts': 'a backup is of the whole hub, made on its machine',
  'archive/import-beside.ts': 'brings a whole territory, on the machine of the hub',
  'archive/place.ts': 'finds the territories of a database, on the machine of the hub',
  'archive/restore.ts': 'fills an empty database',
  'archive/tables.ts': 'a backup is of the whole hub',
  'archive/target.ts': 'fills an empty database',
  'gateway/door/front.ts': 'finds out which territory a key or a session is of, by its hash',
  'gateway/routes/record.ts': 'a route; all of them are asked in gateway/crossing.test.ts',
  'house/closed.ts': 'finds out of which closed territory a key or a session is, by its hash',
  'house/hosting.ts': 'makes, closes and opens territories, for whoever runs the hub',
  'house/house.ts': 'which territories there are',
  'hub.ts': 'whether the database answers',
  'identity/territory.ts': 'makes the first territory',
  'people/communities.ts': 'in which territories a person is who asks that herself',
  'people/proved.ts': 'in which territories a person is who has proved that she is it',
  'sign-in/brought-passkeys.ts': 'a person brings a passkey of hers from where she proved that it is hers',
  'sign-in/elsewhere.ts': 'a person who proved in another territory who she is joins this one',
};

/** Functions, by their folders, behind a step that nothing of another territory's passes, or that take nothing. */
const BEHIND: Readonly<Record<string, readonly string[]>> = {
  'what it is about was found in the own territory before': [
    'models#insert',
    'models#rowByCid',
    'people#checkScope',
    'people#join',
    'policy#deviceFacts',
    'policy#keyFacts',
    'projects#endAllocations',
    'projects#nameOfProject',
    'sign-in#add',
    'sign-in#find',
    'sign-in#noteUse',
    'sign-in#makeRoom',
    'sign-in#noteSeen',
    'trust#putIn',
    'trust#putInvited',
    'trust#removeSteward',
    'trust#whyNot',
    'use#checkFree',
    'use#decide',
    'use#file',
  ],
  'it takes nothing but its own territory': [
    'answers#closeOrphans',
    'audit#signNext',
    'audit#thin',
    'audit#keepNodes',
    'audit#nodesAt',
    'identity#look',
    'identity#rename',
    'projects#countMembers',
    'storage#settle',
  ],
  'what it writes is made of what was found in the own territory, and its own tests stand behind the wall': [
    'answers#adoptAnswer',
    'answers#writeEnd',
    'callers#put',
    'policy#write',
    'storage#createHeldBlobs',
  ],
};

let door: TestDoor;
let theirs: Hub;
let putBack: () => Promise<void>;
let other: FullTerritory;
let before: string;
let sites: Site[];
let watch: ReturnType<typeof watchQueries>;
let told: ReadonlyMap<string, string>;
let deps: Omit<AttackDeps, 'onTold'>;

beforeAll(async () => {
  const database = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  const { db } = database;
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
  const secrets = createMemorySecrets();
  door = await openTestDoor('ours', { database, store, secrets });
  const { hub } = door;
  const { id: territory } = hub.territory;
  const ports = { crypto: nodeCrypto, random: nodeRandom, clock: systemClock, log: silentLog, store };
  theirs = await openOther(hub, { ...ports, database, secrets });
  const modelOf = async (what: string): Promise<{ cid: string; manifest: Uint8Array }> => {
    const cid = await storeTinyModel(store, what, { crypto: nodeCrypto });
    return { cid, manifest: (await store.get(CID.parse(cid))) as Uint8Array };
  };
  const fill = async (id: string): Promise<FullTerritory> =>
    fillTerritory(db, { territory: id, random: nodeRandom, isInUse: true, model: await modelOf(`only ${id} has it`) });
  other = await fill(theirs.territory.id);
  const { id: actor } = await hub.keys.create({ territory, role: 'steward', actor: 'test' });
  before = await other.rows();
  watch = watchQueries();
  told = await spend({ door, fetch, actor, other: byKind(other) });
  const own = await fill(territory);
  putBack = await keepTerritory(db, territory);
  const tables = await tablesOf(db);
  sites = filesWithQueries()
    .flatMap(sitesIn)
    .filter(({ file, table }) => NOT_ASKED[file] === undefined && (table === undefined || tables.has(table)));
  const names = { owner: hub.replica.id, now: systemClock.now, nowMs: database.nowMs, territory };
  const parts = { ...hub, ...hub.people, ...hub.signIn, ...ports, ...names, db, database };
  deps = { db, territory, actor, own: byKind(own), other: byKind(other), parts };
});
afterAll(async () => {
  watch.stop();
  await door.close();
});

/** Another territory of the same process. */
async function openOther(
  { audit }: Hub,
  deps: Omit<Parameters<typeof createHub>[0], 'meter' | 'territory'>,
): Promise<Hub> {
  const { db } = deps.database;
  const made = await makeTerritoryKey(deps, (id) => secretsOf(deps.secrets, id));
  await db
    .transaction()
    .execute((transaction) => insertTerritory(transaction, { ...deps, audit }, { ...made, name: 'others' }, 'test'));
  const hub: Hub = await createHub({ ...deps, territory: made.id, meter: testMetrics(() => hub).meter });
  return hub;
}

/** Names that a method takes, beside ids, hashes and codes. */
const NAMES = /^(models|groups|roles|projects|devices)\.name$|^models\.cid$|\.(pool|user_code|hash|id|token_hash)$/;

/** One handle of each kind: more of a kind would find no more. */
function byKind({ handles }: FullTerritory): Handles {
  const kinds = new Map<string, string>();
  for (const [handle, column] of handles) {
    const isId = /^[a-z]{3}_[a-z2-7]{26}$/.test(handle);
    const kind = isId ? handle.slice(0, 3) : column;
    if ((isId || NAMES.test(column)) && !kinds.has(kind)) kinds.set(kind, handle);
  }
  return kinds;
}

/** What of the other territory was heard of in it. */
const heard = ({ given, result }: Told): string | undefined =>
  [...other.handles].find(([handle]) => !given.has(handle) && result.includes(handle))?.[1];

/** Attacks these files; returns what is wrong, each method once. */
async function findings(files: Iterable<string>, given: Omit<AttackDeps, 'onTold'>): Promise<string[]> {
  const wrong: string[] = [];
  const onTold = async (method: string, all: readonly Told[]): Promise<void> => {
    await putBack();
    const one = all.find((each) => heard(each) !== undefined);
    if (one !== undefined) wrong.push(`${method} tells of ${heard(one)}: ${one.result.slice(0, 200)}`);
    if ((await other.rows()) === before) return;
    wrong.push(`${method} changes what is another territory's`);
    before = await other.rows();
  };
  for (const file of files) await attack(file, { ...given, onTold });
  return wrong;
}

test('on an ordinary day whatever is asked for of another territory is refused', async () => {
  expect(told.size).toBeGreaterThan(10);
  for (const [what, came] of told) expect(came, what).toMatch(/^there is no |^this session was ended/);
  expect(await other.rows()).toBe(before);
});

test('a key, an invite, a link and a session open doors in their own territory and in no other', async () => {
  const { id: territory } = theirs.territory;
  const made = await theirs.keys.create({ territory, role: 'steward', actor: 'test' });
  const steward = await theirs.keys.authenticate(made.key);
  const invited = { by: steward, name: 'Eve', role: 'member', groups: [] };
  const { secret } = await theirs.invites.create({ territory, uses: 9, expiresInMs: 60_000, createdBy: made.id });
  const first = await theirs.signIn.links.invite(invited);
  const { token } = await theirs.signIn.links.redeem(first.code, { kind: 'browser', label: 'x' });
  const { code } = await theirs.signIn.links.invite({ ...invited, name: 'Ann' });
  const all = { key: made.key, invite: secret, link: code, session: token };
  before = await other.rows();
  expect(await tryKeys(door.hub, all)).toEqual([]);
  expect(await other.rows()).toBe(before);
  expect(await tryKeys(theirs, all)).toEqual(['key', 'invite', 'link', 'session']);
  // What it does by itself from here on would look like something done to it.
  await theirs.stop();
  before = await other.rows();
});

test("every store method, asked for what is another territory's, tells nothing of it and leaves it be", async () => {
  expect(await findings(new Set(sites.map(({ file }) => file)), deps)).toEqual([]);
  const nameOf = ({ store }: Site): string => store.replace(/\/.*#/, '#');
  const untried = sites.filter(({ file, line }) => !watch.seen.has(`${file}:${line}`)).map(nameOf);
  const excused = Object.values(BEHIND).flat();
  expect([...new Set(untried)].filter((store) => !excused.includes(store))).toEqual([]);
  const known = new Set(sites.map(nameOf));
  expect(excused.filter((store) => !known.has(store))).toEqual([]);
}, 120_000);

/** The same database, in whose queries a territory is compared with nothing. */
function forgetful(db: Database): Database {
  const isTerritory = (side: unknown): boolean => JSON.stringify(side).includes('"territory_id"');
  class Forgetful extends OperationNodeTransformer {
    protected override transformBinaryOperation(node: BinaryOperationNode): BinaryOperationNode {
      if (!isTerritory(node.leftOperand)) return super.transformBinaryOperation(node);
      const one = ValueNode.createImmediate(1);
      return { ...node, leftOperand: one, rightOperand: one };
    }
  }
  const transformer = new Forgetful();
  const plugin: KyselyPlugin = {
    transformQuery: ({ node, queryId }) => transformer.transformNode(node, queryId),
    transformResult: async ({ result }) => result,
  };
  return db.withPlugin(plugin);
}

// It breaks what is the other's, and so comes last.
test.each([
  'identity/keys.ts',
  'identity/devices.ts',
  'people/groups.ts',
  'people/members.ts',
  'people/roles.ts',
  'projects/allocations.ts',
  'projects/rules.ts',
  'models/registry.ts',
  'trust/device-trust.ts',
  'use/appeals.ts',
])('a room that forgets to say of which territory is found out: %s', async (file) => {
  const db = forgetful(deps.db);
  const database = { ...(deps.parts.database as object), db };
  expect(await findings([file], { ...deps, db, parts: { ...deps.parts, db, database } })).not.toEqual([]);
});
