/**
 * Answers as people keep them: the JSON of a chat completion, a completion or a response, the events of a stream, what
 * `idlewild chat --json` printed, or a bare receipt. Pure; what is none of these is refused.
 */
import { IdlewildError, type AnswerText } from '@idlewild/protocol';

export interface ToldAnswer {
  /** Which of the request's answers it is. */
  readonly choice: number;
  readonly receipt: string;
  /** Absent where there is a receipt alone. */
  readonly answer: AnswerText | undefined;
}

interface Note {
  readonly receipts?: readonly string[];
}
interface ToolCall {
  readonly index?: number;
  readonly function?: { readonly name?: string; readonly arguments?: string };
}
interface Message {
  readonly content?: string | null;
  readonly tool_calls?: readonly ToolCall[];
}
interface TextChoice {
  readonly index?: number;
  readonly message?: Message;
  readonly delta?: Message;
  readonly text?: string;
}
interface Item {
  readonly type: string;
  readonly content?: readonly { readonly text?: string }[];
  readonly name?: string;
  readonly arguments?: string;
}
interface Body {
  readonly choices?: readonly TextChoice[];
  readonly output?: readonly Item[];
  readonly response?: Body;
  readonly text?: string;
  readonly idlewild?: Note;
}

const BARE = /^[A-Za-z0-9_-]{64,}$/;

/** Throws `usage` for what holds no receipt. */
export function toldAnswers(kept: string): readonly ToldAnswer[] {
  const text = kept.trim();
  if (BARE.test(text)) return [{ choice: 0, receipt: text, answer: undefined }];
  const told = /^(?:data|event|id):/m.test(text) ? ofEvents(text) : ofBody(parse(text));
  if (told.length > 0) return told;
  throw new IdlewildError(
    'usage',
    'there is no receipt in this. Keep the whole JSON of an answer, or all events of a stream: ' +
      'the receipt stands in "idlewild"',
  );
}

function parse(text: string): Body {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null) return body;
  } catch {
    // Said below, in words for people.
  }
  throw new IdlewildError('usage', 'this is neither the JSON of an answer, nor the events of a stream, nor a receipt');
}

function ofBody({ choices, output, text, idlewild }: Body): readonly ToldAnswer[] {
  const receipts = idlewild?.receipts ?? [];
  const answers: readonly AnswerText[] =
    choices?.map(ofChoice) ?? (output === undefined ? [{ text: text ?? '', calls: [] }] : [ofItems(output)]);
  return receipts.map((receipt, choice) => ({ choice, receipt, answer: answers[choice] }));
}

const ofChoice = ({ message, text }: TextChoice): AnswerText => ({
  text: message?.content ?? text ?? '',
  calls: (message?.tool_calls ?? []).map(callOf),
});

const callOf = ({ function: called }: ToolCall): AnswerText['calls'][number] => ({
  name: called?.name ?? '',
  arguments: called?.arguments ?? '',
});

const ofItems = (items: readonly Item[]): AnswerText => ({
  text: items.flatMap(({ content = [] }) => content.map((part) => part.text ?? '')).join(''),
  calls: items
    .filter(({ type }) => type === 'function_call')
    .map((item) => ({ name: item.name ?? '', arguments: item.arguments ?? '' })),
});

interface Growing {
  text: string;
  readonly calls: { name: string; arguments: string }[];
  receipt?: string;
}

function ofEvents(text: string): readonly ToldAnswer[] {
  const bodies = text
    .split(/\r?\n/)
    .filter((line) => /^data: *\{/.test(line))
    .map((line) => parse(line.slice(line.indexOf('{'))));
  const response = bodies.findLast((body) => body.response?.idlewild !== undefined)?.response;
  if (response !== undefined) return ofBody(response);
  const grown = new Map<number, Growing>();
  for (const body of bodies) for (const choice of body.choices ?? []) grow(grown, choice, body.idlewild);
  return [...grown].flatMap(([choice, { receipt, ...answer }]) =>
    receipt === undefined ? [] : [{ choice, receipt, answer }],
  );
}

function grow(grown: Map<number, Growing>, choice: TextChoice, note: Note | undefined): void {
  const { index = 0, delta, text } = choice;
  const answer = grown.get(index) ?? { text: '', calls: [] };
  grown.set(index, answer);
  answer.text += delta?.content ?? text ?? '';
  for (const part of delta?.tool_calls ?? []) {
    const call = (answer.calls[part.index ?? 0] ??= { name: '', arguments: '' });
    call.name += part.function?.name ?? '';
    call.arguments += part.function?.arguments ?? '';
  }
  const [receipt] = note?.receipts ?? [];
  if (receipt !== undefined) answer.receipt = receipt;
}
