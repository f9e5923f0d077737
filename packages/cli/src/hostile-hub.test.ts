/**
 * A hub that lies in every text it says: ids, names, reasons, errors. Whatever a command makes of it, nothing that it
 * prints steers the terminal of whoever called it, for people and for scripts.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { besideHub } from './testing/called.ts';

const EVIL = '\u001b[2J\u001b]0;owned\u0007\u0008\u007f\u009b31m\u202e\u2066';
/** What a program may set in bold, or dim, itself. */
// oxlint-disable-next-line no-control-regex
const STYLES = /\u001b\[(?:1|2|22)m/g;
// oxlint-disable-next-line no-control-regex
const STEERS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

/** What programs read as what it is: an instant, a number. */
const isMeasure = (text: string): boolean => /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$|^\d+(\.\d+)?$/.test(text);

function poisoned(value: unknown): unknown {
  if (typeof value === 'string') return isMeasure(value) ? value : value + EVIL;
  if (Array.isArray(value)) return value.map(poisoned);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, poisoned(each)]));
}

const world = besideHub();
let liar: Server;
/** Every answer is a refusal, and says so in the liar's words. */
let refuses = false;
let asked = 0;

beforeAll(async () => {
  liar = createServer((request, response) => {
    asked++;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = 'GET', url = '/', headers } = request;
      const body = chunks.length === 0 ? {} : { body: Buffer.concat(chunks) };
      const passed = Object.entries(headers).filter(([name]) => /^(authorization|content-type|accept)$/.test(name));
      void fetch(world.hub.url + url, { method, headers: Object.fromEntries(passed) as never, ...body })
        .then(async (answer) => {
          const text = await answer.text();
          const isJson = answer.headers.get('content-type')?.includes('json') === true;
          const told = refuses
            ? { error: { code: `forbidden${EVIL}`, message: `no${EVIL}`, type: EVIL, param: EVIL } }
            : isJson && text !== ''
              ? poisoned(JSON.parse(text))
              : undefined;
          response.writeHead(refuses ? 403 : answer.status, { 'content-type': 'application/json' });
          response.end(told === undefined ? text : JSON.stringify(told));
        })
        .catch((error: unknown) => response.destroy(error as Error));
    });
  });
  await new Promise<void>((resolve) => liar.listen(0, '127.0.0.1', resolve));
  const { client } = await import('./hub-access.ts').then(({ openHub }) =>
    openHub({ hub: world.hub.url, key: world.key }),
  );
  await client.keys.create({ role: 'caller', name: 'ada' });
});
afterAll(() => void liar.close());

const COMMANDS = [
  'status',
  'whoami',
  'keys list',
  'usage',
  'devices list',
  'models list',
  'members list',
  'members invitations',
  'groups list',
  'roles list',
  'roles bindings',
  'projects list',
  'sessions list',
  'roles show steward',
  'projects allocations',
  'projects showback',
  'projects left',
  'projects caps',
  'stewards list',
  'policy show',
  'policy explain --action readStatus',
  'use history',
  'use show',
  'appeals list',
  'audit list',
  'audit report',
  'territories list',
  'sign-in',
  'invite --uses 1',
  'keys create --role caller --name eve',
];

const CALLS = COMMANDS.flatMap((command) => [command, `${command} --json`]);

test.each(CALLS)('nothing of a lying hub steers the terminal: %s', async (command) => {
  vi.stubEnv('IDLEWILD_HUB', `http://127.0.0.1:${(liar.address() as AddressInfo).port}`);
  for (const isRefusal of [false, true]) {
    refuses = isRefusal;
    asked = 0;
    const { out, said } = await world.call(...command.split(' '));
    for (const text of [out, said]) expect(text.replaceAll(STYLES, ''), command).not.toMatch(STEERS);
    expect(out.length + said.length, command).toBeGreaterThan(0);
    expect(asked, `${command} asks the hub: ${said}`).toBeGreaterThan(0);
    const lines = out.split('\n').filter((line) => command.endsWith('--json') && line !== '');
    for (const line of lines) JSON.parse(line);
  }
});
