/**
 * `idlewild chat`: one answer to a PROMPT, or a conversation. The conversation is kept in memory for as long as it
 * goes on and nowhere else. Ctrl-C stops an answer and leaves the conversation.
 */
import type { Interface } from 'node:readline/promises';
import type { AnswerEnd, ChatRequest, Client, Message, SamplingOptions } from '@idlewild/client';
import { InvalidArgumentError, type Command } from 'commander';
import { bold, contextOf, dim, interruptSignal, type Context } from '../context.ts';
import { saidOf, withSaid, type SaidOptions } from '../text/said.ts';
import { plainText, rateText } from '../text/units.ts';

interface ChatOptions extends SaidOptions {
  readonly model?: string;
  readonly system?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
}

export interface Timed extends AnswerEnd {
  readonly text: string;
  readonly tokensPerSecond: number | null;
}

const number = (text: string): number => {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
};

export function addChatCommand(program: Command): void {
  withSaid(program.command('chat'))
    .summary('ask for an answer, or have a conversation')
    .description('Ask for an answer, or, without a PROMPT, have a conversation.')
    .argument('[prompt...]', 'what to ask; - reads it from stdin')
    .option('-m, --model <name>', 'which model answers (default: the only one that makes text)')
    .option('--system <text>', 'what the model is told before all else')
    .option('--max-tokens <count>', 'the longest answer', number)
    .option('--temperature <number>', '0 takes the likeliest token each time', number)
    .option('--top-p <number>', 'keeps the likeliest tokens up to this share', number)
    .option('--seed <number>', 'the same seed gives the same answer', number)
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild chat -m jacobean "What news of the king?"\n' +
        '  $ idlewild chat - < question.txt\n  $ idlewild chat',
    )
    .action(async (words: readonly string[], options: ChatOptions, command: Command) => {
      const context = contextOf(command);
      const client = saying(await context.client(), options);
      const model = options.model ?? (await onlyModel(client));
      const request = { model, ...samplingOf(options) };
      const opening: Message[] = options.system === undefined ? [] : [{ role: 'system', content: options.system }];
      const prompt = words.length === 1 && words[0] === '-' ? await readStdin() : words.join(' ');
      if (prompt !== '')
        await once(context, client, { ...request, messages: [...opening, { role: 'user', content: prompt }] });
      else await converse(context, client, request, opening);
    });
}

/** Says of every question of this command what was said of it. */
const saying = (client: Client, options: SaidOptions): Client => ({
  ...client,
  chat: (request, more) => client.chat(request, { ...more, ...saidOf(options) }),
});

const samplingOf = ({ maxTokens, temperature, topP, seed }: ChatOptions): SamplingOptions => ({
  ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
  ...(temperature === undefined ? {} : { temperature }),
  ...(topP === undefined ? {} : { top_p: topP }),
  ...(seed === undefined ? {} : { seed }),
});

/** Throws `model_not_found` where there is none, and `usage` with their names where there are several. */
export async function onlyModel(client: Client): Promise<string> {
  const names = await client.modelNames({ kind: 'decoder' });
  const [first, second] = names;
  if (first !== undefined && second === undefined) return first;
  const { IdlewildError } = await import('@idlewild/protocol');
  if (first === undefined)
    throw new IdlewildError(
      'model_not_found',
      'this hub has no model that makes text yet; publish one with `idlewild models add DIR`',
    );
  throw new IdlewildError('usage', `which model? Write -m and one of ${names.join(', ')}`);
}

async function once(context: Context, client: Client, request: ChatRequest): Promise<void> {
  const write = context.json
    ? () => undefined
    : (text: string) => {
        process.stdout.write(shown(text));
      };
  const slow = tellWhenSlow((line) => context.note(line));
  const begun = (text: string): void => {
    slow.stop();
    write(text);
  };
  const answer = await timedAnswer(client, request, begun, interruptSignal())
    .catch((error: unknown) => {
      if (!context.json && process.stdout.isTTY) process.stdout.write('\n');
      throw error;
    })
    .finally(() => slow.stop());
  if (context.json) return context.printJson(answer);
  process.stdout.write('\n');
  context.note(noteLine(answer));
}

const SLOW_MS = 3_000;

/** Whoever waits for a first word is told once what may be in its way. */
export function tellWhenSlow(tell: (line: string) => void): { stop(): void } {
  const timer = setTimeout(
    () => tell('no word yet: devices may be busy, or loading the model; `idlewild devices list` shows what they do'),
    SLOW_MS,
  );
  timer.unref();
  return { stop: () => clearTimeout(timer) };
}

/** Streams an answer to `write` and measures it as its reader does: all its tokens over all the time that it took. */
export async function timedAnswer(
  client: Client,
  request: ChatRequest,
  write: (text: string) => void,
  signal: AbortSignal,
): Promise<Timed> {
  let text = '';
  const askedMs = performance.now();
  for await (const piece of client.chat(request, { signal })) {
    if ('text' in piece) {
      text += piece.text;
      write(plainText(piece.text));
    } else {
      const seconds = (performance.now() - askedMs) / 1_000;
      const tokens = piece.usage.completion_tokens;
      return { text, tokensPerSecond: seconds > 0 && tokens > 0 ? tokens / seconds : null, ...piece };
    }
  }
  throw new Error('the client ended a stream without its end');
}

/** `ada · 57 tokens · 212 tokens/s`, with each device in order and what became of exactness after a failover. */
export function noteLine({ idlewild, usage, tokensPerSecond, finish }: Timed): string {
  const { devices, failovers, exact } = idlewild;
  return [
    devices.map(plainText).join(' → '),
    `${usage.completion_tokens} tokens${finish === 'length' ? ' (cut at the limit)' : ''}`,
    ...(tokensPerSecond === null ? [] : [`${rateText(tokensPerSecond)} tokens/s`]),
    ...(failovers === 0 ? [] : [exact ? 'went on without a seam' : 'went on from a device of another kind']),
  ].join(' · ');
}

async function converse(
  context: Context,
  client: Client,
  request: Omit<ChatRequest, 'messages'>,
  opening: readonly Message[],
): Promise<void> {
  if (context.json || !process.stdin.isTTY) {
    const { IdlewildError } = await import('@idlewild/protocol');
    throw new IdlewildError('usage', 'a conversation needs a terminal; give a PROMPT, or - to read it from stdin');
  }
  const { createInterface } = await import('node:readline/promises');
  const lines = createInterface({ input: process.stdin, output: process.stdout, historySize: 200 });
  context.note(`${request.model} at ${client.hub} · Ctrl-C stops an answer, Ctrl-D ends, /new starts over`);
  const ended = new AbortController();
  lines.once('close', () => ended.abort());
  let answering: AbortController | undefined;
  lines.on('SIGINT', () => {
    if (answering === undefined) lines.close();
    else answering.abort();
  });
  let messages: Message[] = [...opening];
  for (;;) {
    const line = await nextLine(lines, `${bold('›', process.stdout)} `, ended.signal);
    if (line === undefined) return void process.stdout.write('\n');
    if (line.trim() === '/new') messages = [...opening];
    if (line.trim() === '' || line.trim() === '/new') continue;
    answering = new AbortController();
    const asked: Message[] = [...messages, { role: 'user', content: line }];
    messages = await turn(context, client, request, asked, opening.length, answering.signal);
    answering = undefined;
  }
}

/** `undefined` when the person has ended the conversation, be it while the last answer was still coming. */
async function nextLine(lines: Interface, prompt: string, ended: AbortSignal): Promise<string | undefined> {
  if (ended.aborted) return undefined;
  return lines.question(prompt, { signal: ended }).catch((error: unknown) => {
    if (ended.aborted) return undefined;
    throw error;
  });
}

/** One question and its answer. Returns the conversation to go on with; what failed is told and kept out of it. */
async function turn(
  context: Context,
  client: Client,
  request: Omit<ChatRequest, 'messages'>,
  asked: readonly Message[],
  fixed: number,
  signal: AbortSignal,
): Promise<Message[]> {
  let text = '';
  const write = (piece: string): void => {
    text += piece;
    process.stdout.write(shown(piece));
  };
  try {
    const answer = await timedAnswer(client, { ...request, messages: asked }, write, signal);
    process.stdout.write('\n');
    context.note(noteLine(answer));
    return [...asked, { role: 'assistant', content: answer.text }];
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (text !== '') process.stdout.write('\n');
    if (code === 'cancelled') {
      context.note('stopped');
      return text === '' ? asked.slice(0, -1) : [...asked, { role: 'assistant', content: text }];
    }
    // The first exchange goes, the system's words stay, until what is left fits.
    if (code === 'context_length_exceeded' && asked.length > fixed + 2) {
      context.note('(the beginning of the conversation no longer fits and is left out)');
      return turn(context, client, request, [...asked.slice(0, fixed), ...asked.slice(fixed + 2)], fixed, signal);
    }
    if (code === undefined) throw error;
    process.stderr.write(`${dim(plainText(`${code}: ${message}`), process.stderr)}\n`);
    return asked.slice(0, -1);
  }
}

/** What a model says is a stranger's text, and must not steer a terminal; whoever keeps it gets every character. */
const shown = (piece: string): string => (process.stdout.isTTY ? plainText(piece) : piece);

async function readStdin(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += chunk as string;
  return text.replace(/\n$/, '');
}
