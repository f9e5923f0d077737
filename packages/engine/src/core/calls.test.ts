/** Calls of functions: how they are drawn, and how they are told apart from text. */
import { utf8, type CallPart, type Tool } from '@idlewild/protocol';
import { modelFolderTexts } from '@idlewild/graph/testing';
import { expect, test } from 'vitest';
import { createSearchGrammars, work } from '../testing/index.ts';
import { createAnswerText } from './answer-text.ts';
import { callFormatOf } from './call-formats.ts';
import type { Guide } from './grammar/guide.ts';
import { createGuides, type Preparation } from './guides.ts';
import { readSettings, type ModelSettings } from './settings.ts';

const texts = modelFolderTexts({ vocab: 300, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const TEMPLATES = {
  hermes: "{% if tools %}{{ tools | tojson }}{% endif %}<tool_call>{{ messages[0]['content'] }}",
  llama: '{% if tools %}{{ \'{"name": \' }}"parameters": {{ tools | tojson }}{% endif %}',
  mistral: '[AVAILABLE_TOOLS]{{ tools | tojson }}[TOOL_CALLS]',
  'mistral-args': '{{ tools | tojson }}[TOOL_CALLS]name[ARGS]',
};

/** Bytes, some words, and the marks of Mistral's notation as control tokens. */
function settingsOf(template: string): ModelSettings {
  const definition = JSON.parse(texts['tokenizer.json']) as { added_tokens: object[] };
  definition.added_tokens.push(
    ...['[TOOL_CALLS]', '[ARGS]', '<unused>'].map((content, i) => ({
      id: 290 + i,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
  );
  return readSettings({
    tokenizer: JSON.stringify(definition),
    tokenizerConfig: JSON.stringify({ chat_template: template, eos_token: '<|endoftext|>' }),
  });
}

const TOOLS: Tool[] = [
  { name: 'add', parameters: '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}', strict: true },
  { name: 'say "hi"', parameters: '{"type":"object","uniqueItems":true}' },
];
const prompt = { kind: 'chat' as const, messages: [{ role: 'user', content: 'x' }], tools: TOOLS };

async function prepare(settings: ModelSettings, over: Parameters<typeof work>[0]): Promise<Preparation> {
  return (await createGuides(settings, createSearchGrammars()).prepare(work({ prompt, ...over }))) as Preparation;
}

/** Tokens for a text: bytes, and control tokens where they are named. */
function idsOf({ tokenizer }: ModelSettings, text: string): number[] {
  return text
    .split(/(\[TOOL_CALLS\]|\[ARGS\])/)
    .flatMap((part) =>
      part.startsWith('[TOOL') || part === '[ARGS]'
        ? [tokenizer.idOf(part) as number]
        : [...utf8(part)].map((byte) => byte + 1),
    );
}

/** Lets a model that wants `text` have its way as far as the guide lets it; what it gets instead is in the result. */
function speak(guide: Guide, ids: readonly number[], left = 1_000): number[] {
  const said: number[] = [];
  for (const id of ids) {
    const refused: number[] = [];
    const got = guide.choose((mask) => {
      const isAllowed = (one: number): boolean =>
        mask === undefined || (((mask[one >> 5] ?? 0) >> (one & 31)) & 1) === 1;
      const pick = isAllowed(id) ? id : [...Array(290).keys()].find((one) => isAllowed(one) && !refused.includes(one));
      refused.push(pick as number);
      return pick as number;
    }, left);
    guide.take(got);
    said.push(got);
    if (got !== id) break;
  }
  return said;
}

function read(
  settings: ModelSettings,
  ids: readonly number[],
  { calls }: Preparation,
): { text: string; parts: CallPart[] } {
  const answer = createAnswerText({ tokenizer: settings.tokenizer, endIds: settings.endIds, stops: [], calls });
  const added = [...ids.map((id) => answer.push(id)), answer.rest()];
  const parts = added.flatMap((one) => one.calls);
  return { text: added.map(({ text }) => text).join(''), parts };
}
const whole = (parts: readonly CallPart[]): unknown[] => {
  const calls: { name: string; arguments: string }[] = [];
  for (const { i, name, s } of parts) {
    if (name !== undefined) calls[i] = { name, arguments: '' };
    (calls[i] as { arguments: string }).arguments += s;
  }
  return calls.map((call) => [call.name, JSON.parse(call.arguments)]);
};

const CALLS: Record<keyof typeof TEMPLATES, string> = {
  hermes:
    '<tool_call>\n{"name": "add", "arguments": {"a": -1}}\n</tool_call>\n' +
    '<tool_call>\n{"name": "say \\"hi\\"", "arguments": {"x": "}{ é \\" </tool_call>", "y": [{}]}}\n</tool_call>',
  llama: '{"name": "add", "parameters": {"a": -1}}',
  mistral: '[TOOL_CALLS][{"name": "add", "arguments": {"a": -1}}, {"name": "say \\"hi\\"", "arguments": {}}]',
  'mistral-args': '[TOOL_CALLS]add[ARGS]{"a": -1}[TOOL_CALLS]say "hi"[ARGS]{}',
};

test('each notation is known by its template, and others get the generic one', () => {
  for (const [name, template] of Object.entries(TEMPLATES))
    expect(callFormatOf(template)).toMatchObject({ name, isNative: true });
  expect(callFormatOf('{{ messages }}')).toMatchObject({ name: 'hermes', isNative: false });
  expect(callFormatOf('{{ tools }} <tool_call><function=x>')).toMatchObject({ name: 'hermes', isNative: false });
  expect(callFormatOf(undefined)).toMatchObject({ name: 'hermes', isNative: false });
});

test('calls in any notation, after text or at once, are told apart and read', async () => {
  for (const [name, template] of Object.entries(TEMPLATES) as [keyof typeof TEMPLATES, string][]) {
    const settings = settingsOf(template);
    for (const [toolChoice, before] of [
      ['auto', name === 'llama' ? ' \n' : 'Let me <tool_ [TOOL see. '],
      ['required', ''],
    ] as const) {
      const prepared = await prepare(settings, { toolChoice });
      const ids = idsOf(settings, before + CALLS[name]);
      expect([name, speak(prepared.guide, ids)]).toEqual([name, ids]);
      expect(prepared.guide.isComplete).toBe(true);
      const { text, parts } = read(settings, ids, prepared);
      expect([name, text]).toEqual([name, before]);
      expect(whole(parts)[0]).toEqual(['add', { a: -1 }]);
      if (name === 'hermes') expect(whole(parts)[1]).toEqual(['say "hi"', { x: '}{ é " </tool_call>', y: [{}] }]);
      expect(parts.filter((part) => part.name !== undefined)).toHaveLength(name === 'llama' ? 1 : 2);
    }
  }
});

test('every token of calls adds what it adds, however the answer was resumed', async () => {
  const settings = settingsOf(TEMPLATES.hermes);
  const prepared = await prepare(settings, {});
  const ids = idsOf(settings, `Well. ${CALLS.hermes}`);
  const told = (): unknown[] => {
    const answer = createAnswerText({
      tokenizer: settings.tokenizer,
      endIds: settings.endIds,
      stops: ['zz'],
      calls: prepared.calls,
    });
    return ids.map((id) => answer.push(id));
  };
  expect(told()).toEqual(told());
  const cut = Math.floor(ids.length / 2);
  for (const id of ids.slice(0, cut)) prepared.guide.take(id);
  expect(speak(prepared.guide, ids.slice(cut))).toEqual(ids.slice(cut));
});

test('what must be called is called, with its own arguments, and nothing comes before', async () => {
  const settings = settingsOf(TEMPLATES.hermes);
  const { guide } = await prepare(settings, { toolChoice: { name: 'add' } });
  expect(speak(guide, idsOf(settings, 'Nay'))).toEqual(idsOf(settings, '<'));
  const wrongName = '<tool_call>\n{"name": "say';
  expect(
    speak((await prepare(settings, { toolChoice: { name: 'add' } })).guide, idsOf(settings, wrongName)).length,
  ).toBe(wrongName.length - 2);
  const wrongArgument = '<tool_call>\n{"name": "add", "arguments": {"b';
  expect(speak((await prepare(settings, {})).guide, idsOf(settings, wrongArgument)).length).toBe(wrongArgument.length);
});

test('one call is enough where one was asked for', async () => {
  const settings = settingsOf(TEMPLATES.hermes);
  const first = idsOf(settings, CALLS.hermes.slice(0, CALLS.hermes.indexOf('</tool_call>') + 12));
  const { guide } = await prepare(settings, { toolChoice: 'required', oneCall: true });
  speak(guide, first);
  expect([guide.isComplete, guide.isOver]).toEqual([true, true]);
  const many = await prepare(settings, { toolChoice: 'required' });
  speak(many.guide, first);
  expect([many.guide.isComplete, many.guide.isOver]).toEqual([true, false]);
});

test('where calls are forbidden none begins, nor where too few tokens are left for one', async () => {
  for (const [name, template] of Object.entries(TEMPLATES) as [keyof typeof TEMPLATES, string][]) {
    const settings = settingsOf(template);
    const ids = idsOf(settings, CALLS[name]);
    const begun = ids.slice(0, idsOf(settings, callFormatOf(template).trigger).length);
    const forbidden = await prepare(settings, { toolChoice: 'none' });
    expect(speak(forbidden.guide, begun).at(-1)).not.toBe(begun.at(-1));
    expect(forbidden.guide.isComplete).toBe(true);
    expect(speak((await prepare(settings, {})).guide, begun, 10).at(-1)).not.toBe(begun.at(-1));
  }
});

test("Llama's calls stand at the beginning or are text", async () => {
  const settings = settingsOf(TEMPLATES.llama);
  const prepared = await prepare(settings, {});
  const said = `So: ${CALLS.llama}`;
  const ids = idsOf(settings, said);
  expect(speak(prepared.guide, ids)).toEqual(ids);
  expect(read(settings, ids, prepared)).toEqual({ text: said, parts: [] });
});

test('what does not go together is refused before anything is opened', async () => {
  const guides = createGuides(settingsOf(TEMPLATES.hermes), undefined);
  const refused = async (over: Parameters<typeof work>[0], message: string): Promise<void> =>
    expect(guides.prepare(work({ prompt, ...over }))).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(message) as string,
    });
  await refused({ form: { kind: 'json' } }, 'do not go together');
  await refused({ toolChoice: { name: 'none' } }, '"none"');
  await refused({ prompt: { kind: 'text', text: 'x' }, toolChoice: 'required' }, 'has none');
  await refused(
    { prompt: { ...prompt, tools: [{ name: 'x', parameters: '{"uniqueItems":true}', strict: true }] } },
    'uniqueItems',
  );
  await refused(
    { prompt: { ...prompt, tools: [{ name: 'x', parameters: '{"type":"string"}', strict: true }] } },
    '"object"',
  );
  expect(guides.prepare(work())).toBeUndefined();
  await expect(guides.prepare(work({ form: { kind: 'json' } }))).rejects.toMatchObject({ code: 'model_unsupported' });
});
