/**
 * What can be seen of a world from outside: every frame between devices and replicas becomes an event, and who holds
 * which lease is followed along.
 */
import { decodeCbor, type AnswerEvent, type AnswerWork, type ToDevice } from '@idlewild/protocol';
import type { SimDevice } from './machines/device.ts';
import type { Forbidden, Via } from './events.ts';
import type { HubProcess } from './machines/hub-process.ts';
import type { OtherLease } from './faults/lies.ts';
import type { LinkWatch } from './machines/link.ts';
import type { Record } from './record.ts';
import { isMarked } from './callers/mark.ts';
import type { Causes } from './machines/shared-bus.ts';

export interface Watched {
  readonly record: Record;
  readonly causes: Causes;
  /** The last lease of each request that is not over. */
  readonly leases: Map<number, OtherLease & { readonly device: string }>;
  readonly byId: ReadonlyMap<string, SimDevice>;
  /** What is to happen when a device proves itself. */
  readonly atProof: Map<string, () => void>;
  /** A test breaks the world here. */
  readonly rewrite: ((frame: Uint8Array, device: string) => Uint8Array) | undefined;
}

/** Requests carry their number in the prompt: that is how work is known again wherever it turns up. */
export function requestOf({ prompt }: Pick<AnswerWork, 'prompt'>): number {
  const text = prompt.kind === 'text' ? prompt.text : (prompt.messages.at(-1)?.content ?? '');
  return Number(/^#(\d+) /.exec(text)?.[1] ?? Number.NaN);
}

export function overhear(record: Record, where: string, bytes: Uint8Array): void {
  if (isMarked(bytes)) record.note({ e: 'overheard', where });
}

/** Whether a frame says so near its beginning: decoding all of them to learn their kinds would take half the time. */
const startsWith = (frame: Uint8Array, text: string): boolean =>
  Buffer.from(frame.buffer, frame.byteOffset, Math.min(frame.length, 32)).includes(text);

export function watchOf(watched: Watched, device: string): LinkWatch {
  const { record, causes, atProof, rewrite } = watched;
  return {
    onToDevice(frame, process) {
      overhear(record, `a frame to ${device}`, frame);
      const replica = process.id;
      if (startsWith(frame, 'atmheartbeat.ack'))
        return record.note({ e: 'told', replica, device, kind: 'heartbeat.ack' });
      const message = decodeCbor(frame, 'a frame of the hub') as ToDevice;
      record.note({ e: 'told', replica, device, kind: message.t });
      if (message.t === 'hold') {
        const models = message.models.map(({ cid, bytes }) => ({ cid, bytes }));
        record.note({ e: 'placed', replica, by: causes.hold, device, models });
      }
      if (message.t !== 'answer') return;
      const { lease, epoch, work } = message;
      const forbidden = forbiddenAtHub(watched, process, device);
      record.note({ e: 'ordered', device, lease, epoch, request: requestOf(work), tokens: work.tokens, forbidden });
    },
    onToHub(frame, process, handle) {
      overhear(record, `a frame of ${device}`, frame);
      process.wake();
      if (!process.isLive()) return;
      causes.via = startsWith(frame, 'atiheartbeat') ? undefined : viaOf(frame, device);
      const said = causes.via?.frame;
      if (said?.t === 'answer.token') record.note({ e: 'sent', device, frame: said });
      try {
        handle(rewrite?.(frame, device) ?? frame);
      } finally {
        causes.via = undefined;
      }
      if (!startsWith(frame, 'ateprove')) return;
      atProof.get(device)?.();
      atProof.delete(device);
    },
  };
}

function viaOf(frame: Uint8Array, device: string): Via | undefined {
  try {
    const message = decodeCbor(frame, 'a frame of a device') as AnswerEvent;
    return typeof message?.lease === 'string' ? { device, frame: message } : undefined;
  } catch {
    // Garbage is what some devices send; the hub is to find that out by itself.
    return undefined;
  }
}

/** What its home has been told of the device, and so must heed. */
function forbiddenAtHub({ byId }: Watched, process: HubProcess, device: string): Forbidden | undefined {
  const { lends } = byId.get(device)?.traits ?? { lends: 'answers' };
  if (lends !== 'answers') return lends === 'nothing' ? 'consent' : 'territory';
  const connected = process.hub.local.get(device);
  if (connected === undefined) return undefined;
  if (connected.draining) return 'draining';
  const { state } = connected.status;
  return state === 'paused' || state === 'draining' ? state : undefined;
}

export function followLeases({ record, leases }: Watched): void {
  record.listen((event) => {
    switch (event.e) {
      case 'ordered': {
        const { request, device, lease, epoch, tokens } = event;
        return void leases.set(request, { device, lease, epoch, tokens: tokens.length });
      }
      case 'token': {
        const lease = leases.get(event.request);
        if (lease !== undefined) leases.set(event.request, { ...lease, tokens: event.i + 1 });
        return;
      }
      case 'finished':
      case 'failed':
      case 'hungUp':
      case 'cutOff':
        return void leases.delete(event.request);
      default:
    }
  });
}

/** Who has which duty, as the database saw it last. */
export function followDuties(record: Record): ReadonlyMap<string, string> {
  const holders = new Map<string, string>();
  record.listen((event) => {
    if (event.e === 'wrote' && event.table === 'duties') holders.set(event.subject, event.owners[1]);
  });
  return holders;
}
