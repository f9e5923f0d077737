/**
 * Claims about every route there is: with a key of one territory, whatever belongs to another is asked for in vain, and
 * the answer is that to what nobody has.
 *
 * Routes and their bodies come from the OpenAPI document, handles of the other territory from its rows. A route that
 * this cannot ask for in earnest fails by its name, until `RECIPES` of `testing/every-route.ts` says how.
 */
import { createMemoryBlobStore, newId, type IdPrefix } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { storeTinyModel } from '@idlewild/protocol/testing';
import { CID } from 'multiformats/cid';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase } from '../db/open.ts';
import { attempts, everyRoute, type Attempt, type Route } from '../testing/every-route.ts';
import { fillTerritory, type FullTerritory } from '../testing/full-territory.ts';
import { openTestDoor, type TestDoor } from '../testing/test-door.ts';

const B = `ter_${'b'.repeat(26)}`;
let door: TestDoor;
let other: FullTerritory;
let routes: Route[];
const keys: Record<string, string> = {};

beforeAll(async () => {
  const database = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
  door = await openTestDoor('ours', { database, store });
  const { hub } = door;
  for (const role of ['steward', 'caller'] as const)
    keys[role] = (await hub.keys.create({ territory: hub.territory.id, role, actor: 'test' })).key;
  const row = { id: B, name: 'the others', public_key: nodeRandom.bytes(32), created_at_ms: 1 };
  await database.db.insertInto('territories').values(row).execute();
  const cid = await storeTinyModel(store, 'what only the others have', { crypto: nodeCrypto });
  const manifest = (await store.get(CID.parse(cid))) as Uint8Array;
  other = await fillTerritory(database.db, { territory: B, random: nodeRandom, model: { cid, manifest } });
  routes = await everyRoute(door.url, fetch);
});
afterAll(() => door.close());

function ask(role: string, method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(door.url + path, {
    method,
    headers: {
      authorization: `Bearer ${keys[role]}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

/** Routes that refuse whatever is put in as malformed, and why that is all there is to ask. */
const MALFORMED: Readonly<Record<string, string>> = {
  'GET /api/audit/report': "takes two instants, and nothing that could be another territory's",
  'POST /v1/sealed/answers': 'takes an offer that its own hub has sealed, and reads nothing else as one',
  'POST /v1/sealed/refusals': 'takes an offer that its own hub has sealed, and a rule that holds for who asks',
  'PUT /api/policy': 'takes policies, whose names are its own, and which refer to nobody before they are asked',
  'PUT /api/use': 'takes rules, which name nobody, and what a steward signed of them',
};

/** The same kind of handle, of nothing. */
function nothingLike(handle: string): string {
  if (/^[a-z]{3}_[a-z2-7]{26}$/.test(handle)) return newId(handle.slice(0, 3) as IdPrefix, nodeRandom);
  if (handle.startsWith('baf')) return NO_CID;
  return `${handle.slice(0, -6)}${newId('att', nodeRandom).slice(4, 10)}`;
}
const NO_CID = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy';

/** What is told, without what was asked for and what is new in every answer. */
function plain(text: string, handle: string): string {
  return text
    .replaceAll(handle, '…')
    .replaceAll(encodeURIComponent(handle), '…')
    .replace(/\b[a-z]{3}_[a-z2-7]{26}\b/g, 'id')
    .replace(/\biw[a-z]*_[a-z2-7]+|\biwj1\.[\w-]+/g, 'secret')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'then')
    .replace(/"key":"[\w-]{43}"/g, '"key":new')
    .replace(/"(challenge|userCode|secret|created|url)":("[^"]*"|\d+)/g, '"$1":new');
}

interface Told {
  readonly status: number;
  readonly text: string;
}
const told = async (role: string, method: string, { path, body }: Attempt, handle: string): Promise<Told> => {
  const response = await ask(role, method, path, body);
  return { status: response.status, text: plain(await response.text(), handle) };
};

/** Routes that say of whoever is not here that there is nothing, and not that there is nobody. */
const TAKES_ANY: Readonly<Record<string, string>> = {
  'GET /api/members/{id}/sessions': 'of who is no member there are none',
  'DELETE /api/members/{id}/sessions': 'of who is no member there are none to end',
};

/** Routes that tell of the asking itself; that they tell no more is claimed where their rooms are tested. */
const TELLS_OF_IT: Readonly<Record<string, string>> = {
  'GET /api/audit': 'in its own log stands what was asked for here in vain, by its id',
};

interface Findings {
  /** Where the two answers differ. */
  readonly wrong: string[];
  /** Routes that refused every body as malformed. */
  readonly unasked: string[];
  /** Routes with a handle in their path that succeeded all the same. */
  readonly willing: Set<string>;
}

async function askAll(role: string): Promise<Findings> {
  const findings: Findings = { wrong: [], unasked: [], willing: new Set() };
  for (const route of routes) {
    const name = `${route.method} ${route.path}`;
    const statuses = new Set<number>();
    const handles = role === 'steward' || route.path.includes('{') ? chosen() : [];
    for (const handle of handles) {
      const twin = nothingLike(handle);
      const theirs = attempts(route, twin);
      const ours = attempts(route, handle);
      // Without a place for it there is nothing to ask.
      if (!ours.some(({ path, body }) => `${path} ${JSON.stringify(body)}`.includes(handle))) break;
      for (const [index, attempt] of ours.entries()) {
        const [one, none] = await Promise.all([
          told(role, route.method, attempt, handle),
          told(role, route.method, theirs[index] as Attempt, twin),
        ]);
        statuses.add(one.status);
        // Who tries to sign in too often is told so, whatever was tried.
        if (one.status === 429 || none.status === 429) continue;
        if (TELLS_OF_IT[name] !== undefined && one.status === none.status) continue;
        if (one.status !== none.status || one.text !== none.text)
          findings.wrong.push(
            `${name} with ${other.handles.get(handle)}: ${one.status} ${one.text} but ${none.status} ${none.text}`,
          );
        if (
          one.status < 300 &&
          (attempt.path.split('?')[0] ?? '').includes(encodeURIComponent(handle)) &&
          TAKES_ANY[name] === undefined
        )
          findings.willing.add(name);
      }
    }
    if (statuses.size === 1 && statuses.has(400)) findings.unasked.push(name);
  }
  return findings;
}

/** One handle of each kind: more of a kind would find no more. */
function chosen(): string[] {
  const kinds = new Map<string, string>();
  for (const [handle, column] of other.handles) {
    const isId = /^[a-z]{3}_[a-z2-7]{26}$/.test(handle);
    if (
      !isId &&
      !handle.startsWith('baf') &&
      !/^(models|groups|roles|projects|devices)\.name$|\.(pool|user_code)$/.test(column)
    )
      continue;
    const kind = isId ? handle.slice(0, 3) : column;
    if (!kinds.has(kind)) kinds.set(kind, handle);
  }
  return [...kinds.values()];
}

test('nothing that a list shows is of another territory', async () => {
  for (const role of ['steward', 'caller']) {
    for (const { method, path } of routes) {
      if (method !== 'GET' || path.includes('{')) continue;
      const text = await (await ask(role, method, path)).text();
      const shown = [...other.handles].filter(([handle]) => text.includes(handle)).map(([, column]) => column);
      expect(shown, path).toEqual([]);
    }
  }
});

test.each(['steward', 'caller'])(
  "a %s who asks for another territory's, on any route, is told what is told of nothing, and changes nothing",
  async (role) => {
    const before = await other.rows();
    const { wrong, unasked, willing } = await askAll(role);
    expect(wrong).toEqual([]);
    expect([...willing]).toEqual([]);
    if (role === 'steward') expect(unasked.toSorted()).toEqual(Object.keys(MALFORMED));
    expect(await other.rows()).toBe(before);
  },
  120_000,
);
