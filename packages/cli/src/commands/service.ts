/**
 * `idlewild service`: the lending as a service of this machine, started at login, or at the machine's start where the
 * lender wants it so. Who installs it is told what will be made and asked; what was agreed to when joining stays the
 * only consent there is.
 */
import type { Command } from 'commander';
import { calledAs, contextOf, type Context } from '../context.ts';
import { deviceFolder } from '../data-folder.ts';
import type { InstalledFacts } from '../service/description.ts';
import type { ServicePorts, ServiceStatus } from '../service/install.ts';
import type { ServiceState } from '../service/manager.ts';
import { factLines } from '../text/table.ts';
import { whenText } from '../text/units.ts';

interface InstallOptions {
  readonly data?: string;
  readonly yes?: boolean;
  readonly linger?: boolean;
  readonly dryRun?: boolean;
}

export function addServiceCommands(program: Command): void {
  const service = program
    .command('service')
    .summary('lend this machine whenever it runs')
    .description(
      'Lend this machine whenever it runs, by what it was agreed to with `idlewild join`: a unit of your systemd, ' +
        "an agent of launchd, or a task of Windows' scheduler. Nothing needs an administrator.",
    )
    .addHelpText('after', '\nExamples:\n  $ idlewild service install\n  $ idlewild service status');
  service
    .command('install')
    .summary('make it, or write it anew, and start it')
    .description('Make the service, or write it anew, and start it. It says what it will do, and asks.')
    .option('--data <dir>', "the device's folder (default: the one of `join`)")
    .option('--yes', 'do it without being asked, for scripts')
    .option('--linger', 'on Linux: let your services run without a login, too (`loginctl enable-linger`)')
    .option('--dry-run', 'print what would be written, and do nothing')
    .addHelpText('after', '\nExamples:\n  $ idlewild service install\n  $ idlewild service install --dry-run')
    .action((options: InstallOptions, command: Command) => install(contextOf(command), options));
  service
    .command('uninstall')
    .summary('stop it and remove it')
    .description('Stop the service and remove all that `install` made. The device itself stays.')
    .addHelpText('after', '\nExample:\n  $ idlewild service uninstall')
    .action((_: unknown, command: Command) => uninstall(contextOf(command)));
  service
    .command('status')
    .summary('whether it is there and runs')
    .description('Whether the service is there and runs, and how it ended last.')
    .addHelpText('after', '\nExample:\n  $ idlewild service status --json')
    .action((_: unknown, command: Command) => status(contextOf(command)));
}

async function portsHere(): Promise<ServicePorts> {
  const here = await import('../service/here.ts');
  return here.portsHere();
}

async function install(context: Context, options: InstallOptions): Promise<void> {
  const [ports, described, joining, places, installing] = await Promise.all([
    portsHere(),
    import('../service/description.ts'),
    import('../service/joined.ts'),
    import('../service/program-place.ts'),
    import('../service/install.ts'),
  ]);
  const { manager } = ports;
  const data = deviceFolder(options.data);
  const place = places.placeOfThis();
  const service = described.describeLending({ ...place, data, joined: joining.joinedFile(data), env: process.env });
  const { file, name } = manager;
  const facts = { ...place, data, linger: false };
  if (options.dryRun === true) {
    const text = manager.text(service, facts);
    return context.show({ manager: name, file, text }, () => [...text.trimEnd().split('\n')]);
  }
  places.refusePassing(place);
  const device = joining.readJoined(data, calledAs());
  await manager.check();
  await installing.refuseHeld(ports, data);
  const before = installing.installed(ports);
  const lingers = await agreed(context, ports, options, [
    ['write', file],
    ['run', [service.program, ...service.words].join(' ')],
    ['as', `${device.name}, with your rights and no more, at ${device.url}`],
    ['when', manager.linger?.isOn() === true ? 'from the start of the machine on' : 'while you are logged in'],
    ...(before === undefined ? [] : [['replace', `the service that is there, which lends ${before.data}`] as const]),
  ]);
  const linger = before?.linger === true || (lingers && (await turnOn(context, ports)));
  const state = await installing.install(ports, service, { ...facts, linger });
  context.show({ ...facts, linger, manager: name, file, ...shown(state) }, () => [
    `the service is installed and runs within what was agreed; \`${calledAs()} service uninstall\` ends it`,
    ...factLines([['log', installing.logOf(data)], ['more', manager.look], ...lingerLines(ports)]),
  ]);
}

type Facts = readonly (readonly [name: string, value: string])[];

/**
 * Returns whether it is to run without a login. Throws `consent_refused` at a no, `usage` where nobody can be asked.
 */
async function agreed(
  context: Context,
  { manager }: ServicePorts,
  { yes = false, linger = false }: InstallOptions,
  facts: Facts,
): Promise<boolean> {
  const isOn = manager.linger === undefined || manager.linger.isOn();
  if (yes) {
    for (const line of factLines(facts)) context.note(line);
    return linger && !isOn;
  }
  const { askService } = await import('../service/ask.ts');
  return askService({
    json: context.json,
    lines: factLines(facts),
    asksLinger: !isOn && !linger,
    linger: linger && !isOn,
  });
}

/** Of no use to a service that is installed all the same, so a failure is told and no more. */
async function turnOn(context: Context, { manager }: ServicePorts): Promise<boolean> {
  try {
    await manager.linger?.turn(true);
    return true;
  } catch (error) {
    context.note(`it will run only while you are logged in: ${(error as Error).message}`);
    return false;
  }
}

function lingerLines({ manager: { linger } }: ServicePorts): Facts {
  if (linger === undefined || linger.isOn()) return [];
  return [['login', `it runs while you are logged in; \`${linger.command}\` lets it run without`]];
}

async function uninstall(context: Context): Promise<void> {
  const [ports, installing] = await Promise.all([portsHere(), import('../service/install.ts')]);
  const removed = await installing.uninstall(ports);
  context.show({ removed: removed !== undefined, file: ports.manager.file, data: removed?.data ?? null }, () =>
    removed === undefined ? ['no service is installed for this user; nothing was changed'] : removedLines(removed),
  );
}

const removedLines = ({ data, linger }: InstalledFacts): string[] => [
  `the service is stopped and removed${linger ? '; your services run only while you are logged in, as before' : ''}`,
  `the device itself is still in ${data}; \`${calledAs()} lending leave\` deletes it`,
];

async function status(context: Context): Promise<void> {
  const [ports, installing] = await Promise.all([portsHere(), import('../service/install.ts')]);
  const found = await installing.statusOf(ports);
  context.show({ ...found, ...shown(found), problem: found.problem ?? null }, () => statusLines(found));
}

const shown = ({ enabled, running, pid, lastExit }: ServiceState): Record<string, unknown> => ({
  enabled,
  running,
  pid: pid ?? null,
  lastExit: lastExit ?? null,
});

function statusLines(found: ServiceStatus): string[] {
  const { manager, file, enabled, running, pid, lastExit, program, script, data, missing, problem } = found;
  const exit = lastExit === undefined ? [] : 'code' in lastExit ? [`code ${lastExit.code}`] : [lastExit.signal];
  return factLines([
    ['service', `of ${manager}, in ${file}${enabled ? '' : '; it does not start by itself'}`],
    ['state', running ? `runs${pid === undefined ? '' : `, process ${pid}`}` : 'does not run'],
    ...exit.map((text) => ['last end', text] as const),
    ...(problem === undefined
      ? []
      : [['because', `${problem.message} (${whenText(problem.at, Date.now())})`] as const]),
    ['program', `${program} ${script}`],
    ['device', data],
    ...missing.map((path) => ['missing', `${path}; install again, or uninstall`] as const),
  ]);
}
