/**
 * Callers who ask under an Idempotency-Key: when their replica dies, goes silent or breaks their stream they come back,
 * to whichever replica the balancer sends them, with the id of the last event that they have, until they hear an end.
 */
import type { AnswerOutcome, AnswerSink } from '@idlewild/hub';
import type { AnswerWork, Clock, ErrorCode, Timer } from '@idlewild/protocol';
import type { CallerKey } from './callers.ts';
import type { Chance } from '../chance.ts';
import type { HubProcess } from '../machines/hub-process.ts';
import type { Record } from '../record.ts';
import { serveRun, type Connection, type RunEvent } from './run-route.ts';

export interface KeyedCallers {
  ask(
    request: number,
    from: CallerKey,
    work: Omit<AnswerWork, 'tokens'>,
    deadlineMs: number | undefined,
    model: string,
  ): void;
  hangUp(request: number): void;
  /** Its connection breaks, and it comes back. */
  breakOff(request: number): void;
  cutOff(process: HubProcess): void;
  waiting(): readonly number[];
}

export interface KeyedCallersDeps {
  readonly record: Record;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly pick: () => HubProcess | undefined;
  readonly wrapSink: (sink: AnswerSink) => AnswerSink;
}

interface Call {
  readonly request: number;
  readonly key: string;
  readonly work: Omit<AnswerWork, 'tokens'>;
  readonly deadlineMs: number | undefined;
  readonly model: string;
  connection: OpenConnection | undefined;
  lastEventId: string | undefined;
  outcome: AnswerOutcome | undefined;
  silence: Timer | undefined;
  isOver: boolean;
}
type OpenConnection = Connection & { readonly process: HubProcess; close(): void };

/** Longer than any stall that the hub itself would notice. */
const PATIENCE_MS = 20_000;
/** Codes that say nothing about the answer. */
const COMES_BACK: ReadonlySet<ErrorCode> = new Set([
  'hub_stopping',
  'bus_down',
  'database_unavailable',
  'run_taken_over',
  'disconnected',
  'internal',
]);

export function createKeyedCallers(deps: KeyedCallersDeps): KeyedCallers {
  const { record, clock, chance } = deps;
  const calls = new Map<number, Call>();

  function over(call: Call): void {
    call.isOver = true;
    call.silence?.cancel();
    calls.delete(call.request);
    call.connection?.close();
  }
  function hear(call: Call, event: RunEvent): void {
    const { request } = call;
    if ('error' in event) {
      over(call);
      record.note({ e: 'failed', request, code: event.error });
    } else if ('outcome' in event) call.outcome = event.outcome;
    else record.note({ e: 'token', request, i: event.i, id: event.id, s: event.s, via: undefined });
  }
  function comeBack(call: Call, why: string): void {
    if (call.isOver) return;
    call.silence?.cancel();
    call.connection?.close();
    record.note({ e: 'broke', request: call.request, why });
    clock.after(chance.between(20, 2_500), () => connect(call));
  }
  function wait(call: Call): void {
    call.silence?.cancel();
    call.silence = clock.after(PATIENCE_MS, () => comeBack(call, 'it is silent'));
  }
  function connect(call: Call): void {
    if (call.isOver) return;
    const process = deps.pick();
    if (process === undefined) return comeBack(call, 'nobody answers');
    wait(call);
    const { request, lastEventId } = call;
    record.note({ e: 'came', request, replica: process.id, after: lastEventId?.slice(lastEventId.indexOf(':') + 1) });
    const connection = createConnection(call, process);
    call.connection = connection;
    const watch = {
      record,
      random: chance,
      accepted: (id: string) => process.give(() => record.note({ e: 'accepted', request, id, replica: process.id })),
      wrapSink: (sink: AnswerSink) => watched(request, process, deps.wrapSink(sink)),
    };
    const { key, work, deadlineMs, model } = call;
    const order = { key, idempotencyKey: `request ${request}`, work, deadlineMs, model, lastEventId };
    process.take(() => void serveRun(process, order, connection, watch));
  }

  function createConnection(call: Call, process: HubProcess): OpenConnection {
    let isOpen = true;
    let text = '';
    const open = (act: () => void): void => {
      if (isOpen && !call.isOver) act();
    };
    const connection: OpenConnection = {
      process,
      isOpen: () => isOpen,
      onClose: () => {},
      close() {
        if (!isOpen) return;
        isOpen = false;
        process.take(() => connection.onClose());
      },
      write: (bytes) =>
        open(() => {
          wait(call);
          text += new TextDecoder().decode(bytes);
          const events = text.split('\n\n');
          text = events.pop() ?? '';
          for (const event of events) if (!call.isOver) read(call, event);
        }),
      end: () => open(() => comeBack(call, 'it ended too early')),
      broken: (why) => open(() => comeBack(call, why)),
      refused: (code) =>
        open(() => {
          if (COMES_BACK.has(code)) return comeBack(call, code);
          over(call);
          return record.note({ e: 'failed', request: call.request, code });
        }),
    };
    return connection;
  }
  function read(call: Call, event: string): void {
    const data = /^data: (.*)$/m.exec(event)?.[1] ?? '';
    if (data === '[DONE]') {
      over(call);
      const { request, outcome } = call;
      if (outcome !== undefined) record.note({ e: 'finished', request, outcome, via: undefined });
      return;
    }
    if (data !== '') hear(call, JSON.parse(data) as RunEvent);
    call.lastEventId = /^id: (.*)$/m.exec(event)?.[1] ?? call.lastEventId;
  }

  /** What an owner of the run is told by devices, or tells once more. */
  function watched(request: number, process: HubProcess, sink: AnswerSink): AnswerSink {
    return {
      ...sink,
      token(i, id, s, calls_, lp) {
        process.give(() => record.note({ e: 'made', request, replica: process.id, i, id, s }));
        sink.token(i, id, s, calls_, lp);
      },
    };
  }

  return {
    ask(request, from, work, deadlineMs, model) {
      record.note({ e: 'asked', request, key: from.id, model, work, keyed: true });
      const call: Call = {
        request,
        key: from.key,
        work,
        deadlineMs,
        model,
        connection: undefined,
        lastEventId: undefined,
        outcome: undefined,
        silence: undefined,
        isOver: false,
      };
      calls.set(request, call);
      connect(call);
    },
    hangUp(request) {
      const call = calls.get(request);
      if (call === undefined) return;
      over(call);
      record.note({ e: 'hungUp', request });
    },
    breakOff(request) {
      const call = calls.get(request);
      if (call?.connection?.isOpen() === true) comeBack(call, 'its line was cut');
    },
    cutOff(process) {
      for (const call of calls.values())
        if (call.connection?.process === process && call.connection.isOpen()) comeBack(call, 'its replica is gone');
    },
    waiting: () => [...calls.keys()],
  };
}
