/**
 * Measuring a machine as far as it is lent. Its processors are measured in any case. A graphics card computes for a
 * moment to show whether it works, so it is asked only where the signed consent lends it at that moment: never, at any
 * time, or while idleness has said for a while that nobody is there, and no longer than it goes on saying so.
 *
 * A device whose person is there when it starts is not asked again before its next start: nothing is computed on cards
 * by engines of this version.
 */
import { asIdlewildError, type Clock, type Consent, type Timer } from '@idlewild/protocol';
import { measureGraphics, measureMachine, type Machine } from '@idlewild/engine/node';
import type { Log } from '../core/agent.ts';
import { refusalOfProvider } from '../core/consent.ts';
import { startDriver } from '../core/lending/idleness/driver.ts';
import type { SignalSource } from '../core/lending/idleness/port.ts';
import type { PauseRules } from '../core/lending/terms/rules.ts';
import { NODE_LIMITS } from './limits.ts';
import { localTimeOf } from './local-time.ts';

export interface MeasureLent {
  readonly consent: Pick<Consent, 'gpu' | 'hours'>;
  /** By which the machine is idle. */
  readonly idleRules: PauseRules;
  readonly clock: Clock;
  openSignals(programs: readonly string[]): Promise<SignalSource>;
  readonly log: Log;
  /** What is asked of the engines' package, if not itself. */
  readonly measure?: Measure | undefined;
}

export interface Measure {
  machine(): Promise<Machine>;
  /** Throws `cancelled` once the signal is aborted, and has let go of the card then. */
  graphics(signal: AbortSignal): Promise<Machine['providers'][number]>;
}

const GRAPHICS = 'webgpu';
const HERE: Measure = { machine: () => measureMachine(), graphics: (signal) => measureGraphics(signal) };

/** Throws `engine_failed` when the processors cannot be measured. */
export async function measureLent(options: MeasureLent): Promise<Machine> {
  const { consent, measure = HERE } = options;
  const measuring = measure.machine();
  const asks = async (signal: AbortSignal): Promise<Machine['providers']> => {
    // One after the other: each would disturb the other's figure.
    await measuring;
    return [await measure.graphics(signal)];
  };
  const [machine, graphics] = await Promise.all([measuring, whenLent()]);
  return { ...machine, providers: [...machine.providers, ...graphics] };

  function whenLent(): Promise<Machine['providers']> {
    if (refusalOfProvider(consent, GRAPHICS, false) === undefined) return asks(new AbortController().signal);
    if (refusalOfProvider(consent, GRAPHICS, true) === undefined) return whileIdle(options, asks);
    return Promise.resolve([]);
  }
}

/** What `asks` gives, or nothing where somebody is there, comes before it is done, or cannot be told of. */
async function whileIdle(
  { consent: { hours }, idleRules, clock, openSignals, log }: MeasureLent,
  asks: (signal: AbortSignal) => Promise<Machine['providers']>,
): Promise<Machine['providers']> {
  const ended = new AbortController();
  const idle = Promise.withResolvers<boolean>();
  let settling: Timer | undefined;
  let isAsked = false;
  const end = (): void => {
    settling?.cancel();
    ended.abort();
    idle.resolve(false);
  };
  const begin = (): void => {
    settling ??= clock.after(NODE_LIMITS.idleMs, () => idle.resolve(true));
  };
  const driver = startDriver({
    clock,
    source: await openSignals(idleRules.programs),
    rules: idleRules,
    outside: () => ({ nowMs: clock.now(), localTime: localTimeOf(clock.now()), hours }),
    isWorking: () => true,
    // What keeps the card busy now is what is measured.
    pause: (name) => (isAsked && name === 'gpu' ? undefined : end()),
    resume: () => undefined,
    halt: () => undefined,
    idle: { rules: idleRules, tell: (isIdle) => (isIdle ? begin() : undefined) },
    onTrouble: end,
  });
  try {
    await driver.hasLooked;
    if (settling === undefined || !(await idle.promise)) return [];
    isAsked = true;
    return await asks(ended.signal);
  } catch (thrown) {
    if (!ended.signal.aborted) throw asIdlewildError(thrown, 'measuring the graphics card');
    log('info', 'somebody came back: the graphics card is not measured this time');
    return [];
  } finally {
    settling?.cancel();
    driver.stop();
  }
}
