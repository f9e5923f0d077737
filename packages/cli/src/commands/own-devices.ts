/** `idlewild devices mine`: what one lends oneself, in whichever communities of a hub. */
import type { OwnDevice } from '@idlewild/client';
import type { Command } from 'commander';
import { calledAs, contextOf, type Context } from '../context.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { tableLines } from '../text/table.ts';
import { countText, whenText } from '../text/units.ts';
import { parseCount } from './invite.ts';
import { noteShown } from './whoami.ts';

const DEVICE = ['<device>', 'its id, the beginning of its id, or its name'] as const;
const EXPIRES_SECONDS_DEFAULT = 86_400;

export function addOwnDeviceCommands(devices: Command): void {
  const mine = devices
    .command('mine')
    .summary('see and steer the devices that you lend')
    .description(
      'See and steer the devices that you lend, in all communities of this hub that you are in. It takes being ' +
        'signed in with a passkey that you use in each; any other session, and a key of your own, shows those of ' +
        'its own community.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild devices mine')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const { people } = await context.client();
      const [devices, self] = await Promise.all([people.own.devices(), people.self()]);
      context.show({ devices, shows: self.shows }, () =>
        devices.length === 0 ? ['you lend nothing here; `devices mine invite` is how'] : table(devices),
      );
      noteShown(context, self);
    });
  addDrain(mine);
  addTakeBack(mine);
  addInvite(mine);
}

function table(all: readonly OwnDevice[]): string[] {
  const nowMs = Date.now();
  return tableLines(
    ['NAME', 'COMMUNITY', 'STATE', 'TIER', 'SEEN', 'ID'].map((title) => ({ title })),
    all.map((each) => [
      each.name,
      each.territory.name,
      each.state,
      each.tier,
      each.state === 'offline' ? whenText(each.lastSeenAt, nowMs) : 'now',
      each.id,
    ]),
  );
}

async function meant(context: Context, wanted: string, community: string | undefined): Promise<OwnDevice> {
  const { pick } = await import('../pick.ts');
  const all = await (await context.client()).people.own.devices();
  const isThere = ({ territory: { id, name } }: OwnDevice): boolean =>
    community === undefined || community === id || community === name;
  const found = all.filter((device) => isThere(device));
  const device = pick(found, wanted, 'device of yours');
  const places = found.filter(({ id }) => id === device.id).map(({ territory }) => territory.name);
  if (places.length < 2) return device;
  const { IdlewildError } = await import('@idlewild/protocol');
  throw new IdlewildError('usage', `${device.name} is lent to ${places.join(' and ')}; say which with --community`);
}

function addDrain(mine: Command): void {
  mine
    .command('drain')
    .summary('let a device of yours finish and take nothing new')
    .description('Let a device of yours finish what it has and take nothing new, until it connects again.')
    .argument(...DEVICE)
    .option('--community <community>', 'name or id, where it is lent to several')
    .addHelpText('after', '\nExample:\n  $ idlewild devices mine drain notebook')
    .action(async (wanted: string, { community }: { community?: string }, command: Command) => {
      const context = contextOf(command);
      const device = await meant(context, wanted, community);
      await (await context.client()).people.own.drainDevice(device);
      context.show({ id: device.id, territory: device.territory.id, state: 'draining' }, () => [
        `${device.name} is draining`,
      ]);
    });
}

function addTakeBack(mine: Command): void {
  mine
    .command('take-back')
    .summary('lend a device of yours no longer')
    .description(
      'Lend a device of yours no longer: it is dropped at once. Another invite lets it in again. On the device ' +
        'itself, `idlewild lending leave` does the same, and removes what was fetched.',
    )
    .argument(...DEVICE)
    .option('--community <community>', 'name or id, where it is lent to several')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  $ idlewild devices mine take-back notebook')
    .action(async (wanted: string, options: { community?: string; yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      const { isSure } = await import('../sure.ts');
      const device = await meant(context, wanted, options.community);
      const question = `Take ${device.name} back from ${device.territory.name}?`;
      if (!(await isSure(context, options.yes ?? false, `taking ${device.name} back`, question))) return;
      await (await context.client()).people.own.takeBackDevice(device);
      context.show({ id: device.id, territory: device.territory.id, takenBack: true }, () => [
        `took ${device.name} back from ${device.territory.name}`,
      ]);
    });
}

function addInvite(mine: Command): void {
  mine
    .command('invite')
    .summary('make a token with which a device of yours joins')
    .description('Make a token with which a device of yours joins the community, as yours.')
    .option('--uses <count>', 'how many devices may join with it', parseCount, 1)
    .option('--expires <duration>', 'how long it is good for, like 90m or 24h (default: 24h)', parseDurationSeconds)
    .addHelpText('after', '\nExample:\n  $ idlewild devices mine invite')
    .action(
      async ({ uses, expires = EXPIRES_SECONDS_DEFAULT }: { uses: number; expires?: number }, command: Command) => {
        const context = contextOf(command);
        const made = await (await context.client()).people.own.invite({ uses, expiresInSeconds: expires });
        context.note(`for ${countText(uses, 'device')} of yours; on the machine to be lent:`);
        context.show(made, () => [`${calledAs()} join ${made.url} --token ${made.token}`]);
      },
    );
}
