/** Every route × every role: the document is what the policies say, and a real server does what the document says. */
import { readFileSync } from 'node:fs';
import { newId } from '@idlewild/protocol';
import { nodeRandom } from '@idlewild/protocol/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addDevice } from '../testing/device-rows.ts';
import type { TestDoor } from '../testing/test-door.ts';
import {
  ASKERS,
  openWholeDoor,
  rbacDocument,
  rbacOf,
  routesWithoutCell,
  type Asker,
  type Row,
} from './testing/rbac.ts';

const DOCUMENT = new URL('../../../../docs/rbac.md', import.meta.url);

let door: TestDoor;
let rows: Row[];
/** What each asker shows. */
const tokens = new Map<Asker, string>();
const people = new Map<Asker, string>();
beforeAll(async () => {
  door = await openWholeDoor();
  rows = await rbacOf(door.routes);
  const { hub } = door;
  const territory = hub.territory.id;
  const device = await door.join();
  tokens.set('device', (await device.joined).ticket);
  for (const role of ASKERS.slice(2)) {
    const person = newId('per', nodeRandom);
    people.set(role, person);
    const facts = { created_at_ms: 0, name: role };
    await hub.db
      .insertInto('people')
      .values({ ...facts, id: person })
      .execute();
    const member = {
      territory_id: territory,
      person_id: person,
      name: role,
      state: 'active',
      joined_at_ms: 0,
    } as const;
    await hub.db.insertInto('members').values(member).execute();
    const scope = { scope_kind: 'territory', scope_id: '', expires_at_ms: null, created_at_ms: 0 } as const;
    await hub.db
      .insertInto('bindings')
      .values({
        ...scope,
        id: newId('bnd', nodeRandom),
        territory_id: territory,
        subject_kind: 'person',
        subject_id: person,
        role,
        created_by: 'test',
      })
      .execute();
  }
}, 60_000);
afterAll(() => door.close());

test('docs/rbac.md is what the policies say of the routes of a server', () => {
  expect(readFileSync(DOCUMENT, 'utf8'), 'run `npm run docs:rbac`').toBe(rbacDocument(rows));
});

test('no route is without a cell', () => {
  expect(routesWithoutCell(readFileSync(DOCUMENT, 'utf8'), door.routes)).toEqual([]);
  expect(routesWithoutCell('| `GET /api/status` | readStatus | no |', door.routes)).toContain('GET /api/status');
});

/** What a path names: something of the asker's own, or nothing that there is. */
async function pathOf({ route, cells }: Row, asker: Asker): Promise<string> {
  const own = cells[asker] === 'own' ? await ownThing(route.url, people.get(asker) ?? '') : 'nothing';
  return route.url.replaceAll(/:[A-Za-z]+/g, own).replaceAll('*', 'nothing');
}

async function ownThing(url: string, person: string): Promise<string> {
  const { hub } = door;
  const territory = hub.territory.id;
  if (url.startsWith('/api/keys'))
    return (await hub.keys.create({ territory, role: 'caller', person, actor: 'test' })).id;
  const id = newId('dev', nodeRandom);
  await addDevice(hub.db, { id, territory, person, key: nodeRandom.bytes(32) });
  return id;
}

interface Refusal {
  readonly error?: { readonly code?: string; readonly message?: string };
}

/** Of a session of its own: some routes end the one that they are asked in. */
async function tokenOf(asker: Asker): Promise<string | undefined> {
  const person = people.get(asker);
  if (person === undefined) return tokens.get(asker);
  const { hub } = door;
  const order = {
    territory: hub.territory.id,
    person,
    kind: 'program',
    via: 'approval',
    isOwn: true,
    label: 'test',
  } as const;
  return (await hub.db.transaction().execute((transaction) => hub.signIn.sessions.open(transaction, order))).token;
}

async function ask(row: Row, asker: Asker): Promise<{ status: number; body: Refusal }> {
  const token = await tokenOf(asker);
  const hasBody = ['POST', 'PUT', 'PATCH'].includes(row.route.method);
  const answer = await fetch(door.url + (await pathOf(row, asker)), {
    method: row.route.method,
    redirect: 'manual',
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(hasBody ? { 'content-type': 'application/json' } : {}),
    },
    // Whoever is let in is told that this is not what the route takes.
    ...(hasBody ? { body: '{"nothing":"of this kind"}' } : {}),
  });
  const text = await answer.text();
  return { status: answer.status, body: text.startsWith('{') ? (JSON.parse(text) as Refusal) : {} };
}

/** Refusals of the door, not those of what a route does behind it. */
const isKeyless = ({ error }: Refusal): boolean => error?.message?.startsWith('no key was sent') === true;

describe.each(ASKERS)('%s', (asker) => {
  test('is answered by every route as the document says', { timeout: 120_000 }, async () => {
    const wrong: string[] = [];
    for (const row of rows) {
      const { method, url } = row.route;
      const { status, body } = await ask(row, asker);
      const cell = row.cells[asker];
      const isRefused = status === 401 || status === 403;
      const isRight =
        cell === 'public' ? !isKeyless(body) : cell === 'no' ? status === (asker === 'nobody' ? 401 : 403) : !isRefused;
      if (!isRight) wrong.push(`${method} ${url}: ${cell}, and ${status} ${JSON.stringify(body)}`);
    }
    expect(wrong).toEqual([]);
  });
});
