/**
 * The rules of use of a community, asked before anything is sent to a device: for every route that makes work of texts.
 * Of a sealed prompt no text is here to be looked at.
 */
import { begunWith, textsOfPrompt } from '@idlewild/protocol';
import type { Permit } from '../../policy/permit.ts';
import type { AskedText } from '../../trust/text.ts';
import type { Use } from '../../use/use.ts';
import type { WorkDraft } from '../openai/work.ts';
import { principal, type FastifyReply, type FastifyRequest } from '../server.ts';

export interface WantedDeps {
  readonly use: Pick<Use, 'judge'>;
}

export interface WantedText {
  /** Name of the model. */
  readonly model: string;
  readonly text: AskedText;
  /** To be answered by that model. */
  readonly permit: Permit;
  readonly texts: readonly string[];
  readonly isSealed?: boolean;
  /** They are no conversation. */
  readonly isCompletion?: boolean;
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

/** Aborted when the caller hangs up; not at the end of a whole answer, for the error that tells of it is dear. */
function goneSignal({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.once('close', () => {
    if (!raw.writableFinished) gone.abort();
  });
  return gone.signal;
}

/** Drafts of answers as they may be asked for: with what conversations of this asker begin with. */
export async function wantedDrafts(
  deps: WantedDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: Pick<WantedText, 'model' | 'text' | 'permit'>,
  drafts: readonly WorkDraft[],
): Promise<readonly WorkDraft[]> {
  const preambles = await judgeText(deps, request, reply, {
    ...asked,
    texts: drafts.flatMap(({ prompt }) => textsOfPrompt(prompt)),
    isCompletion: drafts.some(({ prompt }) => prompt.kind === 'text'),
  });
  return preambles.length === 0
    ? drafts
    : drafts.map((draft) => ({ ...draft, prompt: begunWith(draft.prompt, preambles) }));
}
