/**
 * `idlewild lending status`: one look at a device, or with --watch each change of it: on a terminal in its place,
 * elsewhere below each other. Of one that does not run it shows what is agreed and kept, and ends with its own code.
 */
import type { LendingStatus } from '@idlewild/agent';
import { heldPause, openControl, readConsent, readLending, type ControlClient } from '@idlewild/agent/node';
import { IdlewildError } from '@idlewild/protocol';
import { calledAs, interruptSignal, type Context } from '../context.ts';
import { factLines } from '../text/table.ts';
import { momentText } from '../text/units.ts';
import { checkJoined } from './ask-device.ts';
import { consentFacts } from './consent-facts.ts';
import { statusLines } from './status-lines.ts';

export async function showStatus(
  context: Context,
  { data, watch }: { readonly data: string; readonly watch: boolean },
): Promise<void> {
  checkJoined(data);
  const client = await openControl(data);
  if (client === undefined) return showResting(context, data);
  try {
    if (watch) await follow(context, client);
    else show(context, (await client.ask({ do: 'status' })) as LendingStatus);
  } finally {
    client.close();
  }
}

const show = (context: Context, status: LendingStatus): void =>
  context.show({ runs: true, ...status }, () => statusLines(status, Date.now(), columnsOf(process.stdout)));

/** Elsewhere than on a screen lines are not broken: who reads them there may look for what they say. */
const columnsOf = ({ isTTY, columns }: NodeJS.WriteStream): number | undefined => (isTTY ? columns : undefined);

async function showResting(context: Context, data: string): Promise<never> {
  const [kept, pause, settings] = await Promise.all([
    readConsent(data),
    heldPause(data, Date.now()),
    readLending(data),
  ]);
  const value = {
    runs: false,
    paused: pause ?? null,
    consent: kept?.readable ?? null,
    preset: settings?.preset ?? null,
  };
  context.show(value, () =>
    factLines([
      ['device', `in ${data}, does not run`],
      ...(pause === undefined ? [] : [['paused', pausedText(pause.untilMs)] as const]),
      ...(settings === undefined ? [] : [['preset', settings.preset] as const]),
      ...(kept === undefined ? [['agreed', 'to nothing yet'] as const] : consentFacts(kept.readable)),
    ]),
  );
  throw new IdlewildError('not_running', `no device runs from ${data}; \`${calledAs()} join\` starts it`);
}

const pausedText = (untilMs: number | undefined): string =>
  untilMs === undefined ? 'by its lender, until it is resumed' : `by its lender, until ${momentText(untilMs)}`;

/** Until the device ends, or whoever watches has seen enough. */
async function follow(context: Context, client: ControlClient): Promise<void> {
  const { stdout } = process;
  let drawn = 0;
  // Told to stop is done: a watch has no other end while the device lives.
  const told = interruptSignal();
  told.addEventListener('abort', () => client.close());
  await client.watch((event) => {
    const status = event as LendingStatus;
    if (context.json || !stdout.isTTY) {
      show(context, status);
      if (!context.json) context.print('');
      return;
    }
    const lines = statusLines(status, Date.now(), stdout.columns - 1)
      .slice(0, Math.max(1, stdout.rows - 1))
      .map((line) => line.slice(0, stdout.columns - 1));
    stdout.write(`${drawn === 0 ? '' : `\u001b[${drawn}A`}\u001b[0J${lines.join('\n')}\n`);
    drawn = lines.length;
  });
  if (!told.aborted) context.note('the device has ended');
}
