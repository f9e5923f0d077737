/**
 * Those who ask: each request takes the gateway's way through the hub (key, policy, model, answer), and everything that
 * its caller sees becomes an event. A caller may hang up at any time, also before its request is accepted.
 */
import { codeOf, type AnswerWork } from '@idlewild/protocol';
import type { AnswerHandle, AnswerSink } from '@idlewild/hub';
import type { Via } from './events.ts';
import type { HubProcess } from './hub-process.ts';
import type { Record } from './record.ts';

export const MODEL = 'tiny';

export interface CallerKey {
  readonly id: string;
  readonly key: string;
}

export interface Callers {
  /** `wrap` is between the hub and the caller; a test breaks the world there. */
  ask(request: number, from: CallerKey, work: Omit<AnswerWork, 'tokens'>, deadlineMs?: number, model?: string): void;
  hangUp(request: number): void;
  /** The hub's process is gone: who waited for it knows. */
  cutOff(): void;
  /** Requests whose callers still wait. */
  waiting(): readonly number[];
}

export interface CallersDeps {
  readonly record: Record;
  readonly process: () => HubProcess | undefined;
  /** The frame that the hub handles now. */
  readonly via: () => Via | undefined;
  readonly wrapSink: (sink: AnswerSink) => AnswerSink;
}

interface Waiting {
  handle: AnswerHandle | undefined;
  gone: boolean;
}

export function createCallers(deps: CallersDeps): Callers {
  const { record } = deps;
  const waiting = new Map<number, Waiting>();

  function sinkFor(request: number, process: HubProcess): AnswerSink {
    const told = (act: () => void): void => {
      if (process.isLive()) act();
    };
    return deps.wrapSink({
      started: () => told(() => record.note({ e: 'started', request })),
      token: (i, id, s) => told(() => record.note({ e: 'token', request, i, id, s, via: deps.via() })),
      finished: (outcome) =>
        told(() => {
          waiting.delete(request);
          record.note({ e: 'finished', request, outcome, via: deps.via() });
        }),
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
    const territory = hub.territory.id;
    const principal = await hub.keys.authenticate(key);
    hub.policy.decide(principal, 'answer', { territory });
    const model = await hub.models.resolve(territory, name);
    const order = {
      territory,
      key: principal.keyId,
      model: { cid: model.cid, name },
      work,
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
    };
    const handle = await hub.answers.submit(order, sinkFor(request, process));
    if (!process.isLive()) return;
    record.note({ e: 'accepted', request, id: handle.request });
    const caller = waiting.get(request);
    if (caller === undefined) return;
    caller.handle = handle;
    if (!caller.gone) return;
    waiting.delete(request);
    handle.cancel('the caller hung up');
  }

  return {
    ask(request, from, work, deadlineMs, model = MODEL) {
      const process = deps.process();
      record.note({ e: 'asked', request, key: from.id, work });
      if (process === undefined) return record.note({ e: 'refused', request, code: 'unreachable' });
      waiting.set(request, { handle: undefined, gone: false });
      submit(process, request, from.key, work, deadlineMs, model).catch((error: unknown) => {
        if (!process.isLive()) return;
        waiting.delete(request);
        record.note({ e: 'refused', request, code: codeOf(error) ?? 'internal' });
      });
    },
    hangUp(request) {
      const caller = waiting.get(request);
      if (caller === undefined || caller.gone) return;
      caller.gone = true;
      record.note({ e: 'hungUp', request });
      if (caller.handle === undefined) return;
      waiting.delete(request);
      caller.handle.cancel('the caller hung up');
    },
    cutOff() {
      for (const [request, { gone }] of waiting) if (!gone) record.note({ e: 'cutOff', request });
      waiting.clear();
    },
    waiting: () => [...waiting.keys()],
  };
}
