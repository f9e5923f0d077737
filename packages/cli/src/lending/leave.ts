/** `idlewild lending leave`: the device goes for good, by itself where it runs and from here where it does not. */
import type { LeaveOrder, LeaveReport } from '@idlewild/agent';
import { hasDevice, leaveFolder, openControl } from '@idlewild/agent/node';
import { IdlewildError, codeOf, messageOf } from '@idlewild/protocol';
import { askYes, terminalOf } from '../ask.ts';
import { calledAs, type Context } from '../context.ts';
import { bytesText, countText } from '../text/units.ts';

interface Leaving {
  readonly data: string;
  readonly order: LeaveOrder;
  readonly yes: boolean;
}

export async function leave(context: Context, { data, order, yes }: Leaving): Promise<void> {
  if (!hasDevice(data)) {
    throw new IdlewildError('not_found', `no device is lent from ${data}: there is nothing to leave`);
  }
  if (!yes) await ask(context, data);
  context.note('answers under way end, and the hub is told; this may take a minute');
  const report = await leaveBy(data, order);
  const service = await removeService(context, data);
  context.show({ ...report, service }, () => [
    ...reportLines(report),
    ...(service ? ['the service that lent it is removed, too'] : []),
  ]);
}

/** Whether one lent this folder and is gone. What stays finds nothing to start, so a failure is told and no more. */
async function removeService(context: Context, data: string): Promise<boolean> {
  try {
    const [{ portsHere }, { uninstallOf }] = await Promise.all([
      import('../service/here.ts'),
      import('../service/install.ts'),
    ]);
    return await uninstallOf(portsHere(), data);
  } catch (error) {
    // A system that has no services.
    if (codeOf(error) === 'usage') return false;
    context.note(`its service could not be removed: ${messageOf(error)}`);
    return false;
  }
}

async function leaveBy(data: string, order: LeaveOrder): Promise<LeaveReport> {
  const client = await openControl(data);
  if (client === undefined) return leaveFolder(data, order);
  try {
    return (await client.ask({ do: 'leave', ...order })) as LeaveReport;
  } catch (error) {
    // It was killed on its way: what is left of it is ours to finish.
    if (codeOf(error) !== 'disconnected' || !hasDevice(data)) throw error;
    return await leaveFolder(data, order);
  } finally {
    client.close();
  }
}

async function ask({ json }: Context, data: string): Promise<void> {
  const terminal = terminalOf(json, 'leaving a community');
  const lines = [
    `The device in ${data} leaves its community for good:`,
    'its key, its consent, its history and all models are removed.',
    'Coming back takes a new invite.',
  ];
  if ((await askYes(terminal, 'Leave?', { title: 'Leave', lines })) !== true)
    throw new IdlewildError('consent_refused', 'nothing was removed: it stays');
}

function reportLines({
  deviceId,
  acknowledged,
  why,
  answers,
  tokens,
  receipt,
  freedBytes,
  leftAlone,
}: LeaveReport): string[] {
  const gave = `${countText(answers, 'answer')}, ${countText(tokens, 'token')}`;
  return [
    acknowledged
      ? `left; the hub has signed it, and thanks for ${gave}`
      : `left, but ${why ?? 'nobody acknowledged it'}`,
    `${bytesText(freedBytes)} were freed; the receipt is ${receipt}`,
    ...(leftAlone.length === 0 ? [] : [`not touched, for it is not the device's: ${leftAlone.join(', ')}`]),
    ...(acknowledged
      ? []
      : [`there it stays on the list until a steward removes it: ${calledAs()} devices revoke ${deviceId}`]),
  ];
}
