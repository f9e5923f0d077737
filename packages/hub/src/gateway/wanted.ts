/**
 * The rules of use of a community, asked before anything is sent to a device: for every route that makes work of texts.
 * Of a sealed prompt no text is here to be looked at.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { AskedText } from '../trust/text.ts';
import type { Use } from '../use/use.ts';
import type { WorkDraft } from './openai/work.ts';
import { principal, type FastifyReply, type FastifyRequest } from './server.ts';

export interface WantedDeps {
  readonly use: Pick<Use, 'judge'>;
}

export interface WantedText {
  /** Name of the model. */
  readonly model: string;
  readonly text: AskedText;
  readonly texts: readonly string[];
  readonly isSealed?: boolean;
}

/** What every conversation of this asker begins with. Throws `use_refused` or `use_unjudged`. */
export async function judgeText(
  { use }: WantedDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: WantedText,
): Promise<readonly string[]> {
  const judging = use.judge(principal(request), asked, goneSignal(reply));
  return judging instanceof Promise ? judging : Promise.resolve(judging);
}

/** Aborted when the caller hangs up. */
function goneSignal({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.once('close', () => gone.abort());
  return gone.signal;
}

/** Drafts of answers as they may be asked for: with what conversations of this asker begin with. */
export async function wantedDrafts(
  deps: WantedDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: Omit<WantedText, 'texts' | 'isSealed'>,
  drafts: readonly WorkDraft[],
): Promise<readonly WorkDraft[]> {
  const preambles = await judgeText(deps, request, reply, { ...asked, texts: drafts.flatMap(textsOf) });
  return preambles.length === 0 ? drafts : drafts.map((draft) => begunWith(draft, preambles));
}

const textsOf = ({ prompt }: WorkDraft): readonly string[] =>
  prompt.kind === 'text' ? [prompt.text] : prompt.messages.map(({ content }) => content).filter((text) => text !== '');

function begunWith(draft: WorkDraft, preambles: readonly string[]): WorkDraft {
  const { prompt } = draft;
  if (prompt.kind === 'text') {
    throw new IdlewildError(
      'use_refused',
      "this community's rules of use begin your conversations with a text of its own, and a completion is none: " +
        'ask at /v1/chat/completions',
      { details: { reason: 'chat-only' } },
    );
  }
  const messages = [...preambles.map((content) => ({ role: 'system', content })), ...prompt.messages];
  return { ...draft, prompt: { ...prompt, messages } };
}
