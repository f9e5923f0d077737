/**
 * Rules of use: what one forbids is not accepted any more a second after it was made, and nobody is refused by one that
 * does not hold.
 */
import { PHRASE } from '../members/steward-acts.ts';
import type { CreateChecker } from './checker.ts';
import { HOLDS_MS, createPasts } from './pasts.ts';

export const createUse: CreateChecker = (blame) => {
  const ruled = createPasts<boolean>(() => false);
  /** Whether what was asked is forbidden if the rule holds, and whether it might when it was asked. */
  const asked = new Map<number, { readonly isForbidden: boolean; readonly held: readonly boolean[] }>();
  const blamed = new Set<number>();
  return {
    see(event) {
      switch (event.e) {
        case 'hub':
          if (event.what === 'woken') ruled.woken(event.atMs);
          return;
        case 'changing':
          if (event.what === 'ruled') ruled.changing('', event.isOn);
          return;
        case 'changed':
          if (event.what === 'ruled') ruled.changed('', event.isOn, event.atMs);
          return;
        case 'asked': {
          const { prompt } = event.work;
          const texts = prompt.kind === 'text' ? [prompt.text] : prompt.messages.map(({ content }) => content ?? '');
          const isForbidden = texts.some((text) => text.includes(PHRASE));
          return void asked.set(event.request, { isForbidden, held: ruled.holding('', event.atMs, HOLDS_MS) });
        }
        case 'accepted': {
          const { isForbidden, held } = asked.get(event.request) ?? { isForbidden: false, held: [] };
          if (!isForbidden || held.includes(false) || blamed.has(event.request)) return;
          blamed.add(event.request);
          return blame(`request ${event.request} was accepted, and a rule of use forbids it`);
        }
        case 'refused':
        case 'failed': {
          if (event.code !== 'use_refused') return;
          const { isForbidden, held } = asked.get(event.request) ?? { isForbidden: false, held: [] };
          const mayHold = held.includes(true) || ruled.holding('', event.atMs, HOLDS_MS).includes(true);
          if (!isForbidden || !mayHold)
            blame(`request ${event.request} was refused by a rule that does not hold for it`);
          return;
        }
        default:
      }
    },
  };
};
