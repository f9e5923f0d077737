/** A device's status in lines for people: first what runs and why, or why nothing does; then what always holds. */
import type { DayHistory, LendingStatus, SignalName } from '@idlewild/agent';
import { factLines } from '../text/table.ts';
import { bytesText, countText, momentText, rateText, spanText, wattHoursText } from '../text/units.ts';
import { consentFacts } from './consent-facts.ts';
import { unaskedText } from './unasked.ts';

type Fact = readonly [name: string, value: string];

/** For a screen of so many columns; without, a fact has one line, however long. */
export function statusLines(status: LendingStatus, nowMs: number, columns?: number): string[] {
  return factLines(factsOf(status, nowMs), columns);
}

function factsOf(status: LendingStatus, nowMs: number): Fact[] {
  const { community } = status;
  return [
    ['device', `${status.name} (${status.deviceId}), ${status.state}, up for ${ago(status.startedAtMs, nowMs)}`],
    ['community', `${community === undefined ? '' : `${community}, `}${status.territory} at ${status.hub}`],
    ...(status.problem === undefined ? [] : [['trouble', status.problem.message] as const]),
    ...several('now', nowLines(status, nowMs)),
    ...several('paused', pauseLines(status, nowMs)),
    ...(status.cooled === undefined ? [] : [['power', status.cooled.text] as const]),
    ...several('models', modelLines(status)),
    ['today', todayText(status.today)],
    ...several('energy', energyLines(status)),
    ...several('signals', signalLines(status)),
    ...several('walls', wallLines(status)),
    ...several(
      'limits',
      status.limits.map(
        ({ what, text, by }) => `${what}: ${text}${by === 'the system' ? ' – kept by the system' : ''}`,
      ),
    ),
    ...(status.preset === undefined ? [] : [['preset', status.preset] as const]),
    ...several(
      'agreed',
      consentFacts(status.consent).map(([name, value]) => (name === 'agreed' ? `on ${value}` : `${name}: ${value}`)),
    ),
  ];
}

/** Each in a line of its own, the name before the first. */
const several = (name: string, values: readonly string[]): Fact[] =>
  values.map((value, index) => [index === 0 ? name : '', value]);

const ago = (thenMs: number, nowMs: number): string => spanText(Math.max(0, (nowMs - thenMs) / 1_000));

function nowLines(status: LendingStatus, nowMs: number): string[] {
  const { running, pauses, state, community, territory, consent } = status;
  // An answer under way goes on without the hub.
  if (running.length === 0 && pauses.length > 0) return ['nothing: it is paused'];
  if (running.length === 0 && state === 'offline') return ['nothing: its hub is not there; it tries again by itself'];
  if (running.length === 0) return [`nothing: ${unaskedText(consent) ?? 'nobody asks'}`];
  return running.map(({ kind, model, modelName, dataClass, cause, sinceMs, wattHours }) => {
    const what = `${kind === 'answer' ? 'answers a prompt' : 'reads texts'} with ${modelName ?? short(model)}`;
    const purpose = `cause: ${cause ?? 'none said'}; text: ${dataClass}`;
    const cost = wattHours === undefined ? '' : `, about ${wattHoursText(wattHours)} Wh`;
    return `${what} for ${community ?? short(territory)}; ${purpose}; for ${ago(sinceMs, nowMs)} so far${cost}`;
  });
}

function pauseLines({ pauses, paused }: LendingStatus, nowMs: number): string[] {
  return pauses.map(({ name, text, sinceMs, endsInMs }) => {
    const until = name === 'lender' && paused?.untilMs !== undefined ? `, ${ago(nowMs, paused.untilMs)} left` : '';
    // What is soon over is told in minutes already.
    const at = endsInMs !== undefined && endsInMs >= CLOCK_MS_MIN ? `, goes on at ${momentText(nowMs + endsInMs)}` : '';
    return `${name}: ${text} (for ${ago(sinceMs, nowMs)}${until}${at})`;
  });
}

/** From here on people think in times of day. */
const CLOCK_MS_MIN = 900_000;

const STAGES = { held: 'on the disk', loading: 'is being loaded', warm: 'loaded', failed: 'failed' } as const;

function modelLines({ models }: LendingStatus): string[] {
  if (models.length === 0) return ['none yet'];
  return models.map(({ cid, name, state, fraction, tokensPerSecond, memoryBytes, reason }) => {
    const parts = [
      name === undefined ? short(cid) : `${name} (${short(cid)})`,
      state === 'fetching' ? `is being fetched, ${Math.floor(fraction * 100)} %` : STAGES[state],
    ];
    if (tokensPerSecond !== undefined && tokensPerSecond > 0) parts.push(`${rateText(tokensPerSecond)} tokens/s`);
    if (memoryBytes !== undefined) parts.push(`${bytesText(memoryBytes)} of memory`);
    if (reason !== undefined) parts.push(reason);
    return parts.join(', ');
  });
}

function todayText({ work }: DayHistory): string {
  const sum = (field: 'answers' | 'embeddings' | 'tokens' | 'lentMs' | 'workedMs'): number =>
    work.reduce((total, each) => total + each[field], 0);
  const known = work.flatMap(({ wattHours }) => (wattHours === undefined ? [] : [wattHours]));
  const parts = [
    countText(sum('answers'), 'answer'),
    ...(sum('embeddings') === 0 ? [] : [`${sum('embeddings')} embedded`]),
    countText(sum('tokens'), 'token'),
    `lent for ${spanText(sum('lentMs') / 1_000)}`,
    `worked for ${spanText(sum('workedMs') / 1_000)}`,
  ];
  if (known.length > 0) parts.push(`${wattHoursText(known.reduce((total, each) => total + each, 0))} Wh for answers`);
  return parts.join(', ');
}

function energyLines({ energy }: LendingStatus): string[] {
  if (energy === undefined) return [];
  const { todayWattHours, how, grams, grid, source } = energy;
  // The source may name both ways, or say by itself which it is.
  const known = source.startsWith(`${how}:`) && !source.includes('; else ') ? source : `${how} (${source})`;
  const carbon = grams > 0 && grams < 1 ? 'less than 1' : grams.toFixed(0);
  return [
    `${wattHoursText(todayWattHours)} Wh today, loading and housekeeping included; ${known}`,
    `${carbon} g of CO₂ (${grid})`,
  ];
}

/** As `docs/lending.md` calls them. */
const SIGNALS: Readonly<Record<SignalName, string>> = {
  inputIdleMs: 'input',
  locked: 'screen locked',
  fullScreen: 'full-screen',
  audio: 'audio',
  camera: 'camera',
  otherCpu: "other programs' load",
  otherGpu: 'graphics load',
  onBattery: 'battery',
  charge: 'charge',
  celsius: 'temperature',
  memoryPressure: 'waiting for memory',
  memoryFree: 'free memory',
  meteredNetwork: 'metered network',
  programs: 'programs',
};
const NOT_READ = 'not read: ';

function signalLines({ signals }: LendingStatus): string[] {
  if (signals === undefined) return [];
  const { headless, read, now, unknown, trouble } = signals;
  const names = (Object.keys(SIGNALS) as SignalName[]).filter((name) => read[name] !== undefined);
  const isRead = (name: SignalName): boolean => read[name]?.startsWith(NOT_READ) !== true;
  const line = (name: SignalName): string => {
    const silent = isRead(name) && unknown.includes(name) ? '; it tells nothing at the moment' : '';
    const reading = now[name] === undefined ? '' : `${now[name]}; `;
    return `${SIGNALS[name]}: ${reading}${read[name]}${silent}`;
  };
  return [
    ...(headless ? ['no screen and no input here: its load alone tells whether it is idle'] : []),
    ...(trouble === undefined ? [] : [`trouble: ${trouble}`]),
    ...names.filter(isRead).map(line),
    ...names.filter((name) => !isRead(name)).map(line),
  ];
}

function wallLines({ isolation }: LendingStatus): string[] {
  if (isolation === undefined) return [];
  const { by, layers } = isolation;
  const held = layers.filter(({ holds }) => holds).map(({ name }) => name);
  return [
    `around each engine${by === 'none' ? '' : `, by ${by}`}: ${held.join(', ') || 'none'}`,
    ...layers.filter(({ holds }) => !holds).map(({ name, why }) => `not ${name}: ${why}`),
  ];
}

/** Ids are long, and their ends differ. */
const short = (id: string): string => (id.length <= 16 ? id : `${id.slice(0, 4)}…${id.slice(-6)}`);
