/**
 * What happens too often to be written in a transaction of its own: denials and the use of keys.
 *
 * Nobody waits for it. What is noted is written within a quarter of a second, many in one transaction. The same of the
 * same is written once, and what follows is counted: each minute one entry says how often, for as long as it goes on.
 * So a process that is killed loses counts of the last minute, and of what was new those of the last quarter second. Of
 * what is noted more kinds wait than there is room for, those beyond are counted, and the count is an entry itself
 * (`dropNotes`): nothing is left out silently. What could not be written is tried again. Each replica has its own.
 */
import { messageOf, type Clock, type Timer } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import type { Log } from '../log.ts';
import type { Audit } from './audit.ts';
import { checkEvent, type AuditEvent } from './event.ts';
import { AUDIT_LIMITS } from './limits.ts';

export type Note = Omit<AuditEvent, 'territory'>;

export interface Recorder {
  /** Throws what `append` would throw, and nothing else. */
  note(note: Note): void;
  /** Writes what waits, counts included. */
  stop(): Promise<void>;
}

export interface RecorderDeps {
  readonly db: Database;
  readonly audit: Pick<Audit, 'appendAll'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly territory: string;
}

/** One kind of what is noted, from when it was first seen until a minute passes without it. */
interface Kind {
  readonly event: AuditEvent;
  /** Seen since it was written last. */
  count: number;
  /** By the monotonic clock: when its count is written. */
  dueMs: number;
  /** Never written yet: it goes with whatever goes first. */
  isNew: boolean;
}

const { noteMs: NOTE_MS, noteWindowMs: WINDOW_MS, notesMax: KINDS_MAX, notesPerCommit: COMMIT_MAX } = AUDIT_LIMITS;

export function createRecorder({ db, audit, clock, log, territory }: RecorderDeps): Recorder {
  const kinds = new Map<string, Kind>();
  let dropped = 0;
  let timer: Timer | undefined;
  let timerMs = Number.POSITIVE_INFINITY;
  let writing: Promise<void> | undefined;
  let failing = false;

  function wakeAt(atMs: number): void {
    if (timer !== undefined && timerMs <= atMs) return;
    timer?.cancel();
    timerMs = atMs;
    timer = clock.after(Math.max(0, atMs - clock.monotonic()), () => {
      timer = undefined;
      writing ??= writeDue(clock.monotonic()).finally(() => {
        writing = undefined;
        rest();
      });
    });
  }

  /** When there is something to do again. */
  function rest(): void {
    if (timer !== undefined) return;
    let dueMs = dropped > 0 ? clock.monotonic() + NOTE_MS : Number.POSITIVE_INFINITY;
    for (const kind of kinds.values()) dueMs = Math.min(dueMs, kind.dueMs);
    if (Number.isFinite(dueMs)) wakeAt(failing ? Math.max(dueMs, clock.monotonic() + AUDIT_LIMITS.noteRetryMs) : dueMs);
  }

  async function writeDue(untilMs: number): Promise<void> {
    for (;;) {
      const due: [string, Kind][] = [];
      for (const [name, kind] of kinds) {
        // Not what came after this round began: rounds would never end.
        if (kind.dueMs > untilMs + (kind.isNew ? NOTE_MS : 0)) continue;
        if (kind.count === 0) kinds.delete(name);
        else if (due.push([name, kind]) === COMMIT_MAX) break;
      }
      if (due.length === 0 && dropped === 0) return;
      if (!(await writeAll(due.map(([, kind]) => kind)))) return;
    }
  }

  /** Whether it was written; if not, all of it still waits. */
  async function writeAll(due: readonly Kind[]): Promise<boolean> {
    const counts = due.map(({ count }) => count);
    const lost = dropped;
    const events = due.map(({ event, count }) =>
      count === 1 ? event : { ...event, details: { ...event.details, count } },
    );
    if (lost > 0) {
      events.push({ territory, actor: 'hub', action: 'dropNotes', subject: territory, details: { count: lost } });
    }
    try {
      await transact(db, (transaction) => audit.appendAll(transaction, events));
    } catch (error) {
      if (!failing) log.error({ why: messageOf(error), waiting: kinds.size }, 'the audit log cannot be written');
      failing = true;
      return false;
    }
    if (failing) log.info({}, 'the audit log is written again');
    failing = false;
    dropped -= lost;
    const nextMs = clock.monotonic() + WINDOW_MS;
    for (const [at, kind] of due.entries()) {
      kind.count -= counts[at] as number;
      kind.dueMs = nextMs;
      kind.isNew = false;
    }
    return true;
  }

  return {
    note(note) {
      const event = { territory, ...note };
      const name = `${note.actor}\n${note.action}\n${note.subject}\n${JSON.stringify(note.details ?? {})}`;
      const known = kinds.get(name);
      if (known !== undefined) {
        known.count++;
        return;
      }
      checkEvent(event);
      if (kinds.size >= KINDS_MAX) {
        dropped++;
        wakeAt(clock.monotonic() + NOTE_MS);
        return;
      }
      const dueMs = clock.monotonic() + NOTE_MS;
      kinds.set(name, { event, count: 1, dueMs, isNew: true });
      if (!failing) wakeAt(dueMs);
    },
    async stop() {
      timer?.cancel();
      await writing;
      timer?.cancel();
      await writeDue(Number.POSITIVE_INFINITY);
    },
  };
}
