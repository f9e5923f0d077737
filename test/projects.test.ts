/**
 * A project's life with the command line, against a real hub and a real device: it asks, is granted, spends to the end,
 * is stopped with the reason, asks for more, and goes on; a member who has nothing has her floor.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runProgram } from './processes/program.ts';
import { createWorld, MODEL, type HubProcess, type World } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');

let world: World;
let hub: HubProcess;

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  await world.startDevice(hub, 'ada');
});
afterAll(() => world.end());

interface Said {
  readonly code: number | null;
  readonly said: Readonly<Record<string, unknown>>;
}

/** One call with --json: what it said on stdout, or its error. */
async function idlewild(key: string, ...words: readonly string[]): Promise<Said> {
  const env = { PATH: process.env.PATH, HOME: world.folder, IDLEWILD_HUB: hub.url, IDLEWILD_KEY: key };
  const { code, out, err } = await runProgram(process.execPath, [CLI, ...words, '--json'], { env });
  const text = (code === 0 ? out : err).trim().split('\n').at(-1) ?? '';
  return { code, said: JSON.parse(text) as Said['said'] };
}
const chat = (key: string, tokens: number): Promise<Said> =>
  idlewild(key, 'chat', '-m', MODEL, '--max-tokens', String(tokens), 'What news of the king?');

async function post(path: string, body: object, token?: string): Promise<Record<string, unknown>> {
  const headers = {
    'content-type': 'application/json',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  const response = await fetch(`${hub.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  expect({ path, status: response.status }).toEqual({ path, status: 201 });
  return (await response.json()) as Record<string, unknown>;
}
/** Somebody who was invited, and has signed in on her machine. */
async function member(name: string): Promise<{ token: string; key: string }> {
  const { code } = await post('/api/people/invitations', { role: 'member' }, hub.key);
  const { token } = await post('/api/sign-in/code', { code, name, label: 'a terminal' });
  const { key } = await post('/api/keys/own', { role: 'member' }, String(token));
  return { token: String(token), key: String(key) };
}

test('a project asks, is granted, spends it all, is told why no more, asks again, and goes on', async () => {
  const ada = await member('Ada');
  const made = await idlewild(ada.key, 'projects', 'create', 'maps', '--purpose', 'education');
  expect(made).toMatchObject({ code: 0, said: { name: 'maps', state: 'active' } });
  const asked = await idlewild(ada.key, 'projects', 'ask', 'maps', '--tokens', '5000', '--why', 'a term');
  expect(asked).toMatchObject({ code: 0, said: { state: 'asked', asked: { tokens: 5_000 } } });
  const id = String(asked.said.id);
  expect(await idlewild(ada.key, 'projects', 'grant', id)).toMatchObject({ said: { error: { code: 'forbidden' } } });
  const granted = await idlewild(hub.key, 'projects', 'grant', id, '--tokens', '80', '--note', 'to begin with');
  expect(granted).toMatchObject({ code: 0, said: { state: 'granted', leftTokens: 80 } });
  // A key of the community on the project's account: there is nobody behind it who would have a floor.
  const { key } = await post('/api/keys', { role: 'caller', project: made.said.id }, hub.key);
  const first = await chat(String(key), 30);
  expect(first).toMatchObject({ code: 0, said: { usage: { completion_tokens: 30 } } });
  const second = await chat(String(key), 30);
  expect(second).toMatchObject({ code: 0, said: { finish: 'length' } });
  const spent = (answer: Said): number => (answer.said.usage as { total_tokens: number }).total_tokens;
  expect(spent(first) + spent(second)).toBe(80);
  const stopped = await chat(String(key), 30);
  expect(stopped.code).not.toBe(0);
  expect(stopped.said).toMatchObject({
    error: { code: 'allocation_spent', message: expect.stringMatching(/80 spent.*idlewild projects ask maps/) },
  });
  const more = await idlewild(ada.key, 'projects', 'ask', 'maps', '--tokens', '500', '--why', 'it went well');
  await idlewild(hub.key, 'projects', 'grant', String(more.said.id));
  const again = await chat(String(key), 30);
  expect(again).toMatchObject({ code: 0, said: { usage: { completion_tokens: 30 } } });
  const back = await idlewild(ada.key, 'projects', 'showback', '--by', 'project');
  expect(back.said).toMatchObject([{ name: 'maps', requests: 3, promptTokens: expect.any(Number) }]);
  const total = 80 + spent(again);
  const [row] = back.said as unknown as [{ promptTokens: number; answerTokens: number }];
  expect(row.promptTokens + row.answerTokens).toBe(total);
});

test('where work needs an allocation a member with nothing has her floor, and a cap holds for everybody', async () => {
  const bea = await member('Bea');
  const floor = await idlewild(hub.key, 'projects', 'floor', '--allocations', 'required', '--tokens', '100');
  expect(floor).toMatchObject({ code: 0, said: { allocations: 'required', floorTokens: 100 } });
  expect(await chat(bea.key, 20)).toMatchObject({ code: 0, said: { usage: { completion_tokens: 20 } } });
  const left = await idlewild(bea.key, 'projects', 'left');
  expect(left.said).toMatchObject({ levels: [{ kind: 'floor', tokens: { most: 100 } }] });
  expect(await chat(hub.key, 20)).toMatchObject({ said: { error: { code: 'allocation_spent' } } });
  await idlewild(hub.key, 'projects', 'floor', '--allocations', 'optional');
  await idlewild(hub.key, 'projects', 'cap', 'community', '--tokens-per-day', '1');
  // One token a day for all of them: nobody's floor fits into that.
  expect(await chat(bea.key, 20)).toMatchObject({ said: { error: { code: 'spend_cap' } } });
  const wrong = await idlewild(hub.key, 'projects', 'cap', 'key', '--everybody', '--tokens-per-day', '1');
  expect(wrong).toMatchObject({ said: { error: { code: 'usage' } } });
  const each = await idlewild(hub.key, 'projects', 'cap', 'person', '--everybody', '--requests-per-minute', '500');
  expect(each).toMatchObject({ code: 0, said: { kind: 'person', subject: 'everybody', requestsPerMinute: 500 } });
  await idlewild(hub.key, 'projects', 'cap', 'person', '--everybody', '--requests-per-minute', 'none');
  const caps = await idlewild(hub.key, 'projects', 'caps');
  expect(caps.said).toMatchObject({
    caps: [
      { kind: 'person', requestsPerMinute: null },
      { kind: 'territory', tokensPerDay: 1 },
    ],
  });
  await idlewild(hub.key, 'projects', 'cap', 'community', '--tokens-per-day', 'none');
  expect(await chat(bea.key, 20)).toMatchObject({ code: 0 });
});
