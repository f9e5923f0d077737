/**
 * A request under an Idempotency-Key as the gateway carries it out (`gateway/asking/repeat.ts`,
 * `gateway/openai/deliver.ts`), without HTTP: a run, its recording, events with ids, and for each who listens the bytes
 * after the event that he has.
 */
import {
  createContinuation,
  createEventIds,
  lastEventId,
  type KeyPrincipal,
  type Making,
  type Run,
} from '@idlewild/hub';
import type { AnswerOutcome, AnswerSink, AnswerHandle, Started } from '@idlewild/hub';
import { asIdlewildError, newId, utf8, type AnswerWork, type ErrorCode, type Random } from '@idlewild/protocol';
import type { HubProcess } from '../machines/hub-process.ts';
import { textOf } from './texts.ts';
import { requestOf } from '../watch.ts';
import { admitted, atMost, bodyOf, holdWatch, holding, type Holding } from '../members/holding.ts';
import type { Record } from '../record.ts';

/** What one event of the stream says. */
export type RunEvent =
  | { readonly i: number; readonly id: number; readonly s: string }
  | { readonly outcome: AnswerOutcome }
  | { readonly error: ErrorCode };

export interface RunOrder {
  readonly key: string;
  readonly idempotencyKey: string;
  readonly work: Omit<AnswerWork, 'tokens'>;
  readonly deadlineMs: number | undefined;
  readonly model: string;
  readonly lastEventId: string | undefined;
}

/** What one connection hears; nothing once it is closed. */
export interface Connection {
  write(bytes: Uint8Array): void;
  /** In good order. */
  end(): void;
  /** Instead of a stream. */
  refused(code: ErrorCode): void;
  /** Broken off in the middle. */
  broken(why: string): void;
  isOpen(): boolean;
  /** What the server does when its client goes. */
  onClose: () => void;
}

export interface RunWatch {
  readonly record: Record;
  readonly random: Random;
  accepted(id: string): void;
  /** Between the hub and the run; a test breaks the world there, too. */
  wrapSink(sink: AnswerSink): AnswerSink;
}

const SSE = { status: 200, headers: { 'content-type': 'text/event-stream' } } as const;
/** What says nothing about the answer, only about this replica. */
const GOES_ON: ReadonlySet<ErrorCode> = new Set(['run_taken_over', 'hub_stopping', 'database_unavailable']);

export async function serveRun(
  process: HubProcess,
  order: RunOrder,
  connection: Connection,
  watch: RunWatch,
): Promise<void> {
  const { hub } = process;
  try {
    const principal = await hub.keys.authenticate(order.key);
    await hub.policy.check(principal, 'answer', { territory: hub.territory.id, project: principal.project });
    const after = order.lastEventId === undefined ? undefined : lastEventId(order.lastEventId);
    const { recording } = await hub.repeats.open({
      territory: hub.territory.id,
      key: principal.keyId,
      idempotencyKey: order.idempotencyKey,
      asked: utf8(JSON.stringify(order.work)),
      requestId: newId('req', watch.random),
      continues: after?.requestId,
      start: (run, making) => carryOut(process, { order, principal, heard: heardOf(after) }, run, making, watch),
    });
    const reader = recording.read();
    connection.onClose = () => reader.close();
    if (!connection.isOpen()) return reader.close();
    const head = await recording.head;
    const continuation = after === undefined || head.status !== 200 ? undefined : createContinuation(after);
    let refusal = '';
    for (;;) {
      const bytes = await reader.next();
      if (bytes === undefined) break;
      if (head.status !== 200) refusal += new TextDecoder().decode(bytes);
      else process.give(() => connection.write(continuation?.push(bytes) ?? bytes));
    }
    process.give(() => {
      if (head.status !== 200) return connection.refused((JSON.parse(refusal) as { error: ErrorCode }).error);
      if (continuation !== undefined) connection.write(continuation.end());
      return connection.end();
    });
  } catch (thrown) {
    const { code } = asIdlewildError(thrown, 'answering');
    process.give(() => (code === 'disconnected' ? connection.broken(code) : connection.refused(code)));
  }
}

interface Asked {
  readonly order: RunOrder;
  readonly principal: KeyPrincipal;
  /** How many tokens its caller has. */
  readonly heard: number;
}

const heardOf = (after: { readonly choices: readonly number[] } | undefined): number => {
  const last = after?.choices[0] ?? -1;
  return Number.isFinite(last) ? last + 1 : 0;
};

async function carryOut(
  { hub, give }: HubProcess,
  asked: Asked,
  run: Run,
  making: Making,
  watch: RunWatch,
): Promise<Started> {
  const { order, principal, heard } = asked;
  const territory = hub.territory.id;
  const { work, model } = order;
  let held: Holding | undefined;
  const body = createBody();
  const ids = createEventIds(run.requestId, 1);
  const say = (event: RunEvent): string => `data: ${JSON.stringify(event)}\n\n`;
  const begun = Promise.withResolvers<Started>();
  let isBegun = false;
  let isOver = false;
  const over = (): void => {
    isOver = true;
    held?.close();
  };
  let handle: AnswerHandle | undefined;
  const begin = (): void => {
    isBegun = true;
    begun.resolve({ head: SSE, body: body.read() });
  };
  const fail = (code: ErrorCode): void => {
    const isLeft = GOES_ON.has(code);
    if (isLeft) (held ?? making).leave();
    over();
    if (!isBegun) {
      body.write(JSON.stringify({ error: code }));
      body.end();
      return begun.resolve({ head: { status: 503, headers: {} }, body: body.read() });
    }
    if (isLeft) return body.fail();
    body.write(say({ error: code }));
    return body.end();
  };
  making.signal.addEventListener('abort', () => {
    handle?.cancel('the caller hung up');
    over();
    body.fail();
    if (!isBegun) begun.reject(new Error('nobody listens any more'));
  });
  const sink = watch.wrapSink({
    started: begin,
    token: (i, id, s) => body.write(ids.token(0, i, say({ i, id, s }))),
    finished(outcome) {
      if (!isBegun) begin();
      body.write(ids.finished(0, say({ outcome })));
      body.write('data: [DONE]\n\n');
      body.end();
      over();
    },
    failed: ({ code }) => fail(code),
  });
  const submit = async (): Promise<AnswerHandle> => {
    const id = run.requestId;
    const told = holdWatch(watch.record, requestOf(work), { give });
    held = await holding(hub, { id, principal, ...bodyOf(work), run, leave: making.leave }, told);
    if (isOver) held.close();
    const { cid, permit, text } = await admitted(hub, {
      principal,
      model,
      text: textOf(requestOf(work)),
      prompt: work.prompt,
    });
    return hub.answers.submit(
      {
        territory,
        key: principal.keyId,
        model: { cid, name: model },
        work: atMost(work, held.tokensMax),
        spend: held.spend,
        permit,
        text,
        run: { id: run.id, epoch: run.epoch, choice: 0, isResumed: run.isResumed, heard },
        ...(order.deadlineMs === undefined ? {} : { deadlineMs: order.deadlineMs }),
      },
      sink,
    );
  };
  submit().then(
    (submitted) => {
      handle = submitted;
      watch.accepted(submitted.request);
      if (making.signal.aborted) submitted.cancel('the caller hung up');
    },
    (error: unknown) => fail(asIdlewildError(error, 'answering').code),
  );
  return begun.promise;
}

/** A response's body, written at one end and read at the other. */
function createBody(): { write(text: string): void; end(): void; fail(): void; read(): AsyncIterable<Uint8Array> } {
  const chunks: Uint8Array[] = [];
  let state: 'open' | 'ended' | 'failed' = 'open';
  let changed = Promise.withResolvers<void>();
  const tell = (): void => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const close = (how: 'ended' | 'failed'): void => {
    if (state === 'open') state = how;
    tell();
  };
  async function* read(): AsyncIterable<Uint8Array> {
    for (;;) {
      const chunk = chunks.shift();
      if (chunk !== undefined) yield chunk;
      else if (state === 'ended') return;
      else if (state === 'failed') throw new Error('the response was cut off');
      else await changed.promise;
    }
  }
  return {
    write(text) {
      if (state !== 'open' || text === '') return;
      chunks.push(utf8(text));
      tell();
    },
    end: () => close('ended'),
    fail: () => close('failed'),
    read,
  };
}
