/**
 * A service as a unit of the user's systemd (systemd.unit(5), .service(5), .exec(5)); version 240 and newer read all of
 * it, older ones say which lines they pass over.
 *
 * Escaping differs by the place. Everywhere `%` starts a specifier, and two of them are one. The words of ExecStart and
 * Environment are quoted, with a backslash before quote and backslash; in the words after the program, but not in the
 * program, `$` starts a variable, and two of them are one. Other values are read up to the line's end as they are.
 */
import { marked, type InstalledFacts, type ServiceDescription } from './description.ts';

export function systemdUnit(service: ServiceDescription, facts: InstalledFacts): string {
  const { title, program, words, environment, folder, onlyWith, restart, limits } = service;
  return `${[
    '# Made by `idlewild service install`, which writes it anew; `idlewild service uninstall` removes it.',
    `# ${marked(facts)}`,
    '',
    '[Unit]',
    `Description=${plain(title)}`,
    `ConditionPathExists=${plain(onlyWith)}`,
    // However long a hub is away or a machine is short of memory, it is tried again.
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=exec',
    `ExecStart=${started(program, words)}`,
    // The slash keeps a blank or a backslash at the folder's end from being the line's.
    `WorkingDirectory=${plain(folder)}/`,
    ...Object.entries(environment).map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`),
    'Restart=on-failure',
    `RestartSec=${restart.afterSeconds}`,
    // It lets answers finish and ends its engines itself.
    'KillMode=mixed',
    `TimeoutStopSec=${restart.stopSeconds}`,
    `Nice=${limits.niceness}`,
    `CPUWeight=${limits.processorWeight}`,
    'IOSchedulingClass=idle',
    // Engines get a group of their own below this one, which holds them to what was lent.
    'Delegate=cpu memory pids',
    // When memory runs out, an engine goes first, and alone.
    'OOMScoreAdjust=500',
    'OOMPolicy=continue',
    'NoNewPrivileges=yes',
    'UMask=0077',
    '',
    '[Install]',
    'WantedBy=default.target',
  ].join('\n')}\n`;
}

/** systemd takes no quote and no backslash in the name of a program; a shell that becomes it does. */
function started(program: string, words: readonly string[]): string {
  if (/["'\\]/.test(program)) return started('/bin/sh', ['-c', 'exec "$0" "$@"', program, ...words]);
  return [quoted(program), ...words.map((word) => quoted(word.replaceAll('$', '$$$$')))].join(' ');
}

const plain = (text: string): string => text.replaceAll('%', '%%');

const quoted = (text: string): string => `"${plain(text).replace(/["\\]/g, '\\$&')}"`;
