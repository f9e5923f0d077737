/**
 * Sealed prompts over HTTP: a device is offered, the sealed prompt comes, sealed events go back as server-sent events.
 *
 * Nothing here can be read, so nothing is parsed but lengths and ids. Headers wait for the device's first event; a
 * caller that hangs up, or does not read, ends its attempt. Answers are not kept: whose stream breaks seals to
 * another device.
 */
import { LIMITS, causeSchema, WORK_NEEDS, type Clock, type IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import { actorOf } from '../../identity/principal.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Models } from '../../models/registry.ts';
import { createPace } from '../../pace.ts';
import type { Offered, SealedAnswers, SealedHandle, SealedSink } from '../../sealed/port.ts';
import type { SealedUse } from '../../use/sealed-use.ts';
import type { Use } from '../../use/use.ts';
import { createSlowReaders, type SlowReaders } from '../../slow-readers.ts';
import { permitText, type AdmitDeps } from '../asking/admit.ts';
import { errorBody } from '../errors.ts';
import { refuse } from '../openai/work.ts';
import { textOf } from '../asking/said.ts';
import { principal, typed, type App, type FastifyReply, type FastifyRequest } from '../server.ts';
import { judgeText } from '../asking/wanted.ts';

/** Under it nothing is kept, and limits of requests count prompts and no offers. */
export const SEALED_PATH = '/v1/sealed/';
export const OFFERS_PATH = `${SEALED_PATH}offers`;
export const REFUSALS_PATH = `${SEALED_PATH}refusals`;

export interface SealedRoutesDeps extends AdmitDeps {
  readonly use: Pick<Use, 'judge' | 'sealedFor' | 'refuse'>;
  readonly sealed: SealedAnswers;
  readonly models: Pick<Models, 'resolve'>;
  readonly territory: { readonly id: string };
  readonly clock: Clock;
}

const id = z.string().min(1).max(64);
const offerRequestSchema = z.strictObject({
  model: z.string().min(1).max(LIMITS.nameCharactersMax),
  bytes: z.int().min(LIMITS.sealedPromptBytesMin).max(LIMITS.sealedPromptBytesMax).describe('Of the padded prompt.'),
  tokens: z.int().min(1).max(LIMITS.tokensMax).optional().describe('That the answer may have, roughly.'),
  numeric_class: z.string().max(64).optional().describe('Of the tokens that there are already.'),
  near: id.optional().describe('A device that may know the beginning of the conversation.'),
  without: z.array(id).max(HUB_LIMITS.offerWithoutMax).optional().describe('Devices that have failed this prompt.'),
  apart: z
    .boolean()
    .optional()
    .describe('Rather a device of another lender than those: it is to check what they made.'),
  needs: z
    .array(z.enum(WORK_NEEDS))
    .max(WORK_NEEDS.length)
    .optional()
    .describe('What the prompt needs of its device; if that is not told, a device that can do all is offered.'),
});

const base64url = (characters: number) => z.base64url().max(characters);
/** Four characters for three bytes, and the tag. */
const SEALED_CHARACTERS_MAX = Math.ceil(((LIMITS.sealedPromptBytesMax + 16) * 4) / 3);
const key32 = base64url(44).refine((text) => Buffer.from(text, 'base64url').length === 32, 'must be 32 bytes');
const promptSchema = z.strictObject({
  offer: z.string().min(1).max(HUB_LIMITS.offerCharactersMax),
  key: key32.describe("The device's X25519 key."),
  enc: key32.describe('The encapsulated key (RFC 9180).'),
  sealed: base64url(SEALED_CHARACTERS_MAX),
  tokens: z.int().min(1).max(LIMITS.tokensMax).optional().describe('That the answer may have, roughly.'),
});

const refusalSchema = z.strictObject({
  offer: z.string().min(1).max(HUB_LIMITS.offerCharactersMax),
  rule: causeSchema.optional().describe('Absent: it is no conversation, and a profile wants one.'),
});

/** Of what holds, what the caller does not know from the rules. */
const shownUse = ({ version, profiles, except }: SealedUse): object => ({ version, profiles, except });

/** What an answer may have that does not say, as the scheduler thinks. */
const ANSWER_TOKENS = 200;

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const bytes = (carried: string): Uint8Array => new Uint8Array(Buffer.from(carried, 'base64url'));

export const sealedRoutes =
  ({ sealed, models, policy, use, territory, clock }: SealedRoutesDeps) =>
  (app: App): void => {
    const readers = createSlowReaders({
      bytesMax: HUB_LIMITS.callerBufferedBytesMax,
      allBytesMax: HUB_LIMITS.callersBufferedBytesMax,
      usualBytes: HUB_LIMITS.usuallyBufferedBytes,
    });
    typed(app).route({
      method: 'POST',
      url: OFFERS_PATH,
      config: { action: 'answer', resource: 'later' },
      schema: { body: offerRequestSchema, summary: 'Offers a device for a sealed prompt', tags: ['sealed'] },
      handler: async (request, reply) => {
        const { body } = request;
        const { cid, manifest } = await models.resolve(territory.id, body.model);
        if (manifest.kind !== 'decoder')
          throw refuse('model', `"${body.model}" is of kind "${manifest.kind}" and makes no text; see /v1/models`);
        const told = textOf(request);
        const permit = await permitText({ policy, territory }, request, cid, told, true);
        const wanted = { model: body.model, text: told, permit, texts: [], isSealed: true };
        await judgeText({ use }, request, reply, wanted);
        const held = await use.sealedFor(principal(request));
        const offer = await sealed.offer(
          {
            territory: territory.id,
            caller: actorOf(principal(request)),
            model: { cid, name: body.model },
            text: told,
            permit,
            bytes: body.bytes,
            tokens: body.tokens ?? ANSWER_TOKENS,
            numericClass: body.numeric_class,
            near: body.near,
            without: body.without ?? [],
            apart: body.apart,
            needs: body.needs,
            use: held?.order,
          },
          closedSignal(reply),
        );
        return {
          object: 'sealed.offer',
          offer: offer.token,
          hold_ms: offer.holdMs,
          lease: offer.lease,
          epoch: offer.epoch,
          model: cid,
          data_class: told.dataClass,
          ...(told.cause === undefined ? {} : { purpose: told.cause }),
          numeric_class: offer.numericClass ?? null,
          device: { id: offer.device.id, name: offer.device.name, key: text(offer.device.key) },
          agreement_key: text(offer.agreementKey),
          vouch: offer.vouch.map(text),
          ...(held === undefined ? {} : { use: shownUse(held) }),
        };
      },
    });
    /** An offer as it comes back, with what holds for whoever brings it. */
    const offeredTo = async (request: FastifyRequest, token: string): Promise<Omit<Offered, 'admit'>> => {
      const asker = principal(request);
      return {
        token,
        territory: territory.id,
        caller: actorOf(asker),
        use: (await use.sealedFor(asker))?.order,
        refuse: (model, rule) => use.refuse(asker, { model, rule }),
      };
    };
    typed(app).route({
      method: 'POST',
      url: REFUSALS_PATH,
      config: { action: 'answer', resource: 'later' },
      schema: {
        body: refusalSchema,
        summary: 'Says that a rule of use speaks against a prompt that is not sealed therefore',
        tags: ['sealed'],
      },
      handler: async (request) => {
        const { offer: token, rule } = request.body;
        return sealed.withdraw(await offeredTo(request, token), rule);
      },
    });
    typed(app).route({
      method: 'POST',
      url: `${SEALED_PATH}answers`,
      config: { action: 'answer', resource: 'later' },
      schema: { body: promptSchema, summary: 'Answers a sealed prompt, as sealed events', tags: ['sealed'] },
      handler: async (request, reply) => {
        const { offer: token, ...prompt } = request.body;
        const offered: Offered = {
          ...(await offeredTo(request, token)),
          hold: request.hold,
          admit: (model, told) => permitText({ policy, territory }, request, model, told, true),
        };
        const carried = { key: bytes(prompt.key), enc: bytes(prompt.enc), sealed: bytes(prompt.sealed) };
        await stream(reply, { clock, readers }, (sink) => sealed.submit(offered, carried, sink));
        return reply;
      },
    });
  };

function closedSignal(reply: FastifyReply): AbortSignal {
  const abort = new AbortController();
  reply.raw.once('close', () => abort.abort());
  return abort.signal;
}

const SSE_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store, no-transform',
  'x-accel-buffering': 'no',
} as const;

interface StreamDeps {
  readonly clock: Clock;
  readonly readers: SlowReaders;
}

/** Resolves when the stream has begun or ended; throws what happened before the headers were sent. */
async function stream(
  reply: FastifyReply,
  { clock, readers }: StreamDeps,
  submit: (sink: SealedSink) => Promise<SealedHandle>,
): Promise<void> {
  const { raw } = reply;
  let handle: SealedHandle | undefined;
  let over = false;
  let waiting = '';
  const pace = createPace(clock, HUB_LIMITS.streamGapMs, () => {
    if (waiting !== '') raw.write(waiting);
    waiting = '';
  });
  const reader = readers.open(() => raw.writableLength);
  const cancel = (why: string): void => {
    if (over) return;
    over = true;
    handle?.cancel(why);
  };
  raw.once('close', () => {
    pace.stop();
    reader.close();
    cancel('the caller hung up');
  });
  await new Promise<void>((resolve, reject) => {
    const tell = (event: object, isEnd = false): void => {
      if (over) return;
      if (!raw.headersSent) {
        reply.hijack();
        raw.writeHead(200, { ...(reply.getHeaders() as Record<string, string>), ...SSE_HEADERS });
        resolve();
      }
      waiting += `data: ${JSON.stringify(event)}\n\n`;
      if (isEnd) {
        over = true;
        pace.stop();
        raw.end(`${waiting}data: [DONE]\n\n`);
      } else pace.ask();
      if (!isEnd && reader.isTooMuch()) {
        cancel('the caller does not read');
        raw.destroy();
      }
    };
    submit({
      part: (n, sealed) => tell({ t: 'part', n, sealed: text(sealed) }),
      done: (n, sealed, receipt) =>
        tell({ t: 'done', n, sealed: text(sealed), ...(receipt && { receipt: text(receipt) }) }, true),
      lost: (code, message) => tell({ t: 'lost', code, message }, true),
      failed(error: IdlewildError, more) {
        if (raw.headersSent || more !== undefined) {
          const inside = more === undefined ? {} : { n: more.n, sealed: text(more.sealed) };
          return tell({ t: 'failed', ...inside, ...errorBody(error) }, true);
        }
        over = true;
        return reject(error);
      },
    }).then((submitted) => {
      handle = submitted;
      if (over || raw.destroyed) submitted.cancel('the caller hung up');
    }, reject);
  });
}
