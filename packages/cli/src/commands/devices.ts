/** `idlewild devices`: the machines that are lent to a community. */
import type { Device, DeviceDetails } from '@idlewild/client';
import type { Command } from 'commander';
import { contextOf, type Context } from '../context.ts';
import type { Meant } from '../meant.ts';
import { addDeviceTrustCommands } from './device-trust.ts';
import { addOwnDeviceCommands } from './own-devices.ts';
import { factLines, tableLines } from '../text/table.ts';
import { bytesText, rateText, whenText } from '../text/units.ts';

const DEVICE_ARGUMENT = ['<device>', 'its id, the beginning of its id, or its name'] as const;

export function addDeviceCommands(program: Command): void {
  const devices = program
    .command('devices')
    .summary('see and steer the devices that are lent')
    .description('See and steer the devices that are lent.')
    .addHelpText('after', '\nExample:\n  $ idlewild devices list');

  devices
    .command('list')
    .summary('list all devices')
    .description('List all devices with their state and speed.')
    .addHelpText('after', '\nExample:\n  $ idlewild devices list --json')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const all = await (await context.client()).devices.list();
      context.show(all, () =>
        all.length === 0 ? ['no device has joined yet; `idlewild invite` lets one in'] : deviceTable(all, Date.now()),
      );
    });

  devices
    .command('show')
    .summary('show one device')
    .description('Show one device: what it is, what it holds, how fast it is.')
    .argument(...DEVICE_ARGUMENT)
    .addHelpText('after', '\nExample:\n  $ idlewild devices show ada')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const device = await client.devices.get((await find(context, wanted, 'showDevice')).id);
      context.show(device, () => detailLines(device, Date.now()));
    });

  devices
    .command('drain')
    .summary('let a device finish and give it nothing new')
    .description('Let a device finish what it has and give it nothing new, until it connects again.')
    .argument(...DEVICE_ARGUMENT)
    .addHelpText('after', '\nExample:\n  $ idlewild devices drain ada')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const device = await find(context, wanted, 'drainDevice');
      await (await context.client()).devices.drain(device.id);
      context.show({ id: device.id, name: device.name, state: 'draining' }, () => [`${device.name} is draining`]);
    });

  devices
    .command('revoke')
    .summary('send a device away for good')
    .description('Send a device away for good: it is dropped at once and may not come back.')
    .argument(...DEVICE_ARGUMENT)
    .addHelpText('after', '\nExample:\n  $ idlewild devices revoke dev_k3x')
    .action(async (wanted: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const device = await find(context, wanted, 'revokeDevice');
      await (await context.client()).devices.revoke(device.id);
      context.show({ id: device.id, name: device.name, revoked: true }, () => [`revoked ${device.name}`]);
    });
  addOwnDeviceCommands(devices);
  addDeviceTrustCommands(devices, find);
}

async function find(context: Context, wanted: string, action: string): Promise<Meant> {
  const { deviceMeant } = await import('../meant.ts');
  return deviceMeant(await context.client(), wanted, action);
}

export function deviceTable(devices: readonly Device[], nowMs: number): string[] {
  return tableLines(
    [
      { title: 'NAME' },
      { title: 'STATE' },
      { title: 'TIER' },
      { title: 'TOKENS/S', align: 'right' },
      { title: 'ANSWERS', align: 'right' },
      { title: 'MODELS' },
      { title: 'SEEN' },
      { title: 'ID' },
    ],
    devices.map((device) => [
      device.name,
      device.state,
      device.tier,
      rateText(device.tokensPerSecond),
      `${device.active}/${device.slots}`,
      device.models.join(', ') || '–',
      device.state === 'offline' ? whenText(device.lastSeenAt, nowMs) : 'now',
      device.id,
    ]),
  );
}

/** What its lender lends for. */
function textFacts(lends: DeviceDetails['lends']): [string, string][] {
  if (lends === null) return [];
  const { classes, causes, refused } = lends;
  const never = refused.length === 0 ? '' : `, never for ${refused.join(', ')}`;
  const what = causes.length === 0 ? 'any purpose' : `${causes.join(', ')} alone`;
  return [['lends for', `${classes.join(', ') || 'no'} texts, ${what}${never}`]];
}

function detailLines(device: DeviceDetails, nowMs: number): string[] {
  const { profile } = device;
  const facts: [string, string][] = [
    ['name', device.name],
    ['id', device.id],
    ['state', [device.state, ...device.pauseReasons].join('; ')],
    ['speed', device.tokensPerSecond === null ? '–' : `${rateText(device.tokensPerSecond)} tokens/s`],
    ['answers', `${device.active} of ${device.slots} at once`],
    ['joined', whenText(device.enrolledAt, nowMs)],
    ['seen', device.state === 'offline' ? whenText(device.lastSeenAt, nowMs) : 'now'],
    ['tier', `${device.tier}${device.person === null ? '' : `; lent by ${device.person}`}`],
    ...(device.pools.length === 0 ? [] : [['pools', device.pools.join(', ')] as [string, string]]),
    ['vouched', device.vouchedUntil === null ? 'by nobody' : `until ${device.vouchedUntil}`],
    ...textFacts(device.lends),
  ];
  if (profile !== null) {
    facts.push(
      [
        'machine',
        `${profile.platform} ${profile.arch}, ${profile.cores} cores, ${bytesText(profile.memoryBytes)} of memory, ` +
          `${profile.gflops.toFixed(0)} GFLOP/s a thread`,
      ],
      ['engine', profile.engineBuild],
      [
        'providers',
        profile.providers.map(({ name, works }) => (works ? name : `${name} (does not work)`)).join(', ') || 'cpu',
      ],
    );
  }
  const { lent } = device;
  if (lent !== null) {
    const upload =
      lent.uploadBytesPerSecond === 0 ? 'no uploads' : `${bytesText(lent.uploadBytesPerSecond)}/s of uploads`;
    facts.push(['lent', `${bytesText(lent.memoryBytes)} of memory, ${bytesText(lent.diskBytes)} of disk, ${upload}`]);
  }
  const models = device.modelStates.map((model) => [
    model.name ?? model.cid,
    model.state === 'fetching' ? `fetching ${Math.floor(model.fraction * 100)} %` : model.state,
    // Encoders and classifiers write no tokens, and are measured at none.
    model.tokensPerSecond === 0 ? '–' : rateText(model.tokensPerSecond),
    model.reason ?? '',
  ]);
  if (models.length === 0) return factLines(facts);
  return [
    ...factLines(facts),
    '',
    ...tableLines(
      [{ title: 'MODEL' }, { title: 'STATE' }, { title: 'TOKENS/S', align: 'right' }, { title: '' }],
      models,
    ),
  ];
}
