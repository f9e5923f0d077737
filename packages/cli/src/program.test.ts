/**
 * Claims about every command, found by walking the program itself: one that is added is held to them without being
 * named here, and has to be named only where it must be known what may be done with it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { EXIT } from './exit-codes.ts';
import { createProgram } from './program.ts';
import { besideHub } from './testing/called.ts';

const MANUAL = readFileSync(join(import.meta.dirname, '../../../docs/cli.md'), 'utf8');

interface Found {
  /** As it is called. */
  readonly path: readonly string[];
  readonly command: Command;
}

function* walk(command: Command, above: readonly string[] = []): Generator<Found> {
  for (const each of command.commands) {
    const path = [...above, each.name()];
    yield { path, command: each };
    yield* walk(each, path);
  }
}
const ALL = [...walk(createProgram())];
/** Those that do something when they are called by their name alone, and not only show what is below them. */
const DOING = ALL.filter(({ command }) => command.commands.length === 0 || acts(command));
const called = ({ path }: Found): string => path.join(' ');

/** Commander keeps this to itself. */
function acts(command: Command): boolean {
  return (command as unknown as { readonly _actionHandler: unknown })._actionHandler !== null;
}

function helpOf({ command }: Found): string {
  let out = '';
  command.configureOutput({ writeOut: (text) => (out += text) });
  command.outputHelp();
  return out;
}

test('there are commands, and groups of them', () => {
  expect(ALL.length).toBeGreaterThan(DOING.length);
  expect(DOING.length).toBeGreaterThan(120);
  expect(new Set(ALL.map(called)).size).toBe(ALL.length);
});

test.each(ALL.map((found) => [called(found), found] as const))(
  'help of `%s` says what it does, what each word of it is, and shows an example of itself',
  (name, found) => {
    const { command } = found;
    expect(command.summary(), 'a summary').not.toBe('');
    expect(command.description(), 'a description').toMatch(/^[A-Z].*\.$/s);
    for (const argument of command.registeredArguments) expect(argument.description, argument.name()).not.toBe('');
    for (const option of command.options.filter(({ hidden }) => !hidden))
      expect(option.description, option.flags).not.toBe('');
    const example = helpOf(found).match(/\nExamples?:\n(?<lines>[\s\S]*)$/)?.groups?.lines ?? '';
    expect(example).toMatch(new RegExp(`^ {2}\\$ (?:\\w+=\\S+ )*idlewild ${name}(?: |\\n|$)`, 'm'));
  },
);

/** The words of a command that the manual gives: `models add DIR|hf:…` is `models add`. */
function literal(span: string): string[] {
  const words = span.split(' ');
  const end = words.findIndex((word) => !/^[a-z][a-z-]*$/.test(word));
  return end === -1 ? words : words.slice(0, end);
}

/** What a row of its table names: the first in full, others with or without the words that they share with it. */
const NAMED = new Set(
  [...MANUAL.matchAll(/^\| (`.+?) \| /gm)].flatMap(([, cell = '']) => {
    const spans = [...cell.matchAll(/`([^`]+)`/g)].map(([, span = '']) => literal(span.replaceAll('\\|', '|')));
    const [first = []] = spans;
    const heads = first.map((_, count) => first.slice(0, count));
    return spans.flatMap((span) => heads.map((head) => [...head, ...span].join(' ')));
  }),
);
test.each(DOING.map((found) => [called(found)]))('the manual names `%s`', (name) => {
  expect(NAMED).toContain(name);
});

describe('beside a hub', () => {
  const beside = besideHub();

  test.each(DOING.map((found) => [called(found), found] as const))(
    'what is wrong with a call of `%s` is said in words and by the exit code',
    async (_, { path, command }) => {
      const unknown = await beside.call(...path, '--no-such-option');
      expect(unknown).toMatchObject({ code: EXIT.usage, out: '' });
      expect(unknown.said).toMatch(/unknown option '--no-such-option'|required option/);
      const asJson = await beside.call(...path, '--no-such-option', '--json');
      expect(asJson).toMatchObject({ code: EXIT.usage, out: '' });
      expect(JSON.parse(asJson.said)).toMatchObject({ error: { code: 'usage' } });
      if (!command.registeredArguments.some(({ required }) => required)) return;
      expect(await beside.call(...path)).toMatchObject({ code: EXIT.usage, out: '' });
    },
  );

  /** Lists and shows: each is called with these words, and prints JSON and nothing else. */
  const READING: Readonly<Record<string, readonly string[]>> = {
    status: [],
    whoami: [],
    usage: [],
    'sign-in providers list': [],
    'models list': [],
    'devices list': [],
    'devices pool list': [],
    'stewards list': [],
    'members list': [],
    'members show': ['Ada'],
    'members invitations': [],
    'groups list': [],
    'groups show': ['choir'],
    'roles list': [],
    'roles show': ['reader'],
    'roles bindings': [],
    'keys list': [],
    'projects list': [],
    'projects show': ['sea'],
    'projects allocations': [],
    'projects caps': [],
    'projects showback': [],
    'policy show': [],
    'policy history': ['mine'],
    'policy explain': ['--action', 'readStatus'],
    'use show': [],
    'use history': [],
    'appeals list': [],
    'audit list': [],
    'audit verify': [],
    'audit report': [],
    'territories list': [],
    'territories show': ['home'],
  };
  /** All others change something, stay, or need a device, a model or a person: their own tests call them. */
  const OTHERS = `
    up, invite, join, chat, embed, classify, proxy, receipt verify, update, backup, restore
    sign-in, sign-in providers add, sign-in providers remove, sign-out, sessions list, sessions end
    lending status, lending history, lending pause, lending resume, lending limits, lending leave
    service install, service uninstall, service status
    models add, models show, models pin, models unpin, models stop, models allow, models remove
    devices show, devices drain, devices revoke, devices tier, devices vouch, devices pool add, devices pool remove
    devices mine, devices mine drain, devices mine take-back, devices mine invite, stewards key, stewards remove
    members rename, members suspend, members resume, members remove, members invite, members link, members withdraw
    members leave, projects withdraw
    groups create, groups rename, groups delete, groups add, groups remove
    roles create, roles change, roles delete, roles bind, roles unbind, keys create, keys limit, keys revoke
    projects create, projects close, projects ask, projects grant, projects deny, projects end, projects left
    projects cap, projects floor, policy apply, policy remove, policy test, use apply, use sign, use try, use off
    appeals file, appeals show, appeals decide, appeals withdraw, audit export, audit prove, audit verify-entry
    territories create, territories close, territories open, territories rename
    territory export, territory import, territory moved`;

  test('every command is known as one that reads or as one that does more', () => {
    const others = OTHERS.split(/[,\n]/)
      .map((name) => name.trim())
      .filter((name) => name !== '');
    const way = 'name a new command in READING, with words that it can be called with here, or in OTHERS';
    expect(DOING.map(called).toSorted(), way).toEqual([...Object.keys(READING), ...others].toSorted());
  });

  test('whatever lists or shows prints JSON when it is told to, each value a line, and nothing else', async () => {
    const made = [
      ['groups', 'create', 'choir'],
      ['roles', 'create', 'reader', '--permissions', 'readStatus'],
      ['projects', 'create', 'sea', '--purpose', 'climate'],
      ['policy', 'apply', beside.file('mine.cedar')],
    ];
    writeFileSync(
      beside.file('mine.cedar'),
      '@id("mine") forbid (principal, action == Action::"addModel", resource);\n',
    );
    const invited = JSON.parse((await beside.call('members', 'invite', 'Ada', '--json')).out) as { code: string };
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ code: invited.code });
    expect((await fetch(`${beside.hub.url}/api/sign-in/code`, { method: 'POST', headers, body })).status).toBe(201);
    for (const words of made)
      expect({ words, ...(await beside.call(...words)) }).toMatchObject({ words, code: EXIT.ok, said: '' });
    for (const [name, words] of Object.entries(READING)) {
      const { code, out, said } = await beside.call(...name.split(' '), ...words, '--json');
      expect({ name, code, said }).toEqual({ name, code: EXIT.ok, said: '' });
      expect(
        () =>
          out
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as unknown),
        name,
      ).not.toThrow();
      const { out: told } = await beside.call(...name.split(' '), ...words);
      expect(told, `${name} without --json`).not.toBe(out);
    }
  });
});
