/** A device's status in lines for people: first what runs and why, or why nothing does; then what always holds. */
import type { DayHistory, LendingStatus } from '@idlewild/agent';
import { factLines } from '../text/table.ts';
import { bytesText, countText, rateText, spanText } from '../text/units.ts';
import { consentFacts } from './consent-facts.ts';

type Fact = readonly [name: string, value: string];

export function statusLines(status: LendingStatus, nowMs: number): string[] {
  return factLines([
    ['device', `${status.name} (${status.deviceId}), ${status.state}, up for ${ago(status.startedAtMs, nowMs)}`],
    ['community', `${status.territory} at ${status.hub}`],
    ...(status.problem === undefined ? [] : [['trouble', status.problem.message] as const]),
    ...several('now', nowLines(status, nowMs)),
    ...several('paused', pauseLines(status, nowMs)),
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
      consentFacts(status.consent).map(([name, value]) => `${name}: ${value}`),
    ),
  ]);
}

/** Each in a line of its own, the name before the first. */
const several = (name: string, values: readonly string[]): Fact[] =>
  values.map((value, index) => [index === 0 ? name : '', value]);

const ago = (thenMs: number, nowMs: number): string => spanText(Math.max(0, (nowMs - thenMs) / 1_000));

function nowLines({ running, pauses, territory }: LendingStatus, nowMs: number): string[] {
  if (running.length === 0) return [pauses.length > 0 ? 'nothing: it is paused' : 'nothing: nobody asks'];
  return running.map(({ kind, model, dataClass, cause, sinceMs }) => {
    const what = kind === 'answer' ? 'answers a prompt' : 'reads texts';
    const why = cause === undefined ? 'no cause said' : `for ${cause}`;
    return `${what}, ${why}, ${dataClass}, with ${short(model)} for ${short(territory)}, for ${ago(sinceMs, nowMs)}`;
  });
}

function pauseLines({ pauses, paused }: LendingStatus, nowMs: number): string[] {
  return pauses.map(({ name, text, sinceMs }) => {
    const until = name === 'lender' && paused?.untilMs !== undefined ? `, ${ago(nowMs, paused.untilMs)} left` : '';
    return `${name}: ${text} (for ${ago(sinceMs, nowMs)}${until})`;
  });
}

function modelLines({ models }: LendingStatus): string[] {
  if (models.length === 0) return ['none yet'];
  return models.map(({ cid, state, fraction, tokensPerSecond, memoryBytes, reason }) => {
    const parts = [short(cid), state === 'fetching' ? `fetching, ${Math.floor(fraction * 100)} %` : state];
    if (tokensPerSecond !== undefined && tokensPerSecond > 0) parts.push(`${rateText(tokensPerSecond)} tokens/s`);
    if (memoryBytes !== undefined) parts.push(bytesText(memoryBytes));
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
  if (known.length > 0) parts.push(`${known.reduce((total, each) => total + each, 0).toFixed(2)} Wh`);
  return parts.join(', ');
}

function energyLines({ energy }: LendingStatus): string[] {
  if (energy === undefined) return [];
  const { todayWattHours, how, grams, grid, source } = energy;
  return [`${todayWattHours.toFixed(2)} Wh today, ${how}: ${source}`, `${grams.toFixed(0)} g of CO₂ (${grid})`];
}

function signalLines({ signals }: LendingStatus): string[] {
  if (signals === undefined) return [];
  const { headless, read, unknown, trouble } = signals;
  return [
    ...(headless ? ['no screen and no input here: its load alone tells whether it is idle'] : []),
    ...(trouble === undefined ? [] : [`trouble: ${trouble}`]),
    ...Object.entries(read).map(([name, how]) => `${name}: ${how}`),
    ...(unknown.length === 0 ? [] : [`not told here: ${unknown.join(', ')}`]),
  ];
}

function wallLines({ isolation }: LendingStatus): string[] {
  if (isolation === undefined) return [];
  const { by, layers } = isolation;
  const held = layers.filter(({ holds }) => holds).map(({ name }) => name);
  return [
    `${by === 'none' ? '' : `by ${by}: `}${held.join(', ') || 'none'}`,
    ...layers.filter(({ holds }) => !holds).map(({ name, why }) => `not ${name}: ${why}`),
  ];
}

/** Ids are long, and their ends differ. */
const short = (id: string): string => (id.length <= 16 ? id : `${id.slice(0, 4)}…${id.slice(-6)}`);
