/** Claims about what goes out with an answer: who wrote it, and a receipt that ties that to its very text. */
import { AI_SOURCE_TYPE, openAnswerReceipt, type AnswerText } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

interface Note {
  readonly ai_generated: boolean;
  readonly digital_source_type: string;
  readonly receipts: readonly string[];
}
interface Whole {
  readonly id: string;
  readonly choices: readonly {
    readonly message: {
      readonly content: string | null;
      readonly tool_calls?: readonly { readonly function: AnswerText['calls'][number] }[];
    };
  }[];
  readonly idlewild: Note;
}

let door: TestDoor;
beforeAll(async () => {
  door = await openTestDoor('jacobean');
  await door.join(({ choice }) => ({ tokens: ['What ', 'news', `? ${choice}`] }), { name: 'ada' });
});
afterAll(() => door.close());

const ask = (body: object, path = '/v1/chat/completions'): Promise<Response> =>
  fetch(door.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'jacobean', seed: 7, ...body }),
  });
const messages = [{ role: 'user', content: 'Good morrow' }];
const open = (receipt: string | undefined, answer?: AnswerText, territory = door.hub.territory.publicKey) =>
  openAnswerReceipt(Buffer.from(receipt ?? '', 'base64url'), { territory, answer }, nodeCrypto);

test('a whole answer says that a machine wrote it, in its headers and its body', async () => {
  const answer = await ask({ messages });
  expect(answer.headers.get('ai-disclosure')).toBe('mode=ai-originated');
  const { idlewild } = (await answer.json()) as Whole;
  expect(idlewild).toMatchObject({ ai_generated: true, digital_source_type: AI_SOURCE_TYPE });
});

test('the receipt of a whole answer is of its text, its model, its device and its seed', async () => {
  const { id, choices, idlewild } = (await (await ask({ messages })).json()) as Whole;
  const text = choices[0]?.message.content ?? '';
  const { receipt, device } = await open(idlewild.receipts[0], { text, calls: [] });
  expect(receipt).toMatchObject({
    request: id.replace('chatcmpl-', ''),
    model: door.model.cid,
    modelName: 'jacobean',
    dataClass: 'internal',
    seed: 7,
    answerTokens: 3,
    finish: 'stop',
    exact: true,
    verification: 'unverified',
  });
  expect(device).toMatchObject({ firstToken: 0, tokens: 3, model: door.model.cid });
  await expect(open(idlewild.receipts[0], { text: `${text}!`, calls: [] })).rejects.toThrow('another text');
});

test('each choice has a receipt of its own', async () => {
  const { choices, idlewild } = (await (await ask({ messages, n: 2 })).json()) as Whole;
  for (const [index, { message }] of choices.entries()) {
    const { receipt } = await open(idlewild.receipts[index], { text: message.content ?? '', calls: [] });
    expect(receipt.choice).toBe(index);
  }
  const crossed = open(idlewild.receipts[0], { text: choices[1]?.message.content ?? '', calls: [] });
  await expect(crossed).rejects.toThrow('another text');
});

async function events(answer: Response): Promise<readonly { readonly idlewild?: Note; readonly choices: unknown }[]> {
  const lines = (await answer.text()).split('\n').filter((line) => line.startsWith('data: {'));
  return lines.map((line) => JSON.parse(line.slice(6)) as { choices: unknown });
}

test('the last chunk of a stream carries the receipt of what was streamed', async () => {
  const answer = await ask({ messages, stream: true });
  expect(answer.headers.get('ai-disclosure')).toBe('mode=ai-originated');
  const chunks = await events(answer);
  const text = chunks
    .map(({ choices }) => (choices as { delta: { content?: string } }[])[0]?.delta.content ?? '')
    .join('');
  const note = chunks.findLast(({ idlewild }) => idlewild !== undefined)?.idlewild;
  expect(text).toBe('What news? 0');
  expect((await open(note?.receipts[0], { text, calls: [] })).receipt.answerTokens).toBe(3);
});

test('calls of tools are under the receipt, too', async () => {
  await door.empty();
  const calls = [{ i: 0, name: 'weather', s: '{"town":' }];
  await door.join(() => ({
    tokens: [{ s: '', calls }],
    finish: 'tool_calls',
    rest: { calls: [{ i: 0, s: '"York"}' }] },
  }));
  const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }];
  const { choices, idlewild } = (await (await ask({ messages, tools })).json()) as Whole;
  const told = choices[0]?.message.tool_calls?.map(({ function: call }) => call) ?? [];
  expect(told).toEqual([{ name: 'weather', arguments: '{"town":"York"}' }]);
  await open(idlewild.receipts[0], { text: '', calls: told });
  await expect(open(idlewild.receipts[0], { text: '', calls: [] })).rejects.toThrow('another text');
  const chunks = await events(await ask({ messages, tools, stream: true }));
  await open(chunks.findLast((chunk) => chunk.idlewild !== undefined)?.idlewild?.receipts[0], {
    text: '',
    calls: told,
  });
});
