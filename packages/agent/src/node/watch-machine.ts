/**
 * The machine's signals, the lender's rules and the agent, wired: what pauses this device, and until when.
 *
 * Which rules hold: the lender's own; without any the usual ones, or none for a device whose consent says `ignore`.
 * Such a device never heeds a person's presence, and where nothing else is asked for its machine is not even looked at.
 * What the signed consent says of hours, temperature and energy holds in any case.
 */
import type { Clock, Consent } from '@idlewild/protocol';
import type { Agent, AgentState, Log } from '../core/agent.ts';
import { startDriver, type Driver } from '../core/lending/idleness/driver.ts';
import { lowCarbonHours } from '../core/lending/terms/energy-settings.ts';
import { LINES, REASON_NAMES } from '../core/lending/idleness/lines.ts';
import type { Cooled, PauseReason, SignalSource, SignalsView } from '../core/lending/idleness/port.ts';
import {
  DEFAULT_PAUSE_RULES,
  NO_PAUSE_RULES,
  ignoringPresence,
  onProcessors,
  withinConsent,
  type PauseRules,
} from '../core/lending/terms/rules.ts';
import { rulesOf, type LendingSettings } from '../core/lending/terms/settings.ts';
import { localTimeOf } from './local-time.ts';
import { openSignals } from './signals/open-signals.ts';

export interface WatchOptions {
  readonly clock: Clock;
  readonly agent: Pick<Agent, 'pause' | 'resume' | 'halt' | 'throttle' | 'idle'>;
  /** Processors of this machine. */
  readonly cores: number;
  readonly consent: Consent;
  /** The lender's own settings. */
  readonly lending?: LendingSettings | undefined;
  /** What tells of this machine, if not its own system; `programs` are those that the lender listed. */
  openSignals?(programs: readonly string[]): Promise<SignalSource>;
  /** What the device has used today; absent where nothing counts it. */
  wattHoursToday?(): number;
  readonly log: Log;
}

export interface Watch {
  /** For `status`: each pause with what is seen of it now; signals only where the machine is looked at. */
  facts(state: AgentState): {
    readonly pauses: readonly PauseReason[];
    readonly signals?: SignalsView;
    readonly cooled?: Cooled;
  };
  /** Of the agent: what it does decides how often the machine is looked at. */
  stateChanged(state: AgentState): void;
  stop(): void;
}

/** Resolves when the machine has been looked at: a device whose person is there starts paused. */
export async function watchMachine(options: WatchOptions): Promise<Watch> {
  const { agent, clock, consent, log } = options;
  const rules = rulesFor(options);
  const lowCarbon = lowCarbonHours(options.lending?.energy);
  let isWorking = false;
  const idleRules = consent.gpu === 'idle' ? idleRulesFor(options, rules) : undefined;
  const isLookedAt = looksAtMachine(rules) || (idleRules !== undefined && looksAtMachine(idleRules));
  const driver: Driver = startDriver({
    clock,
    rules,
    source: isLookedAt ? await signalsOf(options, rules) : NOTHING,
    isWorking: () => isWorking,
    outside: () => ({
      nowMs: clock.now(),
      localTime: localTimeOf(clock.now()),
      hours: consent.hours,
      energy: energyOf(options),
      lowCarbon,
    }),
    pause: (name, text, told) => agent.pause(name, text, told),
    resume: (name) => agent.resume(name),
    halt: (is) => agent.halt(is),
    idle: idleRules && { rules: idleRules, tell: (isIdle) => agent.idle(isIdle) },
    onThrottle: (share) => agent.throttle(share),
    onTrouble: (message) =>
      message === undefined ? log('info', 'this machine can be read again') : log('warn', message),
  });
  await driver.hasLooked;
  return {
    facts({ pauses }) {
      const { reasons, signals, cooled } = driver.view();
      const live = pauses.map((pause) => reasons.find(({ name }) => name === pause.name) ?? pause);
      if (!isLookedAt) return { pauses: live };
      return { pauses: live, signals, ...(cooled === undefined ? {} : { cooled }) };
    },
    stateChanged({ answering, models }) {
      const was = isWorking;
      isWorking = answering > 0 || models.some(({ state }) => state === 'loading');
      if (isWorking && !was) driver.lookNow();
    },
    stop: () => driver.stop(),
  };
}

const signalsOf = ({ clock, openSignals: open }: WatchOptions, { programs }: PauseRules): Promise<SignalSource> =>
  open?.(programs) ?? openSignals({ clock, programs: () => programs });

type Lent = Pick<WatchOptions, 'consent' | 'lending' | 'cores'>;

function rulesFor({ consent, lending, cores }: Lent): PauseRules {
  const own = lending === undefined ? undefined : rulesOf(lending);
  const given = own ?? (consent.presence === 'respect' ? DEFAULT_PAUSE_RULES : NO_PAUSE_RULES);
  return onProcessors(withinConsent(consent.presence === 'respect' ? given : ignoringPresence(given), consent), cores);
}

/**
 * What idle means to a device that works also while somebody is there, but lends something for idle times alone: what
 * it means to the others, with the lines that its lender moved.
 */
export function idleRulesFor(lent: Lent, rules = rulesFor(lent)): PauseRules {
  const { consent, lending, cores } = lent;
  if (consent.presence === 'respect') return rules;
  const usual = rulesOf({ v: 1, preset: 'balanced', rules: lending?.rules ?? {} });
  return onProcessors(withinConsent(usual, consent), cores);
}

const looksAtMachine = (rules: PauseRules): boolean =>
  REASON_NAMES.some((name) => LINES[name].signals !== undefined && LINES[name].isOn(rules));

const NOTHING: SignalSource = { sources: {}, headless: false, read: () => Promise.resolve({}), close: () => undefined };

function energyOf({
  consent,
  wattHoursToday,
}: WatchOptions): { wattHoursToday: number; wattHoursPerDayMax: number } | undefined {
  const { wattHoursPerDayMax } = consent;
  if (wattHoursPerDayMax === undefined || wattHoursToday === undefined) return undefined;
  return { wattHoursToday: wattHoursToday(), wattHoursPerDayMax };
}
