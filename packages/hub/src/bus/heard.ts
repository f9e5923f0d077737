/**
 * What one listener has heard of each sender: which number came last, and the parts of a message that is not whole yet.
 *
 * From one sender to one listener messages come in order, so a number that is not above the last is a repetition, and
 * parts follow each other or belong to nothing. A new listener starts from the highest number that anybody here has
 * heard of each sender: what was sent before it listened cannot be played to it. Memory and time are bounded for all
 * listeners together.
 */
import { concat, type Clock, type Timer } from '@idlewild/protocol';
import type { Frame, Frames, Part, Sender } from './frames.ts';
import { BUS_LIMITS } from './limits.ts';
import { BUS_BYTES_MAX } from './port.ts';

export const PARTS_MAX = Math.ceil(BUS_BYTES_MAX / BUS_LIMITS.partBytes);

/** Said once, by the listener's own name, which is the object that it is. */
export type Ear = object;

export interface Heard {
  /** Before its first message. */
  add(ear: Ear): void;
  remove(ear: Ear): void;
  /** The whole message when this frame completes one; `undefined` when more is to come. */
  take(ear: Ear, frame: Frame): Uint8Array | 'repeated' | 'incomplete' | 'crowded' | undefined;
  close(): void;
}

interface Assembly {
  readonly part: Part;
  readonly payloads: Uint8Array[];
  readonly startedMs: number;
  bytes: number;
}

interface Entry {
  last: number;
  assembly: Assembly | undefined;
}

interface OfSender {
  highest: number;
  readonly entries: Map<Ear, Entry>;
}

export function createHeard(frames: Frames, clock: Clock): Heard {
  const senders = new Map<Sender, OfSender>();
  const open = createOpenAssemblies(clock);
  frames.onForget((sender) => {
    for (const entry of senders.get(sender)?.entries.values() ?? []) open.drop(entry);
    senders.delete(sender);
  });
  const entryOf = (ear: Ear, { sender, number }: Frame): Entry => {
    let of = senders.get(sender);
    if (of === undefined) senders.set(sender, (of = { highest: 0, entries: new Map() }));
    of.highest = Math.max(of.highest, number);
    let entry = of.entries.get(ear);
    if (entry === undefined) of.entries.set(ear, (entry = { last: 0, assembly: undefined }));
    return entry;
  };
  return {
    add(ear) {
      for (const { entries, highest } of senders.values()) entries.set(ear, { last: highest, assembly: undefined });
    },
    remove(ear) {
      for (const { entries } of senders.values()) {
        const entry = entries.get(ear);
        if (entry !== undefined) open.drop(entry);
        entries.delete(ear);
      }
    },
    take(ear, frame) {
      const entry = entryOf(ear, frame);
      if (frame.number <= entry.last) return 'repeated';
      entry.last = frame.number;
      const { part, payload } = frame;
      if (part === undefined) {
        if (entry.assembly === undefined) return payload;
        // The rest of what came before is lost; this message is not.
        open.drop(entry);
        return payload;
      }
      return open.add(entry, part, payload);
    },
    close: () => open.close(),
  };
}

interface OpenAssemblies {
  add(entry: Entry, part: Part, payload: Uint8Array): Uint8Array | 'incomplete' | 'crowded' | undefined;
  drop(entry: Entry): void;
  close(): void;
}

function createOpenAssemblies(clock: Clock): OpenAssemblies {
  const open = new Set<Entry>();
  let bytes = 0;
  let timer: Timer | undefined;
  const drop = (entry: Entry): void => {
    if (!open.delete(entry)) return;
    bytes -= entry.assembly?.bytes ?? 0;
    entry.assembly = undefined;
  };
  const sweep = (): void => {
    timer = undefined;
    const untilMs = clock.monotonic() - BUS_LIMITS.partsMsMax;
    for (const entry of open) if ((entry.assembly?.startedMs ?? 0) <= untilMs) drop(entry);
    watch();
  };
  const watch = (): void => {
    if (open.size > 0) timer ??= clock.after(BUS_LIMITS.partsMsMax, sweep);
  };
  return {
    add(entry, part, payload) {
      if (part.index === 0) {
        drop(entry);
        entry.assembly = { part, payloads: [], startedMs: clock.monotonic(), bytes: 0 };
        open.add(entry);
        watch();
      }
      const { assembly } = entry;
      if (assembly === undefined || !follows(assembly, part)) {
        drop(entry);
        return 'incomplete';
      }
      if (bytes + payload.length > BUS_LIMITS.partsBytesMax) {
        drop(entry);
        return 'crowded';
      }
      bytes += payload.length;
      assembly.bytes += payload.length;
      assembly.payloads.push(payload);
      if (assembly.payloads.length < part.count) return undefined;
      drop(entry);
      return concat(assembly.payloads);
    },
    drop,
    close: () => timer?.cancel(),
  };
}

const follows = ({ part, payloads }: Assembly, next: Part): boolean =>
  next.message === part.message &&
  next.count === part.count &&
  next.index === payloads.length &&
  next.count <= PARTS_MAX;
