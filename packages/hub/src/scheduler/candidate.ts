/** A connected device as the scheduler sees it, and how much work an answer looks like before anybody tokenised it. */
import type { AnswerWork } from '@idlewild/protocol';
import { activeOf, stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Candidate } from './route.ts';

/** Four characters a token is near enough for choosing between devices. */
const CHARACTERS_PER_TOKEN = 4;

/** `known`: characters of the prompt that devices have read before, by device. */
export function candidateOf(
  device: ConnectedDevice,
  model: string,
  nowMs: number,
  known: ReadonlyMap<string, number> = new Map(),
): Candidate {
  const held = device.status.models.find((entry) => entry.cid === model);
  return {
    device: device.id,
    state: stateOf(device),
    pauseReasons: device.status.pauseReasons,
    // What refused its last offer is loading, paused or full; its next status, due at once, will say.
    model: device.contradicted && held?.state === 'warm' ? 'loading' : (held?.state ?? 'none'),
    numericClass: held?.numericClass,
    features: device.features,
    standing: device.standing,
    lends: device.lends,
    refusals: device.refusals,
    slots: device.status.slots,
    active: activeOf(device),
    tokensPerSecond: held?.tokensPerSecond,
    prefillTokensPerSecond: held?.prefillTokensPerSecond,
    sharedCost: held?.sharedCost ?? 1,
    knownTokens: Math.floor((known.get(device.id) ?? 0) / CHARACTERS_PER_TOKEN),
    roundTripMs: device.status.roundTripMs ?? 50,
    isElsewhere: device.isElsewhere,
    mistrusted: nowMs < device.mistrustedUntilMs,
  };
}

export function estimatePromptTokens(work: Pick<AnswerWork, 'prompt'>): number {
  const characters =
    work.prompt.kind === 'text'
      ? work.prompt.text.length
      : work.prompt.messages.reduce((sum, message) => sum + message.content.length, 0);
  return Math.ceil(characters / CHARACTERS_PER_TOKEN);
}
