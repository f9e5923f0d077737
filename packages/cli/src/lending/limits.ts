/**
 * `idlewild lending limits`: what was agreed, and changes of it by the same options as in `join`. Narrower holds at
 * once; for wider the lender is asked, here or by --yes.
 */
import { totalmem } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { changedConsent, consentChangeSchema, widenings, type ConsentChange, type LimitsOrder } from '@idlewild/agent';
import { changeLimits, readConsent, readLending, type KeptConsent, type LenderChoice } from '@idlewild/agent/node';
import { IdlewildError, type Consent } from '@idlewild/protocol';
import { askYes, terminalOf } from '../ask.ts';
import { saysSomething, type LendingFlags } from '../commands/lending-options.ts';
import { calledAs, type Context } from '../context.ts';
import { chosen, settingsAfter } from '../lending-flags.ts';
import { factLines } from '../text/table.ts';
import { checkJoined, withDevice } from './ask-device.ts';
import { consentFacts, settingsFacts } from './consent-facts.ts';

type Shows = Pick<Context, 'json' | 'note' | 'show'>;

interface Wanted {
  readonly data: string;
  readonly flags: LendingFlags;
  readonly yes: boolean;
}

export async function limits(context: Shows, { data, flags, yes }: Wanted): Promise<void> {
  checkJoined(data);
  if (saysSomething(flags)) {
    const { order, wider } = await orderOf(data, flags);
    if (order === undefined) context.note('nothing is changed: it was agreed so already');
    else {
      if (wider.length > 0 && !yes) await ask(context, wider.join('; '));
      // The device looks for itself what is wider.
      const isRunning = await change(context, data, { ...order, agreed: yes || wider.length > 0 });
      if (!isRunning) context.note('the device does not run now; it will go by this');
    }
  }
  const kept = await existing(data);
  const settings = await readLending(data);
  const shown = { preset: settings?.preset ?? null, settings: settings ?? null, ...kept.readable };
  context.show(shown, () =>
    factLines([
      ...(settings === undefined ? [] : [['preset', settings.preset] as const]),
      ...consentFacts(kept.readable),
      ...settingsFacts(settings),
    ]),
  );
}

async function existing(data: string): Promise<KeptConsent> {
  const kept = await readConsent(data);
  if (kept !== undefined) return kept;
  throw new IdlewildError('not_found', `nothing was agreed to in ${data} yet; \`${calledAs()} join\` asks`);
}

interface Order {
  /** Absent: all of it was agreed before. */
  readonly order?: LimitsOrder;
  /** What goes beyond what was agreed, in words. */
  readonly wider: readonly string[];
}

async function orderOf(data: string, flags: LendingFlags): Promise<Order> {
  const { consent } = await existing(data);
  const after = chosen(flags, consent, { memoryBytes: totalmem() });
  const before = await readLending(data);
  const settings = settingsAfter(flags, before);
  const isOwn = settings !== undefined && !isDeepStrictEqual(settings, before);
  const differs = changeTo(after, consent);
  if (Object.keys(differs).length === 0 && !isOwn) return { wider: [] };
  const wider = widenings(consent, changedConsent(consent, differs));
  return { order: { change: differs, ...(isOwn ? { settings } : {}) }, wider };
}

/** The fields that differ; what `after` has no limit for any more is `null`. */
function changeTo(after: LenderChoice, before: Consent): ConsentChange {
  const fields = Object.keys(consentChangeSchema.shape) as (keyof ConsentChange)[];
  const differ = fields.filter((field) => !isDeepStrictEqual(after[field], before[field]));
  return Object.fromEntries(differ.map((field) => [field, after[field] ?? null]));
}

/** Whether the device runs, and has taken it up. */
const change = (context: Shows, data: string, order: LimitsOrder): Promise<boolean> =>
  withDevice(
    data,
    async (client) => {
      context.note('answers under way end first, and models are loaded again');
      await client.ask({ do: 'limits', ...order });
      return true;
    },
    async (folder) => {
      await changeLimits(folder, order);
      return false;
    },
  );

async function ask({ json }: Shows, wider: string): Promise<void> {
  const terminal = terminalOf(json, `lending more than was agreed (${wider})`);
  if ((await askYes(terminal, `This lends more than you agreed to (${wider}). Do you agree?`)) !== true) {
    throw new IdlewildError('consent_refused', 'nothing was changed: the lender did not agree');
  }
}
