/**
 * A response as its semantic events, in the official order, numbered from 0.
 *
 *   created → in_progress → items → completed | incomplete | failed
 *   a message: item added → part added → text deltas → text done → part done → item done
 *   a call:    item added → argument deltas → arguments done → item done
 *
 * One item is open at a time: what belongs to another closes it and opens that. A delta of plain text is written by
 * hand, for there is one for each token.
 */
import type { CallPart, IdlewildError, Logprobs } from '@idlewild/protocol';
import type { AnswerOutcome } from '../../answers/port.ts';
import { callIdOf, type Call } from './choice.ts';
import type { EventWriter } from './deliver.ts';
import { createLogprobsAligner, tokenLogprob, type TokenLogprob } from './logprobs.ts';
import {
  callItem,
  endOf,
  itemIdOf,
  messageItem,
  outputTextPart,
  standing,
  statusOf,
  type ItemStatus,
  type ResponseContext,
} from './response-resource.ts';

type OpenItem =
  | { readonly kind: 'message'; readonly id: string; text: string; readonly logprobs: TokenLogprob[] }
  | {
      readonly kind: 'call';
      readonly id: string;
      readonly i: number;
      readonly call: { -readonly [K in keyof Call]: Call[K] };
    };

/** `head` is what every event about the response as a whole repeats of it. */
export function createResponseEvents(context: ResponseContext, head: object): EventWriter {
  const aligner = createLogprobsAligner();
  const output: object[] = [];
  let open: OpenItem | undefined;
  let sequence = 0;

  const event = (type: string, body: object): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...body })}\n\n`;
  const lifecycle = (type: string, state: object): string => event(type, { response: { ...head, ...state } });
  const place = (id: string): { item_id: string; output_index: number } => ({
    item_id: id,
    output_index: output.length,
  });

  function openMessage(): string {
    const id = itemIdOf(context, 'msg', output.length);
    open = { kind: 'message', id, text: '', logprobs: [] };
    const item = messageItem(id, 'in_progress', []);
    return (
      event('response.output_item.added', { output_index: output.length, item }) +
      event('response.content_part.added', { ...place(id), content_index: 0, part: outputTextPart('', []) })
    );
  }
  function openCall(i: number, name: string): string {
    const id = itemIdOf(context, 'fc', output.length);
    const call = { id: callIdOf(context.requestId, 0, i), name, arguments: '' };
    open = { kind: 'call', id, i, call };
    return event('response.output_item.added', {
      output_index: output.length,
      item: callItem(id, 'in_progress', call),
    });
  }
  /** What is still open, at the end or before something else, is closed. */
  function close(status: ItemStatus): string {
    if (open === undefined) return '';
    const item = open;
    open = undefined;
    return item.kind === 'message' ? closeMessage(item, status) : closeCall(item, status);
  }
  function closeMessage({ id, text, logprobs }: Extract<OpenItem, { kind: 'message' }>, status: ItemStatus): string {
    const part = outputTextPart(text, logprobs);
    const item = messageItem(id, status, [part]);
    const at = { ...place(id), content_index: 0 };
    const events =
      event('response.output_text.done', { ...at, text, logprobs }) +
      event('response.content_part.done', { ...at, part }) +
      event('response.output_item.done', { output_index: output.length, item });
    output.push(item);
    return events;
  }
  function closeCall({ id, call }: Extract<OpenItem, { kind: 'call' }>, status: ItemStatus): string {
    const item = callItem(id, status, call);
    const done = { ...place(id), name: call.name, arguments: call.arguments };
    const events =
      event('response.function_call_arguments.done', done) +
      event('response.output_item.done', { output_index: output.length, item });
    output.push(item);
    return events;
  }

  function addText(s: string, told: readonly Logprobs[]): string {
    if (s === '' && told.length === 0) return '';
    let opening = '';
    if (open?.kind !== 'message') opening = close('completed') + openMessage();
    const message = open as Extract<OpenItem, { kind: 'message' }>;
    message.text += s;
    const logprobs = told.map(tokenLogprob);
    if (logprobs.length > 0) message.logprobs.push(...logprobs);
    const type = 'response.output_text.delta';
    return (
      `${opening}event: ${type}\ndata: {"type":"${type}","sequence_number":${sequence++},"item_id":"${message.id}",` +
      `"output_index":${output.length},"content_index":0,"delta":${JSON.stringify(s)},` +
      `"logprobs":${logprobs.length === 0 ? '[]' : JSON.stringify(logprobs)}}\n\n`
    );
  }
  function addCall({ i, name = '', s }: CallPart): string {
    let opening = '';
    if (open?.kind !== 'call' || open.i !== i) opening = close('completed') + openCall(i, name);
    const { id, call } = open as Extract<OpenItem, { kind: 'call' }>;
    call.arguments += s;
    return s === '' ? opening : opening + event('response.function_call_arguments.delta', { ...place(id), delta: s });
  }
  const addCalls = (parts: readonly CallPart[] | undefined): string =>
    parts === undefined ? '' : parts.map(addCall).join('');

  return {
    open: () => {
      const state = standing('in_progress', []);
      return lifecycle('response.created', state) + lifecycle('response.in_progress', state);
    },
    token(_index, s, calls, lp) {
      const said = addText(s, lp === undefined ? [] : aligner.push(lp, s));
      return calls === undefined ? said : said + addCalls(calls);
    },
    finished(_index, outcome: AnswerOutcome) {
      const said = addText(outcome.s, aligner.rest(outcome.s)) + addCalls(outcome.calls);
      const empty = open === undefined && output.length === 0 ? openMessage() : '';
      const status = statusOf(outcome);
      const events = said + empty + close(status);
      return events + lifecycle(`response.${status}`, standing(status, output, endOf(context, outcome)));
    },
    done: () => '',
    failed(error: IdlewildError) {
      const events = close('incomplete');
      const code = error.code === 'too_busy' ? 'rate_limit_exceeded' : 'server_error';
      const told = { code, message: `${error.message} (${error.code})` };
      return events + lifecycle('response.failed', standing('failed', output, { error: told }));
    },
  };
}
