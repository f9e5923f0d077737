/**
 * Those who ask: each request takes the gateway's way through the hub (key, policy, model, answer), and everything that
 * its caller sees becomes an event. A caller may hang up at any time, also before its request is accepted.
 */
import { codeOf, newId, type AnswerWork, type Random } from '@idlewild/protocol';
import type { AnswerHandle, AnswerSink, KeyPrincipal } from '@idlewild/hub';
import type { Via } from '../events.ts';
import type { HubProcess } from '../machines/hub-process.ts';
import { admitted, atMost, bodyOf, closing, holdWatch, holding, type Holding } from '../members/holding.ts';
import type { Record } from '../record.ts';
import { textOf } from './texts.ts';

export const MODEL = 'tiny';

export interface CallerKey {
  readonly id: string;
  readonly key: string;
  /** Whose own it is. */
  readonly person?: string | undefined;
  /** On whose account it asks. */
  readonly project?: string | undefined;
  /** It may be answered by devices of the pools alone that it is bound to. */
  readonly isOfPools?: boolean | undefined;
}

export interface Callers {
  /** `wrap` is between the hub and the caller; a test breaks the world there. */
  ask(request: number, from: CallerKey, work: Omit<AnswerWork, 'tokens'>, deadlineMs?: number, model?: string): void;
  hangUp(request: number): void;
  /** A process of the hub is gone: who waited for it knows. */
  cutOff(process: HubProcess): void;
  /** Requests whose callers still wait. */
  waiting(): readonly number[];
}

export interface CallersDeps {
  readonly record: Record;
  /** For ids of requests. */
  readonly random: Random;
  readonly process: () => HubProcess | undefined;
  /** The frame that the hub handles now. */
  readonly via: () => Via | undefined;
  readonly wrapSink: (sink: AnswerSink) => AnswerSink;
}

interface Submission {
  readonly request: number;
  readonly principal: KeyPrincipal;
  readonly held: Holding;
  readonly work: Omit<AnswerWork, 'tokens'>;
  readonly deadlineMs: number | undefined;
  readonly name: string;
}

interface Waiting {
  readonly process: HubProcess;
  handle: AnswerHandle | undefined;
  gone: boolean;
}

export function createCallers(deps: CallersDeps): Callers {
  const { record } = deps;
  const waiting = new Map<number, Waiting>();
  /** Who hung up on a process that stood still, and hears nothing of what it says afterwards. */
  const left = new Set<number>();

  function sinkFor(request: number, process: HubProcess): AnswerSink {
    const told = (act: () => void): void =>
      process.give(() => {
        if (!left.has(request)) act();
      });
    return deps.wrapSink({
      started: () => told(() => record.note({ e: 'started', request })),
      token(i, id, s) {
        const via = deps.via();
        told(() => record.note({ e: 'token', request, i, id, s, via }));
      },
      finished(outcome) {
        const via = deps.via();
        told(() => {
          waiting.delete(request);
          record.note({ e: 'finished', request, outcome, via });
        });
      },
      failed: (error) =>
        told(() => {
          waiting.delete(request);
          record.note({ e: 'failed', request, code: error.code });
        }),
    });
  }

  async function submit(
    process: HubProcess,
    request: number,
    key: string,
    work: Omit<AnswerWork, 'tokens'>,
    deadlineMs: number | undefined,
    name: string,
  ): Promise<void> {
    const { hub } = process;
    const principal = await hub.keys.authenticate(key);
    const id = newId('req', deps.random);
    const told = holdWatch(record, request, process);
    const held = await holding(hub, { id, principal, ...bodyOf(work) }, told);
    try {
      await submitHeld(process, { request, principal, held, work, deadlineMs, name });
    } catch (error) {
      held.close();
      throw error;
    }
  }

  async function submitHeld(
    process: HubProcess,
    { request, principal, held, work, deadlineMs, name }: Submission,
  ): Promise<void> {
    const { hub } = process;
    const territory = hub.territory.id;
    const asking = { principal, model: name, text: textOf(request), prompt: work.prompt };
    const { cid, permit, text } = await admitted(hub, asking);
    const order = {
      territory,
      key: principal.keyId,
      model: { cid, name },
      work: atMost(work, held.tokensMax),
      spend: held.spend,
      permit,
      text,
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
    };
    const submitted = await hub.answers.submit(order, closing(sinkFor(request, process), held));
    const handle: AnswerHandle = {
      request: submitted.request,
      cancel(why) {
        submitted.cancel(why);
        held.close();
      },
    };
    process.give(() => {
      record.note({ e: 'accepted', request, id: handle.request, replica: process.id });
      const caller = waiting.get(request);
      if (caller === undefined) return;
      caller.handle = handle;
      if (!caller.gone) return;
      waiting.delete(request);
      handle.cancel('the caller hung up');
    });
  }

  return {
    ask(request, from, work, deadlineMs, model = MODEL) {
      const process = deps.process();
      record.note({ e: 'asked', request, key: from.id, model, work });
      if (process === undefined) return record.note({ e: 'refused', request, code: 'unreachable' });
      waiting.set(request, { process, handle: undefined, gone: false });
      const refused = (error: unknown): void =>
        process.give(() => {
          waiting.delete(request);
          record.note({ e: 'refused', request, code: codeOf(error) ?? 'internal' });
        });
      process.take(() => void submit(process, request, from.key, work, deadlineMs, model).catch(refused));
    },
    hangUp(request) {
      const caller = waiting.get(request);
      if (caller === undefined || caller.gone) return;
      caller.gone = true;
      const isLate = caller.process.isPaused();
      record.note({ e: 'hungUp', request, ...(isLate ? { late: true } : {}) });
      if (caller.handle === undefined) return;
      waiting.delete(request);
      const { handle } = caller;
      if (isLate) left.add(request);
      caller.process.take(() => handle.cancel('the caller hung up'));
    },
    cutOff(process) {
      for (const [request, caller] of waiting) {
        if (caller.process !== process) continue;
        if (!caller.gone) record.note({ e: 'cutOff', request });
        waiting.delete(request);
      }
    },
    waiting: () => [...waiting.keys()],
  };
}
