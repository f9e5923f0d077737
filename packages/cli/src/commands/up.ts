/** `idlewild up`: a hub on this machine, and, if asked for, this machine lent to it. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Log, RunningHub } from '@idlewild/hub';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { bold, calledAs, contextOf, dim, type Context } from '../context.ts';
import { ADDRESS_FILE, defaultDataFolder, stewardKey } from '../data-folder.ts';
import { EXIT } from '../exit-codes.ts';
import type { Announcement } from '../lan/announce.ts';
import type { LocalDevices } from '../processes/local-devices.ts';
import { parsePerMinute } from '../text/limits.ts';
import { factLines } from '../text/table.ts';
import { countText, plainText } from '../text/units.ts';
import { addReplicaOptions, dataFolderOf, replicaOptionsOf, type ReplicaWords } from './up-replica.ts';

interface UpOptions extends ReplicaWords {
  readonly name?: string;
  readonly host: string;
  readonly devices: number;
  readonly presence?: 'respect' | 'ignore';
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  /** `true` means on every network. */
  readonly announce?: string | true;
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly oidcPrivate: readonly string[];
  readonly cors: readonly string[];
  readonly stopWithStdin?: boolean;
}

const DEVICES_MAX = 64;
/** After the answers: farewells, the last writes. */
const STOP_MS_MAX = 10_000;

export function addUpCommand(program: Command): void {
  const command = program
    .command('up')
    .summary('start a hub here, and lend this machine to it if you like')
    .description(
      'Start a hub here, and with --devices lend this machine to it. The first start makes a community, ' +
        "its key, and a steward's key, which is printed once. Away from loopback the hub speaks TLS only.",
    )
    .option('--name <name>', 'what the community is called that the first start makes (default: "home")')
    .option('--port <port>', 'where it listens; 0 takes any free one', parsePort, 7860)
    .option('--host <address>', 'on which address; 0.0.0.0 lets other machines in', '127.0.0.1')
    .option('--data <dir>', 'where it keeps what it knows (default: your data folder)')
    .option('--devices <count>', 'how many devices to lend on this machine', parseDevices, 0)
    .addOption(
      new Option(
        '--presence <how>',
        'whether they work only while nobody uses this machine, or also then (default: also then where only this ' +
          'machine reaches the hub, otherwise only while nobody does)',
      ).choices(['respect', 'ignore']),
    )
    .option('--tls-cert <file>', "a certificate (PEM) instead of the hub's own")
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--announce [address]', 'tell this network of it; with an address of this machine, only that one network')
    .option('--requests-per-minute <count>', 'how often a key without a limit of its own may ask', parsePerMinute)
    .option('--tokens-per-minute <count>', 'how much it may use, prompts and answers', parsePerMinute)
    .option(
      '--oidc-private <host[:port]>',
      'an OpenID provider that may be in a private network, for all communities of this hub; may be repeated',
      (host: string, all: string[]) => [...all, host],
      [],
    )
    .option(
      '--cors <origin>',
      "an origin whose web pages may ask under /v1/ with a key, like https://chat.example, or '*'; may be repeated",
      (origin: string, all: string[]) => [...all, origin],
      [],
    )
    .addOption(new Option('--stop-with-stdin', 'stop when stdin ends').hideHelp());
  addReplicaOptions(command)
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild up --host 0.0.0.0 --devices 1\n' +
        '  $ idlewild up --database postgres://hub@db/idlewild --bus nats://bus   (on as many machines as you like)',
    )
    .action(async (options: UpOptions, command: Command) => up(contextOf(command), options));
}

async function up(context: Context, options: UpOptions): Promise<void> {
  const { untilTold } = await import('../processes/until-told.ts');
  const { told } = untilTold(options.stopWithStdin === true);
  const data = resolve(dataFolderOf(options));
  const replica = replicaOptionsOf(options);
  const tls = await tlsOf(options);
  if (options.announce !== undefined) {
    const { refuseUnreachable } = await import('../lan/announce.ts');
    refuseUnreachable(options.host, interfaceOf(options));
  }
  const [{ startHub, createPinoLog }, { withPin }] = await Promise.all([
    import('@idlewild/hub'),
    import('../pinned-fetch.ts'),
  ]);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const { openRotatedFile } = await import('../processes/rotated-file.ts');
  const log = createPinoLog({ level: 'info', destination: openRotatedFile(join(data, 'hub.log')) });
  const { name, oidcPrivate: privateProviders, cors: otherOrigins, host, port } = options;
  const { requestsPerMinute, tokensPerMinute } = options;
  const limits = { requestsPerMinute, tokensPerMinute };
  const asked = { name, privateProviders, otherOrigins, data, host, port, tls, limits, log };
  const hub = await startHub({ ...replica, ...asked });
  const address = hub.spkiPin === undefined ? hub.url : withPin(hub.url, hub.spkiPin);
  const noted = join(data, ADDRESS_FILE);
  writeFileSync(noted, `${JSON.stringify({ url: address, pid: process.pid })}\n`, { mode: 0o600 });
  let announcement: Announcement | undefined;
  try {
    sayOtherName(context, options, hub);
    if (options.announce !== undefined) announcement = await tellNetwork(options, hub, log);
    const pin = hub.spkiPin === undefined ? {} : { pin: Buffer.from(hub.spkiPin).toString('base64url') };
    const { url, stewardKeyFile, territory } = hub;
    const announced = announcement === undefined ? {} : { announced: announcement.name };
    const facts = { url, stewardKeyFile, territory: territory.id, replica: hub.replica };
    if (context.json) context.printJson({ ...facts, ...pin, ...announced });
    else {
      const replicas =
        options.database === undefined ? undefined : (await hub.replicas()).filter(({ isLive }) => isLive);
      sayReady(context, hub, { address, data, announced: announcement?.name, replicas: replicas?.length });
    }
    const devices = options.devices === 0 ? undefined : await lend(context, options, address, data);
    const lost = await Promise.race([told, hub.lost]);
    if (lost !== undefined) throw lost;
    context.note('stopping; once more ends it at once');
    await announcement?.stop();
    await hub.drain();
    await devices?.stop();
  } finally {
    endAnyway();
    rmSync(noted, { force: true });
    await announcement?.stop();
    await hub.stop();
  }
}

/** Whatever hangs, such as a database that does not answer: what is open is accounted for at the next start. */
function endAnyway(): void {
  const end = (): void => {
    process.stderr.write('the hub did not stop in time and is ended; nothing that it acknowledged is lost\n');
    process.exit(EXIT.failed);
  };
  setTimeout(end, STOP_MS_MAX).unref();
}

async function tlsOf({ tlsCert: cert, tlsKey: key }: UpOptions): Promise<{ cert: string; key: string } | undefined> {
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return undefined;
  const { IdlewildError } = await import('@idlewild/protocol');
  throw new IdlewildError('usage', 'a certificate needs its key: give --tls-cert and --tls-key, or neither');
}

const interfaceOf = ({ announce }: UpOptions): string | undefined => (announce === true ? undefined : announce);

/** A start that went wrong for a name, after a steward chose another, would stop the hub of everybody. */
function sayOtherName(context: Context, { name }: UpOptions, { territory }: RunningHub): void {
  if (name === undefined || name === territory.name) return;
  context.note(
    `--name counts at the first start only: this community is called ${plainText(territory.name)}; ` +
      `rename it with: ${calledAs()} territories rename`,
  );
}

async function tellNetwork(options: UpOptions, hub: RunningHub, log: Log): Promise<Announcement> {
  const { keepAnnouncing } = await import('../lan/announce.ts');
  const { id, version, spkiPin } = hub;
  const announcement = await keepAnnouncing(() => ({
    hub: { hub: id, territory: { ...hub.territory }, isEncrypted: spkiPin !== undefined, version },
    host: options.host,
    port: portOf(hub.url),
    lan: { interface: interfaceOf(options) },
    onProblem: (error) => log.warn({ why: error.message }, 'the network could not be told'),
  }));
  hub.onRenamed(() => announcement.changed());
  return announcement;
}

/** A URL leaves out the port that its scheme has anyway. */
function portOf(address: string): number {
  const { port, protocol } = new URL(address);
  if (port !== '') return Number(port);
  return protocol === 'https:' ? 443 : 80;
}

interface Told {
  readonly address: string;
  readonly data: string;
  readonly announced: string | undefined;
  /** That share the database with this one, itself included; absent where there is nothing to share. */
  readonly replicas: number | undefined;
}

function sayReady(context: Context, hub: RunningHub, { address, data, announced, replicas }: Told): void {
  const out = process.stdout;
  context.print(`${bold('Idlewild', out)} is up at ${bold(address, out)}`);
  context.print('');
  for (const line of factLines([
    ['community', `${hub.territory.name} (${hub.territory.id})`],
    ...(replicas === undefined
      ? []
      : [['replica', `${hub.replica}, one of ${countText(replicas, 'replica')}`] as const]),
    ['data', data],
    ...(announced === undefined ? [] : [['announced', `on this network as "${announced}"`] as const]),
  ]))
    context.print(`  ${line}`);
  context.print(`  steward's key  ${whereKeyIs(hub, { data, replicas }, out)}`);
  context.print('');
  // Commands find by themselves only what is in the default data folder.
  if (data !== resolve(defaultDataFolder()))
    context.print(dim(`  export IDLEWILD_HUB='${address}' IDLEWILD_KEY=…   for the commands below`, out));
  for (const line of factLines([
    [`${calledAs()} models add DIR`, 'publish a model'],
    [`${calledAs()} invite`, 'let a device join'],
    ['Ctrl-C', 'stop'],
  ]))
    context.print(dim(`  ${line}`, out));
  context.print('');
}

/** A folder that was restored from a database or a territory holds no key, and nobody can make it again. */
function whereKeyIs(
  hub: RunningHub,
  { data, replicas }: Pick<Told, 'data' | 'replicas'>,
  out: NodeJS.WriteStream,
): string {
  if (hub.stewardKey !== undefined)
    return `${hub.stewardKey}\n${dim(`    shown this once; kept in ${hub.stewardKeyFile}`, out)}`;
  if (stewardKey(data) !== undefined) return `in ${hub.stewardKeyFile}`;
  return replicas === undefined
    ? 'the one it had: no file here has it'
    : 'in steward.key of the replica that made this community';
}

async function lend(context: Context, options: UpOptions, address: string, data: string): Promise<LocalDevices> {
  const [{ startLocalDevices }, { openHub }, { isLoopback }] = await Promise.all([
    import('../processes/local-devices.ts'),
    import('../hub-access.ts'),
    import('@idlewild/hub'),
  ]);
  const key = stewardKey(data) ?? process.env.IDLEWILD_KEY;
  const { client } = openHub({ hub: address, key });
  const told = new Map<string, string>();
  return startLocalDevices({
    count: options.devices,
    data,
    // Whom it answers on loopback is the one who sits here and waits.
    presence: options.presence ?? (isLoopback(options.host) ? 'ignore' : 'respect'),
    invite: async () => (await client.invites.create({ uses: 1, expiresInSeconds: 600 })).token,
    onState(name, state) {
      const text = [String(state.state), ...((state.pauseReasons as string[] | undefined) ?? [])].join('; ');
      if (told.get(name) !== text) context.note(`${name}: ${plainText(text)}`);
      told.set(name, text);
    },
    onProblem: (name, message) => process.stderr.write(`${name}: ${plainText(message)}\n`),
  });
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new InvalidArgumentError('It must be a number from 0 to 65535.');
  return port;
}

function parseDevices(text: string): number {
  const count = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count <= DEVICES_MAX)) throw new InvalidArgumentError(`It must be a number from 0 to ${DEVICES_MAX}.`);
  return count;
}
