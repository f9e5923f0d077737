/** `idlewild backup` and `idlewild restore`: a hub as one file, and back, also into another kind of database. */
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ArchiveKind, ArchiveManifest, Place } from '@idlewild/hub';
import type { Command } from 'commander';
import {
  addPlaceOptions,
  addSealOption,
  passphraseOf,
  placeOf,
  type PlaceOptions,
  type SealOptions,
} from '../archive-place.ts';
import { contextOf, interruptSignal, type Context } from '../context.ts';
import { bytesText, countText, plainText } from '../text/units.ts';

/** As `startHub` has it for blobs. */
const QUOTA_BYTES = 200 * 2 ** 30;

export function addBackupCommands(program: Command): void {
  const backup = program
    .command('backup')
    .summary('a hub as one file, while it runs')
    .description(
      'Write a hub into one file: keys and secrets, members, devices, models with their files, usage, the audit log. ' +
        'It may be running; the file is of one moment. Whoever has the file has the community: keep it like a key.',
    )
    .argument('<file>', 'where to; a folder gets a file named by community and date');
  addSealOption(addPlaceOptions(backup), 'seal the file')
    .addHelpText(
      'after',
      `
Examples:
  $ idlewild backup /mnt/safe --passphrase-file ~/passphrase
  $ idlewild backup hub.idlewild --database postgres://idlewild@db/idlewild`,
    )
    .action(async (file: string, options: PlaceOptions & SealOptions, command: Command) => {
      await writeOut(contextOf(command), { file, kind: 'backup', withBlobs: true, options });
    });
  const restore = program
    .command('restore')
    .summary('a hub back from its file')
    .description(
      'Put a backup into an empty data folder or an empty PostgreSQL database, whichever it came from. All of the ' +
        'file is checked before anything is written.',
    )
    .argument('<file>', 'what `idlewild backup` wrote');
  addSealOption(addPlaceOptions(restore), 'open the file')
    .option('--force', 'begin anew where a restore was interrupted; nothing else is ever overwritten')
    .addHelpText(
      'after',
      `
Examples:
  $ idlewild restore hub.idlewild --data /srv/idlewild
  $ idlewild restore hub.idlewild --database postgres://idlewild@db/idlewild    a laptop's hub becomes one of replicas`,
    )
    .action(async (file: string, options: InOptions, command: Command) => {
      await readIn(contextOf(command), { file, kind: 'backup', options });
    });
}

interface Out {
  readonly file: string;
  readonly kind: ArchiveKind;
  /** Id or name of one of several. */
  readonly territory?: string | undefined;
  readonly withBlobs: boolean;
  readonly options: PlaceOptions & SealOptions;
}

/** Writes an archive and says what is in it. */
export async function writeOut(context: Context, { file, kind, territory, withBlobs, options }: Out): Promise<void> {
  const signal = interruptSignal();
  const passphrase = passphraseOf(options);
  const [{ backUp }, { nodeCrypto, nodeRandom, systemClock }, place] = await Promise.all([
    import('@idlewild/hub'),
    import('@idlewild/protocol/node'),
    placeOf(options),
  ]);
  const path = nameIn(resolve(file), kind, systemClock.now());
  const progress = context.progress('writing');
  const ports = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom };
  const manifest = await backUp({
    ...ports,
    place,
    file: path,
    kind,
    territory,
    withBlobs,
    passphrase,
    signal,
    onProgress: progress.update,
  }).finally(progress.end);
  const bytes = statSync(path).size;
  for (const name of manifest.incomplete)
    context.note(`the model ${plainText(name)} is not whole at its hub; publish it again, there or after a restore`);
  if (passphrase === undefined) context.note(WARNINGS[kind]);
  context.show({ file: path, bytes, sealed: passphrase !== undefined, ...told(manifest) }, () => [
    `${path}  ${bytesText(bytes)}, ${contents(manifest)}`,
  ]);
}

const WARNINGS: Readonly<Record<ArchiveKind, string>> = {
  backup:
    'the file holds the keys of the community and of its hub, and is not sealed: keep it as you keep a key, or use ' +
    '--passphrase-file',
  territory:
    'the file holds the private key of the community, and is not sealed: whoever reads it can be its hub. ' +
    'Use --passphrase-file wherever it leaves this machine',
};

/** A folder gets a name of its own each time; the date sorts. */
function nameIn(path: string, kind: ArchiveKind, nowMs: number): string {
  if (!existsSync(path) || !statSync(path).isDirectory()) return path;
  const date = new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  return join(path, `idlewild-${kind}-${date}.idlewild`);
}

export interface InOptions extends PlaceOptions, SealOptions {
  readonly force?: boolean;
  readonly beside?: boolean;
  readonly samePeople?: boolean;
}

interface In {
  readonly file: string;
  readonly kind: ArchiveKind;
  readonly options: InOptions;
}

/** Reads an archive into an empty place and says what it held. */
export async function readIn(context: Context, { file, kind, options }: In): Promise<void> {
  const signal = interruptSignal();
  const passphrase = passphraseOf(options);
  const [{ restore }, { nodeCrypto, nodeRandom, systemClock }, place] = await Promise.all([
    import('@idlewild/hub'),
    import('@idlewild/protocol/node'),
    placeOf(options),
  ]);
  let step = 'checking';
  let progress = context.progress(step);
  const manifest = await restore({
    clock: systemClock,
    crypto: nodeCrypto,
    random: nodeRandom,
    file: resolve(file),
    kind,
    place,
    passphrase,
    force: options.force,
    beside: options.beside,
    samePeople: options.samePeople,
    quotaBytes: QUOTA_BYTES,
    signal,
    onProgress(now, done, total) {
      if (now !== step) {
        progress.end();
        step = now;
        progress = context.progress(step);
      }
      progress.update(done, total);
    },
  }).finally(() => progress.end());
  const { territory, createdAt, leftOut } = manifest;
  context.show({ ...told(manifest), leftOut }, () => [
    `${plainText(territory.name)} (${territory.id}) as of ${createdAt}: ${contents(manifest)}`,
  ]);
  if (leftOut.length > 0)
    context.note(
      `${leftOut.join(', ')} of the old data folder found no place; --data DIR, for the folder of one ` +
        'replica, would have put them there',
    );
  if (options.beside !== true) context.note(`start it with \`idlewild up ${wordsFor(place)}\``);
}

function wordsFor(place: Place): string {
  if (place.database === undefined) return `--data ${place.data}`;
  return place.secretsKey === undefined ? '--database URL' : '--database URL --secrets-key FILE';
}

const told = ({ territory, hub, version, createdAt, rows, withBlobs, incomplete }: ArchiveManifest): object => ({
  territory,
  hub: hub ?? null,
  version,
  createdAt,
  models: rows.models ?? 0,
  devices: rows.devices ?? 0,
  keys: rows.keys ?? 0,
  withBlobs,
  incomplete,
});

const contents = ({ rows, withBlobs }: ArchiveManifest): string =>
  [
    `${countText(rows.models ?? 0, 'model')}${withBlobs ? '' : ' without their files'}`,
    countText(rows.devices ?? 0, 'device'),
    countText(rows.keys ?? 0, 'key'),
  ].join(', ');
