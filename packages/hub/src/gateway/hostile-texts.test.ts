/**
 * Claims about every route there is, on SQLite and on PostgreSQL: texts that mean something to a database, to HTTP, to
 * a log, to a terminal or to a file system mean nothing here. They are taken as they are or refused, never a fault of
 * the hub; they change no other row, end no header and no line of the log.
 */
import { createMemoryBlobStore } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { storeTinyModel } from '@idlewild/protocol/testing';
import { CID } from 'multiformats/cid';
import { expect, onTestFinished, test } from 'vitest';
import type { OpenDatabase } from '../db/open.ts';
import { createPinoLog } from '../node/pino-log.ts';
import { testDatabases } from '../testing/databases.ts';
import { attempts, everyRoute, type Attempt } from '../testing/every-route.ts';
import { fillTerritory, type FullTerritory } from '../testing/full-territory.ts';
import { openTestDoor } from '../testing/test-door.ts';

const B = `ter_${'b'.repeat(26)}`;
/** Stands for half of a surrogate pair, which JSON can write and UTF-8 cannot. */
const HALF = 'half-of-a-pair';

const TEXTS: Readonly<Record<string, string>> = {
  'a statement': "x'); DROP TABLE keys; --",
  'a condition': "' OR '1'='1' --",
  'a union': "%' UNION SELECT hash FROM keys /*",
  'a header': 'x\r\nset-cookie: stolen=1\r\n\r\nHTTP/1.1 200 OK\r\n',
  'a line of a log': '\n{"level":50,"msg":"forged"}\u2028\u2029\u0085',
  'orders to a terminal': '\u001b[2J\u001b]0;0wned\u0007\u009b31m\u202e',
  'an end of a text': 'x\u0000y',
  'a path': '../../../../etc/passwd',
  'a path of Windows': '..\\..\\windows\\win.ini',
  'half a character': HALF,
};

/** What none of these may have in its answer, beside what it was asked with. */
const TRACES = /stolen|DROP|etc\/passwd|win\.ini|0wned|forged/;

/** Rows can be made up with SQLite alone; with both, every query says whose rows it wants, or fails the test. */
const NOBODY: FullTerritory = { handles: new Map(), rows: () => Promise.resolve('') };

async function setUp(database: OpenDatabase) {
  const lines: string[] = [];
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
  const log = createPinoLog({ level: 'debug', destination: { write: (line) => void lines.push(line) } });
  // It is closed by whoever opened it.
  const door = await openTestDoor('ours', { database: { ...database, close: async () => {} }, store, log });
  onTestFinished(() => door.close());
  const { hub, url } = door;
  const steward = (await hub.keys.create({ territory: hub.territory.id, role: 'steward', actor: 'test' })).key;
  const row = { id: B, name: 'the others', public_key: nodeRandom.bytes(32), created_at_ms: 1 };
  await database.db.insertInto('territories').values(row).execute();
  const cid = await storeTinyModel(store, 'what only the others have', { crypto: nodeCrypto });
  const manifest = (await store.get(CID.parse(cid))) as Uint8Array;
  const model = { cid, manifest };
  const other =
    database.kind === 'sqlite' ? await fillTerritory(database.db, { territory: B, random: nodeRandom, model }) : NOBODY;
  return {
    lines,
    other,
    routes: await everyRoute(url, fetch),
    send(method: string, { path, body }: Attempt): Promise<Response> {
      const json = body === undefined ? undefined : JSON.stringify(body).replaceAll(HALF, String.raw`\ud800`);
      const type = json === undefined ? {} : { 'content-type': 'application/json' };
      const headers = { authorization: `Bearer ${steward}`, 'user-agent': 'x\u0085y\u009b31m', ...type };
      return fetch(url + path, { method, headers, ...(json === undefined ? {} : { body: json }) });
    },
  };
}

test.each(await testDatabases())(
  'hostile texts in every place of every route, with $kind: no fault, no trace, no other line of the log',
  async ({ open }) => {
    const { lines, other, routes, send } = await setUp(await open());
    const before = await other.rows();
    const wrong: string[] = [];
    for (const [kind, text] of Object.entries(TEXTS)) {
      for (const route of routes) {
        for (const attempt of attempts(route, text)) {
          const response = await send(route.method, attempt);
          const answer = await response.text();
          const said = [...response.headers].join('\n');
          const told = `${kind}: ${route.method} ${attempt.path} ${JSON.stringify(attempt.body)} ${response.status}`;
          // Of its own; others say that a provider cannot be reached, or that nobody answers.
          if (response.status === 500 || TRACES.test(said)) wrong.push(`${told} ${said} ${answer}`);
          const leaked = [...other.handles].find(([handle]) => handle.length > 8 && answer.includes(handle));
          if (leaked !== undefined) wrong.push(`${told} tells ${leaked[1]} of another`);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(await other.rows()).toBe(before);
    expect((await send('GET', { path: '/api/keys', body: undefined })).status).toBe(200);
    expect(lines.length).toBeGreaterThan(routes.length);
    for (const line of lines) {
      // oxlint-disable-next-line no-control-regex
      expect(line.replace(/\n$/, '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
      expect(JSON.parse(line)).not.toMatchObject({ msg: 'forged' });
    }
  },
  120_000,
);
