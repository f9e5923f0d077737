/** One attempt at a sealed answer: what was granted, on which device, and what is known of it while it runs. */
import { utf8, type IdlewildError, type UseOrder } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Permit } from '../policy/permit.ts';
import { stallMsOf } from '../scheduler/stall.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { AskedText } from '../trust/text.ts';
import type { Grant } from './offer-token.ts';
import type { Offered, SealedSink } from './port.ts';
import { createSealedSpend, type SealedSpend } from './spend.ts';

export interface SealedAttempt {
  readonly request: string;
  readonly grant: Grant;
  /** Its right to be answered, asked again while it is. */
  readonly permit: Permit;
  readonly text: AskedText;
  readonly device: ConnectedDevice;
  readonly sink: SealedSink;
  /** What it is charged to. */
  readonly hold: string | undefined;
  /** What it is held to, and who writes a refusal down. */
  readonly use: UseOrder | undefined;
  readonly refuse: (rule: string | undefined) => Promise<IdlewildError>;
  readonly startedAtMs: number;
  /** Silence for so long is a stall. */
  readonly stallMs: number;
  progressAtMs: number;
  started: boolean;
  /** Number of the next event. */
  next: number;
  /** Of the sealed prompt. */
  readonly promptBytes: number;
  /** No token is made of less than a byte, of the prompt or of how the community begins it; a template adds few. */
  readonly promptTokensMax: number;
  readonly spend: SealedSpend;
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
  over: boolean;
  /** Its caller is gone. */
  silenced: boolean;
}

/** What an attempt is made of, once its prompt has come. */
export interface Granted {
  readonly request: string;
  readonly grant: Grant;
  readonly permit: Permit;
  readonly device: ConnectedDevice;
  readonly sink: SealedSink;
  readonly offered: Pick<Offered, 'use' | 'refuse' | 'hold'>;
  /** Of the prompt, padded. */
  readonly bytes: number;
}

export const textOf = ({ dataClass, cause, person }: Grant): AskedText => ({ dataClass, cause, person });

export function createAttempt(granted: Granted, nowMs: number): SealedAttempt {
  const { request, grant, permit, device, sink, offered, bytes } = granted;
  const speed = device.status.models.find(({ cid }) => cid === grant.model.cid)?.tokensPerSecond ?? 1;
  return {
    request,
    grant,
    permit,
    hold: offered.hold?.id,
    use: offered.use,
    refuse: (rule) => offered.refuse(grant.model.name, rule),
    text: textOf(grant),
    device,
    sink,
    startedAtMs: nowMs,
    stallMs: stallMsOf(Math.max(1, device.leases.size), Math.max(speed, Number.MIN_VALUE)),
    progressAtMs: nowMs,
    started: false,
    next: 0,
    promptBytes: bytes,
    promptTokensMax: bytes + bytesBegun(offered.use) + HUB_LIMITS.templateTokensMax,
    spend: createSealedSpend(offered.hold),
    promptTokens: 0,
    cachedTokens: 0,
    tokens: 0,
    over: false,
    silenced: false,
  };
}

/** Of what the community lets its conversation begin with. */
const bytesBegun = (use: UseOrder | undefined): number =>
  (use?.preambles ?? []).reduce((sum, text) => sum + utf8(text).length, 0);

export const hasRule = ({ phrases, classifiers }: UseOrder, rule: string): boolean =>
  [...phrases, ...classifiers].some((each) => each.rule === rule);
