/**
 * What a lender sees while a device works: on a terminal one line that changes, elsewhere a line for each change of
 * state.
 */
import { styleText } from 'node:util';
import type { AgentState } from '@idlewild/agent';
import { countText, plainText, rateText } from './units.ts';

export interface LiveLine {
  state(state: AgentState): void;
  say(text: string): void;
  clear(): void;
}

export function createLiveLine(screen: NodeJS.WriteStream, enabled: boolean): LiveLine {
  let answered = 0;
  let answering = 0;
  let told = '';
  const show = (text: string, key: string): void => {
    if (!enabled) return;
    if (screen.isTTY) screen.write(`\r\u001b[2K${text.slice(0, screen.columns - 1)}`);
    else if (key !== told) screen.write(`${text}\n`);
    told = key;
  };
  return {
    state(state) {
      answered += Math.max(0, answering - state.answering);
      answering = state.answering;
      const line = stateLine(state, answered);
      show(
        screen.isTTY ? line.replace(state.state, styleText('bold', state.state, { stream: screen })) : line,
        stageOf(state),
      );
    },
    say: (text) => show(`${text} …`, text),
    clear() {
      if (enabled && screen.isTTY) screen.write('\r\u001b[2K');
    },
  };
}

/** What is worth a line where lines stay: not each per cent of a download, each answer, or each try to connect. */
const stageOf = ({ problem, ...state }: AgentState): string => {
  const models = state.models.map((model) => ({ ...model, fraction: 0 }));
  return `${problem?.code} ${stateLine({ ...state, models, answering: 0, tokensPerSecond: 0 }, 0)}`;
};

export function stateLine(state: AgentState, answered: number): string {
  const parts = [`${state.name}  ${state.state}`, ...state.pauseReasons];
  if (state.problem !== undefined) parts.push(state.problem.message);
  for (const model of state.models) {
    if (model.state === 'fetching') parts.push(`fetching a model, ${Math.floor(model.fraction * 100)} %`);
    if (model.state === 'loading') parts.push('loading a model');
    if (model.state === 'held' && model.reason !== undefined) parts.push(`a model waits: ${model.reason}`);
    if (model.state === 'failed') parts.push(`a model failed: ${model.reason ?? 'no reason given'}`);
  }
  if (state.tokensPerSecond > 0) parts.push(`${rateText(state.tokensPerSecond)} tokens/s`);
  if (state.answering > 0) parts.push(`answering ${state.answering}`);
  if (answered > 0) parts.push(`${countText(answered, 'answer')} done`);
  return plainText(parts.join(' · '));
}
