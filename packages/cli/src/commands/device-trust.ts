/** `idlewild devices tier | pool | vouch`: what stewards say of devices. */
import type { Client, Device } from '@idlewild/client';
import { Argument, Option, type Command } from 'commander';
import { contextOf, type Context } from '../context.ts';
import type { Meant } from '../meant.ts';
import { VOUCH_SECONDS_DEFAULT, isWholeId, keyOfDevice, sameAs } from '../vouching.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { tableLines } from '../text/table.ts';
import { countText, whenText } from '../text/units.ts';

/** As `DEVICE_TIERS` of the protocol, which help need not load. */
const TIERS = ['vetted', 'member', 'public'] as const;
type Tier = (typeof TIERS)[number];

const DEVICE_ARGUMENT = ['<device>', 'its id, the beginning of its id, or its name'] as const;

type Find = (context: Context, wanted: string, action: string) => Promise<Meant>;

export function addDeviceTrustCommands(devices: Command, find: Find): void {
  addTier(devices, find);
  addPools(devices, find);
  addVouch(devices);
}

function addTier(devices: Command, find: Find): void {
  devices
    .command('tier')
    .summary('say how far a device is trusted')
    .description(
      'Say how far a device is trusted, and so which data it may see; docs/trust.md has the table. It holds within a ' +
        'second: what the device may see no longer is taken from it, in the middle of an answer, too.',
    )
    .argument(...DEVICE_ARGUMENT)
    .addArgument(new Argument('[tier]', 'vetted by you, of a member, or of anybody').choices(TIERS))
    .option('--person <id>', 'the member who lends it, for whom it counts as her own; none is nobody')
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild devices tier ada vetted\n  $ idlewild devices tier ada --person per_k3x…',
    )
    .action(async (wanted: string, tier: Tier | undefined, options: { person?: string }, command: Command) => {
      const context = contextOf(command);
      const { person } = options;
      if (tier === undefined && person === undefined) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError('usage', `say one of ${TIERS.join(', ')}, or --person and an id`);
      }
      const device = await find(context, wanted, 'tierDevice');
      const client = await context.client();
      await client.devices.trust.change(device.id, {
        ...(tier === undefined ? {} : { tier }),
        ...(person === undefined ? {} : { person: person === 'none' ? null : person }),
      });
      const now = await client.devices.get(device.id);
      context.show({ id: now.id, name: now.name, tier: now.tier, person: now.person }, () => [
        `${now.name} is ${now.tier}${now.person === null ? '' : `, and of ${now.person}`}`,
      ]);
    });
}

function addPools(devices: Command, find: Find): void {
  const pool = devices
    .command('pool')
    .summary('put devices into pools, and take them out')
    .description(
      'Put devices into pools, and take them out. A role that is bound to a pool (`idlewild roles bind --pool`) ' +
        'holds on its devices: whoever may ask by it alone is answered by them alone.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild devices pool add ada labs');
  const one = (name: 'add' | 'remove', summary: string, said: string): void => {
    pool
      .command(name)
      .summary(summary)
      .description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`)
      .argument(...DEVICE_ARGUMENT)
      .argument('<pool>', 'its name, like labs; the first device makes it')
      .addHelpText('after', `\nExample:\n  $ idlewild devices pool ${name} ada labs`)
      .action(async (wanted: string, named: string, _: unknown, command: Command) => {
        const context = contextOf(command);
        const device = await find(context, wanted, 'poolDevice');
        const { trust } = (await context.client()).devices;
        await (name === 'add' ? trust.addToPool(device.id, named) : trust.removeFromPool(device.id, named));
        context.show({ id: device.id, name: device.name, pool: named, isIn: name === 'add' }, () => [
          `${device.name} is ${said} ${named}`,
        ]);
      });
  };
  addPoolList(pool);
  one('add', 'put a device into a pool', 'in');
  one('remove', 'take a device out of a pool', 'no longer in');
}

function addPoolList(pool: Command): void {
  pool
    .command('list')
    .summary('list the pools and their devices')
    .description('List the pools and their devices, of those devices that you may list.')
    .addHelpText('after', '\nExample:\n  $ idlewild devices pool list')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const devices = await (await context.client()).devices.list();
      const pools = [...new Set(devices.flatMap((device) => device.pools))].sort().map((name) => {
        const of = devices.filter((device) => device.pools.includes(name));
        return { name, devices: of.map(({ id, name: called, state }) => ({ id, name: called, state })) };
      });
      context.show(pools, () =>
        pools.length === 0
          ? ['there is no pool yet; `idlewild devices pool add` makes one']
          : tableLines(
              [{ title: 'POOL' }, { title: 'DEVICES', align: 'right' }, { title: 'NAMES' }],
              pools.map(({ name, devices: of }) => [
                name,
                String(of.length),
                of.map(({ name: called, state }) => (state === 'offline' ? `${called} (offline)` : called)).join(', '),
              ]),
            ),
      );
    });
}

interface VouchOptions {
  readonly all?: boolean;
  readonly expires?: number;
  readonly tier?: Tier;
}

function addVouch(devices: Command): void {
  devices
    .command('vouch')
    .summary('sign that devices are those that you know')
    .description(
      'Sign that devices are those that you know, with a key that lies on this machine and in no hub, so that ' +
        'callers who encrypt end to end need not take the word of the hub. Name a device by its whole id, as ' +
        '`idlewild lending status` shows it on the device itself: what the hub says of names is what you cannot know.',
    )
    .argument('[devices...]', 'ids, the beginnings of ids, or names')
    .option('--all', 'all devices that there are, at the word of the hub')
    .option(
      '--expires <duration>',
      'how long the word lasts, like 30d (default: 90d; a year at most)',
      parseDurationSeconds,
    )
    .addOption(new Option('--tier <tier>', 'how far you trust them (default: as the hub has it)').choices(TIERS))
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild devices vouch dev_k3x…\n  $ idlewild devices vouch --all --expires 30d',
    )
    .action(async (wanted: readonly string[], options: VouchOptions, command: Command) => {
      const context = contextOf(command);
      if (wanted.length > 0 === (options.all === true)) throw await usage('name some devices, or say --all');
      const client = await context.client();
      const chosen = options.all === true ? await client.devices.list() : await devicesNamed(client, wanted);
      const done = await vouchFor(context, client, chosen, options);
      context.show(done, () =>
        done.map(({ name, id, expiresAt }) => `${name} (${id}): your word ends ${whenText(expiresAt, Date.now())}`),
      );
      if (!wanted.every((each) => isWholeId(each)) || options.all === true)
        context.note('compare these ids with what `idlewild lending status` shows on each device itself');
    });
}

/** With what the hub shows of them, which is looked at before anything is signed. */
async function devicesNamed(client: Client, wanted: readonly string[]): Promise<Device[]> {
  const { pick } = await import('../pick.ts');
  const all = await client.devices.list();
  return Promise.all(wanted.map((each) => sameAs(pick(all, each, 'device'), each)));
}

const usage = async (message: string): Promise<Error> =>
  new (await import('@idlewild/protocol')).IdlewildError('usage', message);

async function vouchFor(
  context: Context,
  client: Client,
  chosen: readonly Device[],
  { expires = VOUCH_SECONDS_DEFAULT, tier }: VouchOptions,
): Promise<{ id: string; name: string; steward: string; expiresAt: string }[]> {
  const { nodeCrypto } = await import('@idlewild/protocol/node');
  const { signDeviceVouch, wellKnownKey } = await import('@idlewild/protocol');
  const { readyToVouch } = await import('../vouching.ts');
  const { key, pin, territory, lasting } = await readyToVouch(context, client, expires);
  const done = [];
  for (const device of chosen) {
    const said = { territory, device: await keyOfDevice(device), tier: tier ?? device.tier, ...lasting };
    const chain = [wellKnownKey(await signDeviceVouch(said, key, nodeCrypto))];
    done.push({ id: device.id, name: device.name, ...(await client.devices.trust.vouch(device.id, chain)) });
  }
  context.note(`vouched for ${countText(done.length, 'device')}; callers pin your key: ${pin}`);
  return done;
}
