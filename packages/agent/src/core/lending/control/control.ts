/**
 * What a lender may do with a device that runs, as a port: a command line reaches it through a socket
 * (`node/control.ts`), a page would through messages of its own.
 *
 *   {"id":1,"do":"pause","forMs":7200000}  →  {"id":1,"ok":null}
 *   {"id":2,"do":"watch"}                  →  {"id":2,"event":{…status…}}, again at each change
 *   {"id":3,"do":"dance"}                  →  {"id":3,"error":{"code":"invalid_request","message":"…"}}
 *
 * Requests are parsed once, here; whoever carries them bounds their size and number, and decides who may ask at all.
 */
import { IdlewildError, asIdlewildError, isErrorCode, type DeviceState } from '@idlewild/protocol';
import { z } from 'zod';
import type { NamedModel } from '../../agent-port.ts';
import { consentChangeSchema, type ConsentChange } from '../terms/consent-change.ts';
import type { EnergyView } from '../energy/budget.ts';
import { faultText } from '../terms/fault-text.ts';
import type { DayHistory } from './history.ts';
import type { KeptPause } from './lender-pause.ts';
import { CONTROL_LIMITS } from './limits.ts';
import type { Cooled, LimitHeld, PauseReason, SignalsView } from '../idleness/port.ts';
import { lendingSettingsSchema, type LendingSettings } from '../terms/settings.ts';
import type { RunningWork } from './work.ts';

/** What protects the machine from what runs on it, layer by layer. */
export interface IsolationHere {
  /** By what engines are walled in; `none`: by what every system has. */
  readonly by: string;
  readonly layers: readonly { readonly name: string; readonly holds: boolean; readonly why: string }[];
}

/** Everything in it is JSON; what nothing on this machine tells is absent. */
export interface LendingStatus {
  readonly deviceId: string;
  readonly name: string;
  /** The hub's address, and the id of the community's key. */
  readonly hub: string;
  readonly territory: string;
  /** What the hub calls the community, once it has said so. */
  readonly community?: string;
  readonly state: DeviceState;
  readonly startedAtMs: number;
  readonly running: readonly RunningWork[];
  readonly models: readonly NamedModel[];
  /** Of the fastest warm model; 0 when none is warm. */
  readonly tokensPerSecond: number;
  readonly pauses: readonly PauseReason[];
  /** The lender's own pause, of which `pauses` tells the reason. */
  readonly paused?: KeptPause;
  /** While the machine is kept cool. */
  readonly cooled?: Cooled;
  /** Absent where nothing that a signal tells would pause it. */
  readonly signals?: SignalsView;
  readonly isolation?: IsolationHere;
  /** What this device has done since midnight. */
  readonly today: DayHistory;
  /** What the work of this day drew, the device's own housekeeping included. */
  readonly energy?: EnergyView;
  /** What is lent of the machine, and who keeps each limit here. */
  readonly limits: readonly LimitHeld[];
  /** What was agreed, as `consent.json` has it for people. */
  readonly consent: Readonly<Record<string, unknown>>;
  readonly preset?: string;
  /** Why it is offline. */
  readonly problem?: { readonly code: string; readonly message: string };
}

/** What became of a device that left. */
export interface LeaveReport {
  readonly deviceId: string;
  /** Whether the hub wrote it down and signed it; otherwise `why` not. */
  readonly acknowledged: boolean;
  readonly why?: string;
  readonly atMs: number;
  /** As the hub counted them, or this device where no hub said. */
  readonly answers: number;
  readonly tokens: number;
  /** The one file that is left. */
  readonly receipt: string;
  readonly freedBytes: number;
  /** What lay in the folder and is not the device's. */
  readonly leftAlone: readonly string[];
}

export interface LeaveOrder {
  /** Running answers go to other devices at once; otherwise they may end first, for a bounded time. */
  readonly now?: boolean | undefined;
  /** Where the receipt is to lie; absent: in the device's folder. */
  readonly receipt?: string | undefined;
}

export interface LimitsOrder {
  readonly change: ConsentChange;
  /** What is the lender's own, in place of what it was. */
  readonly settings?: LendingSettings | undefined;
  /** The lender has said yes to what goes beyond what was agreed. */
  readonly agreed?: boolean | undefined;
}

export interface LendingControl {
  status(): LendingStatus | Promise<LendingStatus>;
  /** Tells the status now and at each change of it. */
  watch(listen: (status: LendingStatus) => void): { stop(): void };
  /** What holds now, once it would outlive a restart; it holds at once. Again: the newer end counts. */
  pause(order: { readonly forMs?: number | undefined }): Promise<KeptPause>;
  resume(): Promise<void>;
  /**
   * Signs a new consent and works by it. Throws `consent_refused`, which lists what goes beyond what was agreed,
   * unless the lender has agreed to that.
   */
  limits(order: LimitsOrder): Promise<void>;
  /** Leaves the community and removes everything of the device; it has ended then. */
  leave(order: LeaveOrder): Promise<LeaveReport>;
}

const id = z.int().min(0);
/** In a reply to what could not be read as a request: it is for all that the one who wrote it waits for. */
export const NO_REQUEST = 0;
const requests = {
  status: z.strictObject({ id, do: z.literal('status') }),
  watch: z.strictObject({ id, do: z.literal('watch') }),
  pause: z.strictObject({
    id,
    do: z.literal('pause'),
    forMs: z.int().min(CONTROL_LIMITS.pauseMsMin).max(CONTROL_LIMITS.pauseMsMax).optional(),
  }),
  resume: z.strictObject({ id, do: z.literal('resume') }),
  limits: z.strictObject({
    id,
    do: z.literal('limits'),
    change: consentChangeSchema,
    settings: lendingSettingsSchema.optional(),
    agreed: z.boolean().optional(),
  }),
  leave: z.strictObject({
    id,
    do: z.literal('leave'),
    now: z.boolean().optional(),
    receipt: z.string().min(1).max(CONTROL_LIMITS.pathCharactersMax).optional(),
  }),
} as const;
export type ControlRequest = { [Do in keyof typeof requests]: z.infer<(typeof requests)[Do]> }[keyof typeof requests];

const anyRequest = z.looseObject({ id, do: z.string() });

export const controlReplySchema = z.union([
  z.strictObject({ id, ok: z.unknown() }),
  z.strictObject({ id, event: z.unknown() }),
  z.strictObject({ id, error: z.object({ code: z.string(), message: z.string() }) }),
]);
export type ControlReply =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } };

/** What a line asks for. Throws `invalid_request`; an id that it has is in the details. */
export function parseControl(line: string): ControlRequest {
  const refuse = (why: string, of?: number): never => {
    throw new IdlewildError('invalid_request', why, of === undefined ? {} : { details: { id: of } });
  };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refuse('a request is one line of JSON');
  }
  const asked = anyRequest.safeParse(value);
  if (!asked.success) return refuse('a request has an "id", which is a number, and a "do", which is a word');
  const { do: word } = asked.data;
  if (!Object.hasOwn(requests, word)) {
    return refuse(`"${word.slice(0, 32)}" is no request; there are ${Object.keys(requests).join(', ')}`, asked.data.id);
  }
  const parsed = requests[word as keyof typeof requests].safeParse(value);
  if (parsed.success) return parsed.data;
  return refuse(`"${word}" is wrong at ${faultText(parsed.error)}`, asked.data.id);
}

/**
 * Does what one line asks for and replies, once or, to a `watch`, until what is returned is stopped. Resolves when a
 * request is over; never throws.
 */
export async function answerControl(
  control: LendingControl,
  line: string,
  reply: (reply: ControlReply) => void,
): Promise<{ stop(): void } | undefined> {
  let of = NO_REQUEST;
  try {
    const request = parseControl(line);
    of = request.id;
    if (request.do === 'watch') return control.watch((event) => reply({ id: of, event }));
    reply({ id: of, ok: (await perform(control, request)) ?? null });
  } catch (thrown) {
    const { code, message, details } = asIdlewildError(thrown, 'doing what was asked');
    reply({ id: typeof details.id === 'number' ? details.id : of, error: { code, message } });
  }
  return undefined;
}

function perform(control: LendingControl, request: Exclude<ControlRequest, { do: 'watch' }>): unknown {
  switch (request.do) {
    case 'status':
      return control.status();
    case 'pause':
      return control.pause(request);
    case 'resume':
      return control.resume();
    case 'limits':
      return control.limits(request);
    case 'leave':
      return control.leave(request);
  }
}

/** What a reply says of an error, as one. */
export const controlError = ({ code, message }: { readonly code: string; readonly message: string }): IdlewildError =>
  new IdlewildError(isErrorCode(code) ? code : 'internal', message);
