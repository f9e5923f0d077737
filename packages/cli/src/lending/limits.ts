/**
 * `idlewild lending limits`: what was agreed, and changes of it by the same options as in `join`. Narrower holds at
 * once; for wider the lender is asked, here or by --yes.
 */
import { totalmem } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { consentChangeSchema, type ConsentChange, type LimitsOrder } from '@idlewild/agent';
import { changeLimits, readConsent, readLending, type KeptConsent, type LenderChoice } from '@idlewild/agent/node';
import { IdlewildError, codeOf, messageOf, type Consent } from '@idlewild/protocol';
import { saysSomething, type LendingFlags } from '../commands/lending-options.ts';
import { calledAs, type Context } from '../context.ts';
import { chosen, saysOwn, settingsOf, withOwn } from '../lending-flags.ts';
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
    const order = await orderOf(data, flags);
    const send = (agreed: boolean): Promise<boolean> => change(context, data, { ...order, agreed });
    const isRunning = await send(yes).catch(async (error: unknown) => {
      if (codeOf(error) !== 'consent_refused') throw error;
      await ask(context, messageOf(error));
      return send(true);
    });
    if (!isRunning) context.note('the device does not run now; it will go by this');
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

async function orderOf(data: string, flags: LendingFlags): Promise<LimitsOrder> {
  const { consent } = await existing(data);
  const after = chosen(flags, consent, { memoryBytes: totalmem() });
  const { preset } = flags;
  const before = await readLending(data);
  const said = preset === undefined ? undefined : settingsOf(preset, before);
  const settings = saysOwn(flags) ? withOwn(flags, said ?? before ?? settingsOf('balanced', before)) : said;
  return { change: changeTo(after, consent), ...(settings === undefined ? {} : { settings }) };
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
      context.note('answers under way end first');
      await client.ask({ do: 'limits', ...order });
      return true;
    },
    async (folder) => {
      await changeLimits(folder, order);
      return false;
    },
  );

async function ask({ json }: Shows, what: string): Promise<void> {
  const { terminalOf } = await import('../consent-screen.ts');
  const terminal = terminalOf(json, 'lending more than was agreed');
  const { confirm, isCancel } = await import('@clack/prompts');
  const asked = { ...terminal, message: `${what}. Do you agree?`, active: 'yes', inactive: 'no', initialValue: false };
  const answer = await confirm(asked);
  if (isCancel(answer) || !answer) {
    throw new IdlewildError('consent_refused', 'nothing was changed: the lender did not agree');
  }
}
