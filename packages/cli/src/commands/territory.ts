/**
 * `idlewild territory`: a community goes to another hub, with its key, its members, devices and models. Its devices
 * follow, for it is the community that they pin, and not the hub.
 */
import { InvalidArgumentError, type Command } from 'commander';
import { IdlewildError } from '@idlewild/protocol';
import { addPlaceOptions, addSealOption, placeOf, type PlaceOptions, type SealOptions } from '../archive-place.ts';
import { contextOf, type Context } from '../context.ts';
import { splitPin } from '../pinned-fetch.ts';
import { readIn, writeOut, type InOptions } from './backup.ts';

interface ExportOptions extends PlaceOptions, SealOptions {
  readonly territory?: string;
  readonly withBlobs?: boolean;
  readonly movedTo?: Address;
  readonly behindBalancer?: boolean;
}

interface Address {
  readonly url: string;
  readonly pin?: Uint8Array;
}

export function addTerritoryCommands(program: Command): void {
  const territory = program
    .command('territory')
    .summary('take a community to another hub')
    .description('Take a community to another hub; its devices follow, because they pin the community and not the hub.')
    .addHelpText('after', '\nExample:\n  $ idlewild territory export home.idlewild --with-blobs');
  addExport(territory);
  const imports = territory
    .command('import')
    .summary('a community comes to a new hub')
    .description(
      'Put an exported community into an empty data folder or PostgreSQL database, or with --beside into one of a ' +
        'hub that has others. The hub there has a key of its own, for which the community vouches.',
    )
    .argument('<file>', 'what `idlewild territory export` wrote');
  addSealOption(addPlaceOptions(imports), 'open the file')
    .option('--beside', 'into a hub that has other communities, which stay as they are; one in a folder must not run')
    .option('--same-people', 'with --beside: people whose ids are known there are the same people')
    .option('--force', 'begin anew where an import was interrupted; nothing else is ever overwritten')
    .addHelpText('after', '\nExample:\n  $ idlewild territory import home.idlewild --data /srv/idlewild')
    .action(async (file: string, options: InOptions, command: Command) => {
      await readIn(contextOf(command), { file, kind: 'territory', options });
    });
  addMoved(territory);
}

function addExport(territory: Command): void {
  const exports = territory
    .command('export')
    .summary('a community as one file')
    .description(
      "Write a community into one file: its private key, members' keys (as hashes), devices with their consents, " +
        'invites, models, usage, receipts, the audit log, and the TLS key of its address. Its hub may be running. ' +
        'Whoever has the file can be the hub of this community: seal it.',
    )
    .argument('<file>', 'where to; a folder gets a file named by date')
    .option('--territory <community>', "its id or name, where the hub holds several (default: the hub's own)")
    .option('--with-blobs', 'with the files of its models; without, they are published again, or come from devices')
    .option('--moved-to <address>', 'tell its devices of the new address, from now on', parseAddress)
    .option('--behind-balancer', 'at that address something else ends TLS');
  addSealOption(addPlaceOptions(exports), 'seal the file')
    .addHelpText(
      'after',
      `
Example:
  $ idlewild territory export home.idlewild --with-blobs --passphrase-file ~/passphrase`,
    )
    .action(async (file: string, options: ExportOptions, command: Command) => {
      const context = contextOf(command);
      const { territory } = options;
      await writeOut(context, { file, kind: 'territory', territory, withBlobs: options.withBlobs === true, options });
      if (options.movedTo !== undefined) await tellMoved(context, options.movedTo, options);
    });
}

interface MovedOptions extends PlaceOptions {
  readonly territory?: string;
  readonly behindBalancer?: boolean;
  readonly undo?: boolean;
}

function addMoved(territory: Command): void {
  const moved = territory
    .command('moved')
    .summary('tell devices the new address')
    .description(
      'Have the old hub tell every device that connects where the community is now. A device keeps the new address ' +
        'once a hub of the community has proved itself there, and comes back to the old one until then.',
    )
    .argument('[address]', 'the new one, as `idlewild up` told it there, with #pin=…', parseAddress)
    .option('--territory <community>', "its id or name, where the hub holds several (default: the hub's own)")
    .option('--behind-balancer', 'at that address something else ends TLS')
    .option('--undo', 'tell nobody any more');
  addPlaceOptions(moved)
    .addHelpText('after', '\nExample:\n  $ idlewild territory moved https://10.0.0.9:7860#pin=w8ZJ…')
    .action(async (address: Address | undefined, options: MovedOptions, command: Command) => {
      if ((address === undefined) === (options.undo !== true))
        throw new IdlewildError('usage', 'say the new address, or --undo');
      const context = contextOf(command);
      await tellMoved(context, address, options);
      context.show({ url: address?.url ?? null }, () => [
        address === undefined ? 'devices stay' : `devices are told to go to ${address.url}`,
      ]);
    });
}

async function tellMoved(context: Context, to: Address | undefined, options: MovedOptions): Promise<void> {
  const [{ setMovedAddress }, { nodeCrypto, nodeRandom, systemClock }, place] = await Promise.all([
    import('@idlewild/hub'),
    import('@idlewild/protocol/node'),
    placeOf(options),
  ]);
  const session = options.behindBalancer === true ? { session: true } : {};
  const ports = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom, of: options.territory };
  await setMovedAddress(place, to === undefined ? undefined : { ...to, ...session }, ports);
  if (to !== undefined) context.note(`devices hear of ${to.url} within seconds, while the old hub runs`);
}

function parseAddress(text: string): Address {
  const { url, pin } = splitPin(text);
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new InvalidArgumentError('It must be an address as in https://10.0.0.9:7860#pin=….');
  return pin === undefined ? { url } : { url, pin: new Uint8Array(Buffer.from(pin, 'base64url')) };
}
