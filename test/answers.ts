/**
 * Asking the way a caller does and noting what was heard when: the claims about answers that are interrupted are made
 * of this. A prompt whose answer goes on for as long as it may is kept here, so that there is a middle to interrupt.
 */
import type { AnswerEnd, Client, CompletionRequest } from '@idlewild/client';
import { until } from './processes/child.ts';
import { MODEL, type DeviceProcess } from './world.ts';

export interface Heard {
  readonly text: string;
  readonly pieces: readonly string[];
  /** Between any two pieces. */
  readonly gapMsMax: number;
  readonly end: AnswerEnd;
}

export const LONG: CompletionRequest = {
  model: MODEL,
  prompt: 'KING HENRY:\nOnce more unto the breach, dear friends,',
  seed: 11,
  max_tokens: 180,
};

/** `onPiece` is called with the number of pieces so far and is not waited for; what it throws is thrown at the end. */
export async function hear(
  client: Client,
  request: CompletionRequest = LONG,
  onPiece: (count: number) => void | Promise<void> = () => undefined,
): Promise<Heard> {
  const pieces: string[] = [];
  const acts: Promise<void>[] = [];
  let gapMsMax = 0;
  let lastMs = 0;
  for await (const piece of client.completion(request)) {
    if (!('text' in piece)) {
      await Promise.all(acts);
      return { text: pieces.join(''), pieces, gapMsMax, end: piece };
    }
    const nowMs = performance.now();
    if (pieces.length > 0) gapMsMax = Math.max(gapMsMax, nowMs - lastMs);
    lastMs = nowMs;
    pieces.push(piece.text);
    acts.push(Promise.resolve(onPiece(pieces.length)));
  }
  throw new Error('the answer has no end');
}

/** Of `devices`, the one that has an answer now. */
export async function answering(client: Client, devices: Iterable<DeviceProcess>): Promise<DeviceProcess> {
  const busy = (await client.devices.list()).find((device) => device.active > 0);
  const found = [...devices].find((device) => device.name === busy?.name);
  if (found === undefined) throw new Error('no device is answering');
  return found;
}

/** Until the hub sees `count` devices that can answer. */
export const untilReady = (client: Client, count: number, deadlineMs?: number): Promise<void> =>
  until(
    async () => (await client.devices.list()).filter((device) => device.models.length > 0).length === count,
    `${count} devices being ready`,
    deadlineMs,
  );
