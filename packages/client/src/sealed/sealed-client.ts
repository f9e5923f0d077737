/**
 * End-to-end encrypted prompts as an object: what is asked of it is sealed to one device that a pinned steward vouches
 * for, and nothing of it is ever sent in the open.
 *
 * It works wherever there is a web-standard `fetch`; keys and ciphers are the `Crypto` that it is handed.
 */
import { hex, textOfBytes, type AnswerWork, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import { createHubConnection, type CallOptions, type Fetch } from '../http.ts';
import type { AnswerPiece, ChatRequest } from '../shapes/answers.ts';
import { withVerification, type VerifiedFinish } from './again.ts';
import type { SealedAnswerEvent, SealedDeps, SealedFinish, SealedRequest } from './answer.ts';
import { createUseKeeper } from './held-to-use.ts';
import { createSeenRules, type SeenRules } from './seen-rules.ts';
import { createOfferVerifier, type Trusted } from './verify.ts';

export interface SealedClientOptions extends Trusted {
  readonly hub: string;
  readonly key?: string | undefined;
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  /** Where it is kept which rules of use were seen; absent: in memory, and so as long as this client lives. */
  readonly seenRules?: SeenRules | undefined;
}

export interface SealedCallOptions
  extends Pick<CallOptions, 'signal'>, Pick<SealedRequest, 'dataClass' | 'cause' | 'verify' | 'tellNeeds'> {}

/** The last one says, where it was asked for, whether a second device made the same. */
export type SealedClientEvent = Exclude<SealedAnswerEvent, SealedFinish> | VerifiedFinish;

export interface SealedClient {
  /** Pieces of text as they are made, then the end. */
  chat(request: ChatRequest, options?: SealedCallOptions): AsyncGenerator<AnswerPiece, void, undefined>;
  /** The events of one answer to any work. */
  answer(
    request: SealedRequest,
    options?: Pick<CallOptions, 'signal'>,
  ): AsyncGenerator<SealedClientEvent, void, undefined>;
}

const SCOPE_BYTES = 16;
const SEEDS = 2 ** 31;
/** Conversations whose device is remembered. */
const CONVERSATIONS_MAX = 256;

export function createSealedClient(options: SealedClientOptions): SealedClient {
  const { hub, key, fetch, clock, random, crypto } = options;
  const connection = createHubConnection(hub, key, fetch);
  const verifier = createOfferVerifier(options, crypto);
  const keeper = createUseKeeper({
    ...{ connection, trusted: options, crypto, clock },
    seen: options.seenRules ?? createSeenRules(),
  });
  const deps: SealedDeps = { connection, clock, random, crypto, verifier, keeper, territory: options.territory };
  // Nobody else can name it, the hub least of all: who could would learn by the time whether a prompt was there before.
  const scope = `sealed.${hex(random.bytes(SCOPE_BYTES))}`;
  const devices = new Map<string, string>();

  async function* answer(
    request: SealedRequest,
    { signal }: Pick<CallOptions, 'signal'> = {},
  ): AsyncGenerator<SealedClientEvent, void, undefined> {
    const conversation = beginningOf(request.work);
    const near = request.near ?? devices.get(conversation);
    const work = { ...request.work, scope: request.work.scope ?? scope };
    for await (const event of withVerification(deps, { ...request, work, near }, signal)) {
      if (event.t === 'finished') {
        devices.delete(conversation);
        devices.set(conversation, event.devices.at(-1)?.id ?? '');
        if (devices.size > CONVERSATIONS_MAX) devices.delete(devices.keys().next().value as string);
      }
      yield event;
    }
  }

  async function* chat(
    request: ChatRequest,
    { signal, ...purpose }: SealedCallOptions = {},
  ): AsyncGenerator<AnswerPiece, void, undefined> {
    const { model } = request;
    const seed = request.seed === undefined ? Math.floor(random.unit() * SEEDS) : Math.abs(request.seed);
    for await (const event of answer({ model, work: workOf(request, seed), ...purpose }, { signal })) {
      if (event.t === 'started') continue;
      if (event.s !== '') yield { text: event.s };
      if (event.t !== 'finished') continue;
      const { finish, promptTokens, answerTokens, failovers, exact, kept, verification } = event;
      const total = promptTokens + answerTokens;
      const names = event.devices.map(({ name }) => name);
      yield {
        finish,
        usage: { prompt_tokens: promptTokens, completion_tokens: answerTokens, total_tokens: total },
        idlewild: {
          ...{ devices: names, failovers, seed, exact, hub: connection.hub, ai_generated: true },
          ...(kept === undefined ? {} : { receipts: [textOfBytes(kept)] }),
          ...(verification === undefined ? {} : { verification: verification.result }),
        },
      };
    }
  }

  return { answer, chat };
}

/** Turns of one conversation begin alike. */
function beginningOf({ prompt }: Pick<AnswerWork, 'prompt'>): string {
  return prompt.kind === 'text' ? prompt.text.slice(0, 256) : JSON.stringify(prompt.messages.slice(0, 2));
}

function workOf(request: ChatRequest, seed: number): Omit<AnswerWork, 'tokens'> {
  const { messages, temperature, top_p: topP, top_k: topK, stop, max_tokens: tokensMax } = request;
  const { frequency_penalty: frequencyPenalty, presence_penalty: presencePenalty } = request;
  const said = { temperature, topP, topK, frequencyPenalty, presencePenalty };
  const given = Object.entries(said).filter(([, value]) => value !== undefined);
  return {
    prompt: {
      kind: 'chat',
      messages: messages.map(({ role, content }) => ({ role: role === 'developer' ? 'system' : role, content })),
    },
    sampling: { ...(Object.fromEntries(given) as Partial<AnswerWork['sampling']>), seed },
    choice: 0,
    stop: stop === undefined ? [] : typeof stop === 'string' ? [stop] : [...stop],
    ...(tokensMax === undefined ? {} : { tokensMax }),
  };
}
