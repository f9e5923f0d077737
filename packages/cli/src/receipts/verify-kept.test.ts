/** Claims about holding kept answers against their receipts, in each shape in which people keep them. */
import {
  codeOf,
  digestAnswer,
  idOfKey,
  signAnswerReceipt,
  signStatement,
  type AnswerText,
  type KeyPair,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { verifyKept } from './verify-kept.ts';

const NOW_MS = 1_800_000_000_000;
const keyOf = async (byte: number): Promise<KeyPair> => nodeCrypto.signingKey(new Uint8Array(32).fill(byte));
const [territory, hub, other] = await Promise.all([keyOf(1), keyOf(2), keyOf(4)]);
const id = await idOfKey('ter', territory.publicKey, nodeCrypto);
const certificate = await signStatement(
  'hub-certificate',
  { v: 1, territory: territory.publicKey, hub: hub.publicKey, issuedAtMs: NOW_MS - 1_000, expiresAtMs: NOW_MS + 1_000 },
  territory,
  nodeCrypto,
);

async function receiptOf(answer: AnswerText, choice = 0): Promise<string> {
  const signed = await signAnswerReceipt(
    {
      territory: territory.publicKey,
      certificate,
      atMs: NOW_MS,
      request: 'req_1',
      choice,
      model: 'bafymodel',
      modelName: 'jacobean',
      dataClass: 'internal',
      seed: 7,
      promptTokens: 7,
      answerTokens: 3,
      finish: 'stop',
      devices: ['dev_a'],
      failovers: 0,
      numericClass: 'class-a',
      exact: true,
      digest: await digestAnswer(answer, nodeCrypto),
    },
    hub,
    nodeCrypto,
  );
  return Buffer.from(signed).toString('base64url');
}

const call = { name: 'weather', arguments: '{"town":"York"}' };
const plain: AnswerText = { text: 'What news?', calls: [] };
const calling: AnswerText = { text: '', calls: [call] };
const [ofPlain, ofSecond, ofCalling] = [
  await receiptOf(plain),
  await receiptOf({ ...plain, text: 'None.' }, 1),
  await receiptOf(calling),
];
const sse = (...bodies: object[]): string =>
  [...bodies.map((body) => `id: 1\ndata: ${JSON.stringify(body)}`), 'data: [DONE]', ''].join('\n\n');
const chunk = (index: number, delta: object, more: object = {}): object => ({ choices: [{ index, delta }], ...more });
const message = (content: string | null, calls: object[] = []): object => ({ message: { content, tool_calls: calls } });

test.each<[string, string, number]>([
  [
    'a chat completion with two answers',
    JSON.stringify({ choices: [message(plain.text), message('None.')], idlewild: { receipts: [ofPlain, ofSecond] } }),
    2,
  ],
  [
    'a chat completion that calls',
    JSON.stringify({ choices: [message(null, [{ function: call }])], idlewild: { receipts: [ofCalling] } }),
    1,
  ],
  ['a completion', JSON.stringify({ choices: [{ text: plain.text }], idlewild: { receipts: [ofPlain] } }), 1],
  [
    'a response',
    JSON.stringify({
      output: [{ type: 'message', content: [{ text: plain.text }] }],
      idlewild: { receipts: [ofPlain] },
    }),
    1,
  ],
  [
    'a response that calls',
    JSON.stringify({ output: [{ type: 'function_call', ...call }], idlewild: { receipts: [ofCalling] } }),
    1,
  ],
  ['what `chat --json` prints', JSON.stringify({ text: plain.text, idlewild: { receipts: [ofPlain] } }), 1],
  [
    'a stream of two answers that alternate',
    sse(
      chunk(0, { content: 'What ' }),
      chunk(1, { content: 'None' }),
      chunk(0, { content: 'news?' }),
      chunk(1, { content: '.' }),
      chunk(0, {}, { idlewild: { receipts: [ofPlain] } }),
      chunk(1, {}, { idlewild: { receipts: [ofSecond] } }),
    ),
    2,
  ],
  [
    'a stream of a call',
    sse(
      chunk(0, { tool_calls: [{ index: 0, function: { name: 'weather', arguments: '' } }] }),
      chunk(0, { tool_calls: [{ index: 0, function: { arguments: call.arguments } }] }),
      chunk(0, {}, { idlewild: { receipts: [ofCalling] } }),
    ),
    1,
  ],
  [
    'the events of a response',
    sse(
      { type: 'response.created', response: { output: [] } },
      {
        type: 'response.completed',
        response: { output: [{ type: 'message', content: [{ text: plain.text }] }], idlewild: { receipts: [ofPlain] } },
      },
    ),
    1,
  ],
])('%s is good, and is not once its text was changed', async (_, kept, count) => {
  const verified = await verifyKept(kept, id);
  expect(verified.map(({ isOfText }) => isOfText)).toEqual(Array<boolean>(count).fill(true));
  const changed = kept.replace('news', 'luck').replace('York', 'Hull');
  expect(changed).not.toBe(kept);
  await expect(verifyKept(changed, id)).rejects.toMatchObject({ code: 'signature_invalid' });
});

test('a bare receipt is good for what it says, and says that no text was there', async () => {
  expect(await verifyKept(`${ofPlain}\n`, id)).toMatchObject([{ isOfText: false, opened: { receipt: { seed: 7 } } }]);
  const key = Buffer.from(territory.publicKey).toString('base64url');
  expect(await verifyKept(ofPlain, key)).toHaveLength(1);
});

test('nobody is trusted unless somebody says so', async () => {
  await expect(verifyKept(ofPlain, undefined)).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining(`--territory ${id}`) as string,
  });
  const stranger = await idOfKey('ter', other.publicKey, nodeCrypto);
  await expect(verifyKept(ofPlain, stranger)).rejects.toMatchObject({ code: 'signature_invalid' });
});

test.each([
  ['nothing', ''],
  ['a text', 'What news?'],
  ['an answer without a receipt', JSON.stringify({ choices: [message('What news?')] })],
  ['a damaged receipt', ofPlain.slice(4)],
  ['JSON that is no object', '[1]'],
])('%s is refused in words', async (_, kept) => {
  const error: unknown = await verifyKept(kept, id).catch((thrown: unknown) => thrown);
  expect(['usage', 'signature_invalid']).toContain(codeOf(error));
});
