import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeLending, marked, readMarked } from './description.ts';
import { launchdAgent } from './launchd-agent.ts';
import { scheduledTask, windowsWord } from './scheduled-task.ts';
import { systemdUnit } from './systemd-unit.ts';
import { HOSTILE_NAMES } from './testing/hostile.ts';
import { readPlist, readXml, type Element } from './testing/xml.ts';

const golden = (name: string): string => readFileSync(join(import.meta.dirname, 'testing', name), 'utf8');

function lendingIn(folder: string, more: { program?: string; ca?: string } = {}) {
  const program = more.program ?? `${folder}/node`;
  const script = `${folder}/idlewild.mjs`;
  const env = more.ca === undefined ? {} : { NODE_EXTRA_CA_CERTS: more.ca, PATH: '/bin', SSL_CERT_FILE: '' };
  const service = describeLending({ program, script, data: folder, joined: `${folder}/device.json`, env });
  return { service, facts: { program, script, data: folder, linger: false } };
}

const ADA = lendingIn('/home/ada/The 100% "idle" folder', { program: '/usr/bin/node', ca: '/etc/ssl/Café & Co.pem' });

test('a unit of systemd', () => {
  expect(systemdUnit(ADA.service, ADA.facts)).toBe(golden('idlewild.service'));
});

test('an agent of launchd', () => {
  expect(launchdAgent(ADA.service, ADA.facts)).toBe(golden('idlewild.device.plist'));
});

test("a task of Windows' scheduler", () => {
  const { service, facts } = lendingIn('C:\\Users\\Ada & Co\\AppData\\Local\\Idlewild\\device', {
    program: 'C:\\Program Files\\nodejs\\node.exe',
  });
  expect(scheduledTask(service, facts, 'LOVELACE\\Ada & Co')).toBe(golden('service.xml').replaceAll('\n', '\r\n'));
});

const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0;

test.skipIf(!hasAnalyze)('systemd finds nothing to complain of, whatever folders are called', () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-unit-'));
  try {
    const paths = [folder, ...HOSTILE_NAMES.map((name) => join(folder, name))].map((place, index) => {
      mkdirSync(place, { recursive: true });
      const { service, facts } = lendingIn(place, { program: process.execPath, ca: `${place}/ca.pem` });
      const path = join(folder, `idlewild-${index}.service`);
      writeFileSync(path, systemdUnit(service, facts));
      return path;
    });
    const env = { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: folder, SYSTEMD_LOG_LEVEL: 'warning' };
    const checked = spawnSync('systemd-analyze', ['verify', '--user', '--man=no', '--generators=no', ...paths], {
      env,
    });
    const said = `${checked.stdout.toString()}${checked.stderr.toString()}`;
    expect({ code: checked.status, said: said.split('\n').filter((line) => line.includes('idlewild-')) }).toEqual({
      code: 0,
      said: [],
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.each(HOSTILE_NAMES)('a property list says what was meant: %j', (name) => {
  const { service, facts } = lendingIn(`/Users/ada/${name}`, { ca: `/${name}` });
  expect(readPlist(launchdAgent(service, facts))).toMatchObject({
    ProgramArguments: [service.program, ...service.words],
    EnvironmentVariables: { NODE_EXTRA_CA_CERTS: `/${name}` },
    WorkingDirectory: `/Users/ada/${name}`,
    KeepAlive: { SuccessfulExit: false },
    RunAtLoad: true,
  });
});

const inside = (element: Element, ...path: string[]): Element =>
  path.reduce((at, name) => {
    const found = at.children.filter((child) => child.name === name);
    expect({ name, count: found.length }).toEqual({ name, count: 1 });
    return found[0] as Element;
  }, element);

/** As a C program of Windows takes its command line apart (CommandLineToArgvW). */
function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let isQuoted = false;
  for (let at = 0; at < line.length; at++) {
    const sign = line[at] ?? '';
    if (sign === '\\') {
      const run = /^\\+/.exec(line.slice(at))?.[0].length ?? 0;
      const beforeQuote = line[at + run] === '"';
      word = (word ?? '') + '\\'.repeat(beforeQuote ? Math.floor(run / 2) : run);
      at += run - 1;
      if (beforeQuote && run % 2 === 1) {
        word += '"';
        at++;
      }
    } else if (sign === '"') {
      isQuoted = !isQuoted;
      word ??= '';
    } else if (!isQuoted && (sign === ' ' || sign === '\t')) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + sign;
  }
  return word === undefined ? words : [...words, word];
}

test.each(HOSTILE_NAMES.filter((name) => !/%.+%|\$\(/.test(name)))('a task says what was meant: %j', (name) => {
  const { service, facts } = lendingIn(`C:\\${name}`);
  const task = readXml(scheduledTask(service, facts, `M\\${name}`));
  expect(task).toMatchObject({ name: 'Task', attributes: { version: '1.2' } });
  expect(wordsOf(inside(task, 'Actions', 'Exec', 'Arguments').text)).toEqual([
    '--headless',
    service.program,
    ...service.words,
  ]);
  expect(inside(task, 'Actions', 'Exec', 'WorkingDirectory').text).toBe(`C:\\${name}`);
  expect(inside(task, 'Principals', 'Principal', 'UserId').text).toBe(`M\\${name}`);
  const settings = inside(task, 'Settings');
  expect(inside(settings, 'StopIfGoingOnBatteries').text).toBe('false');
  expect(inside(settings, 'DisallowStartIfOnBatteries').text).toBe('false');
  expect(inside(settings, 'ExecutionTimeLimit').text).toBe('PT0S');
});

test('words for Windows are quoted only where they have to be', () => {
  expect(['join', '', 'C:\\a\\', 'C:\\a b\\', 'say "so"', 'a\\"b'].map(windowsWord)).toEqual([
    'join',
    '""',
    'C:\\a\\',
    '"C:\\a b\\\\"',
    '"say \\"so\\""',
    '"a\\\\\\"b"',
  ]);
});

test.each(['C:\\%TEMP%\\x', 'C:\\50% of 100%', 'C:\\$(Arg0)'])('%j would be expanded, and is refused', (folder) => {
  const { service, facts } = lendingIn(folder);
  expect(() => scheduledTask(service, facts, 'M\\a')).toThrow(expect.objectContaining({ code: 'usage' }));
});

test.each(['a\nb', 'a\rb', 'a\u0000b', 'a\u0007b', 'a\u0085b', 'a\u2028b', 'a\ufffeb', 'a\ud800b'])(
  '%j can be told to no system, and is refused',
  (name) => {
    expect(() => lendingIn(`/home/${name}`)).toThrow(expect.objectContaining({ code: 'usage' }));
    expect(() => lendingIn('/home/a', { ca: name })).toThrow(expect.objectContaining({ code: 'usage' }));
  },
);

test('what is installed is read back from any of the texts, and nothing from those of others', () => {
  for (const name of HOSTILE_NAMES) {
    const facts = { program: `/${name}/node`, script: `/${name}`, data: name, linger: true };
    expect(readMarked(`first\n# ${marked(facts)}\nlast`)).toEqual(facts);
    expect(marked(facts)).toMatch(/^idlewild-service: [ -~]*$/);
    expect(marked(facts).replace(/^idlewild-service/, '')).not.toMatch(/--|[<>&%]/);
  }
  expect(readMarked('[Unit]\nDescription=mine\n')).toBeUndefined();
  expect(readMarked('# idlewild-service: {"program":1}')).toBeUndefined();
  expect(readMarked('# idlewild-service: {broken}')).toBeUndefined();
});
