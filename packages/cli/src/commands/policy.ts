/** `idlewild policy`: what holds in a community and why, and how its stewards change it. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { PolicyCaseResult, PolicyChange, PolicyQuestion, PolicyText } from '@idlewild/client';
import { DATA_CLASSES, type DataClass } from '@idlewild/protocol';
import { Option, type Command } from 'commander';
import { placeOf, type PlaceOptions } from '../archive-place.ts';
import { contextOf, type Context } from '../context.ts';
import { tableLines } from '../text/table.ts';
import { countText, plainText, whenText } from '../text/units.ts';

export function addPolicyCommands(program: Command): void {
  const policy = program
    .command('policy')
    .summary('who may do what: see it, change it, try it, have it explained')
    .description(
      'Policies of a community, in Cedar. What is built in and what roles permit holds everywhere; a community may ' +
        'forbid or permit more by policies of its own. What no policy permits is refused, and a forbid outweighs.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild policy explain --action answer --on jacobean --class confidential');
  addShow(policy);
  addApply(policy);
  addRemove(policy);
  addHistory(policy);
  addExplain(policy);
  addTest(policy);
}

function addShow(policy: Command): void {
  policy
    .command('show')
    .summary('what holds')
    .description('List the policies that hold, or print one: of the community by its name, any other by its id.')
    .argument('[name]', 'which one')
    .addHelpText('after', '\nExample:\n  $ idlewild policy show role:caller')
    .action(async (name: string | undefined, _: unknown, command: Command) => {
      const context = contextOf(command);
      const held = await (await context.client()).policy.held();
      if (name === undefined) {
        const nowMs = Date.now();
        context.note(`version ${held.version}; idlewild policy show NAME prints one`);
        const changed = new Map(
          held.own.map((own) => [own.name, `${whenText(own.changedAt, nowMs)}, ${own.changedBy}`]),
        );
        const rows = held.policies.map(({ id }) => [id, kindOf(id), changed.get(id.split('/', 1)[0] ?? '') ?? '']);
        return context.show(held, () =>
          tableLines(
            ['POLICY', 'WHAT', 'CHANGED'].map((title) => ({ title })),
            rows,
          ),
        );
      }
      const own = held.own.find((each) => each.name === name);
      const found = own ?? held.policies.find(({ id }) => id === name);
      if (found === undefined) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError('not_found', `there is no policy "${name}" here; idlewild policy show lists them`);
      }
      context.show(found, () => found.text.trimEnd().split('\n'));
    });
}

function kindOf(id: string): string {
  if (id.startsWith('role:')) return 'role';
  return id.includes('/') ? 'of the community' : 'built in';
}

interface ApplyOptions {
  readonly why: string;
  readonly dryRun?: boolean;
}

function addApply(policy: Command): void {
  policy
    .command('apply')
    .summary('change policies')
    .description(
      'Put policies of the community in place of those of the same name, all or none; a file is named as its policy. ' +
        'They are checked first, and hold from the next request on, also for what runs.',
    )
    .argument('<file...>', 'NAME.cedar')
    .option('--why <words>', 'the reason, for the history', '')
    .option('--dry-run', 'say what would change for roles and devices, and change nothing')
    .addHelpText('after', '\nExample:\n  $ idlewild policy apply quiet-nights.cedar --dry-run')
    .action(async (files: string[], options: ApplyOptions, command: Command) => {
      const context = contextOf(command);
      const policies = await textsIn(files);
      const { dryRun = false, why } = options;
      const change = await (await context.client()).policy.apply({ policies, why, dryRun });
      context.show(change, () => changeLines(change, dryRun));
    });
}

function changeLines({ changed, changes, circumstantial }: PolicyChange, isTrial: boolean): string[] {
  if (changed.length === 0) return ['nothing changes: they say this already'];
  const cells = changes.map(({ who, what, isAllowed }) => [who, what, isAllowed ? 'allowed' : 'refused']);
  return [
    `${isTrial ? 'would change' : 'changed'}: ${changed.join(', ')}`,
    ...(cells.length === 0
      ? ['no role or tier may more or less by it, as far as can be said without circumstances']
      : tableLines(
          ['WHO', 'WHAT', isTrial ? 'WOULD BE' : 'NOW'].map((title) => ({ title })),
          cells,
        )),
    ...(circumstantial.length === 0
      ? []
      : [`and under circumstances, on one thing or for some only: ${circumstantial.join(', ')}`]),
  ];
}

interface RemoveOptions extends PlaceOptions {
  readonly why: string;
  readonly territory?: string;
}

function addRemove(policy: Command): void {
  policy
    .command('remove')
    .summary('take a policy away')
    .description(
      'Take a policy of the community away; what it said stays in its history. With --data or --database over the ' +
        "hub's own data, on its machine and without a key: for a policy that lets nobody in who could take it away. " +
        'The hub may be running.',
    )
    .argument('<name>', 'its name')
    .option('--why <words>', 'the reason, for the history', '')
    .option('--data <dir>', 'without a key, over the data folder of the hub')
    .addOption(new Option('--database <url>', 'the same over its PostgreSQL database').env('IDLEWILD_DATABASE'))
    .option('--secrets-key <file>', 'what its secrets in that database are sealed with')
    .option('--territory <community>', "with --data or --database: of this one of the hub's communities, by id or name")
    .addHelpText(
      'after',
      `
Examples:
  $ idlewild policy remove quiet-nights
  $ idlewild policy remove locked-out --data /srv/idlewild    the hub's machine; nobody may do it over the hub`,
    )
    .action(async (name: string, options: RemoveOptions, command: Command) => {
      const context = contextOf(command);
      // The database alone may be named in the environment of who means the hub that is running.
      const isByHand = options.data !== undefined || command.getOptionValueSource('database') === 'cli';
      if (isByHand) return removeByHand(context, name, options);
      const { why } = options;
      const change = await (await context.client()).policy.remove(name, why);
      context.show(change, () => changeLines(change, false));
    });
}

/** Throws `not_found`, `conflict`, `usage`. */
async function removeByHand(context: Context, name: string, options: RemoveOptions): Promise<void> {
  const [{ rescuePolicy }, { nodeCrypto, nodeRandom, systemClock }, place] = await Promise.all([
    import('@idlewild/hub'),
    import('@idlewild/protocol/node'),
    placeOf(options),
  ]);
  const ports = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom };
  const { territory: wanted, why } = options;
  const territory = await rescuePolicy({ ...ports, place, territory: wanted, name, why });
  context.show({ removed: name, territory }, () => [
    `removed: ${name}, of ${plainText(territory.name)} (${territory.id}); a running hub knows within a second`,
  ]);
}

function addHistory(policy: Command): void {
  policy
    .command('history')
    .summary('every state that a policy was in')
    .description('List the states that a policy of the community was in, newest first; with --json with its texts.')
    .argument('<name>', 'its name')
    .addHelpText('after', '\nExample:\n  $ idlewild policy history quiet-nights')
    .action(async (name: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const states = await (await context.client()).policy.history(name);
      const nowMs = Date.now();
      context.show(states, () =>
        tableLines(
          [{ title: 'VERSION', align: 'right' }, { title: 'CHANGED' }, { title: 'BY' }, { title: 'WHY' }],
          states.map(({ version, text, changedAt, changedBy, why }) => [
            String(version),
            whenText(changedAt, nowMs),
            changedBy,
            text === null ? `removed ${why}`.trimEnd() : why,
          ]),
        ),
      );
    });
}

interface ExplainOptions extends Omit<PolicyQuestion, 'class'> {
  readonly as?: string;
  readonly class?: DataClass;
}

function addExplain(policy: Command): void {
  policy
    .command('explain')
    .summary('why somebody may do something, or not')
    .description('Say which policy decides, and what would be needed. Of others only for whoever may read policies.')
    .requiredOption('--action <action>', 'what is asked for; `idlewild roles show steward` lists all')
    .option('--as <who>', 'as this member, key or device, by name or id, or as role:NAME; else whoever asks')
    .option('--on <thing>', 'the id of a device or key, the name of a model')
    .option('--project <id>', 'on whose account')
    .addOption(new Option('--class <class>', 'of the text').choices(DATA_CLASSES))
    .option('--purpose <slug>', 'what it is for')
    .option('--sealed', 'end-to-end encrypted')
    .addHelpText('after', '\nExample:\n  $ idlewild policy explain --as key_… --action answer --on jacobean')
    .action(async (options: ExplainOptions, command: Command) => {
      const context = contextOf(command);
      const { action, as, on, project, class: dataClass, purpose, sealed } = options;
      const question = { action, as, on, project, class: dataClass, purpose, sealed };
      const told = await (await context.client()).policy.explain(question);
      context.show(told, () => [told.message]);
    });
}

interface TestOptions {
  readonly policies?: readonly string[];
  readonly offline?: boolean;
}

function addTest(policy: Command): void {
  policy
    .command('test')
    .summary("hold a community's own cases against its policies")
    .description(
      'Ask for every case of a file, and say which falls otherwise than expected; the exit code is not 0 when one ' +
        'does. With --policies against these in place of those of the same name, without applying them.',
    )
    .argument('<file>', 'JSON, as docs/policy.md describes it')
    .option('--policies <file...>', 'policies to try')
    .option('--offline', 'without a hub: built-in roles and those of the file, and the policies given')
    .addHelpText('after', '\nExample:\n  $ idlewild policy test cases.json --policies quiet-nights.cedar')
    .action(async (file: string, { policies: files = [], offline }: TestOptions, command: Command) => {
      const context = contextOf(command);
      const policies = await textsIn(files);
      const results = offline === true ? await alone(file, policies) : await atHub(context, file, policies);
      const wrong = results.filter(({ isAsExpected }) => !isAsExpected);
      context.show(results, () => resultLines(results));
      if (wrong.length === 0) return;
      const { IdlewildError } = await import('@idlewild/protocol');
      throw new IdlewildError('conflict', `${countText(wrong.length, 'case')} of ${results.length} not as expected`);
    });
}

function resultLines(results: readonly PolicyCaseResult[]): string[] {
  const lines = results.flatMap(({ name, isAsExpected, expected, message }) =>
    isAsExpected ? [`ok     ${name}`] : [`WRONG  ${name}: expected ${expected}`, `       ${message}`],
  );
  return results.every(({ isAsExpected }) => isAsExpected)
    ? [...lines, `${countText(results.length, 'case')}, all as expected`]
    : lines;
}

async function atHub(context: Context, file: string, policies: readonly PolicyText[]): Promise<PolicyCaseResult[]> {
  const { cases } = await casesIn(file);
  const { policy } = await context.client();
  return policy.test({ cases, ...(policies.length === 0 ? {} : { policies }) });
}

/** Throws `usage`, `policy_invalid`. */
async function alone(file: string, policies: readonly PolicyText[]): Promise<PolicyCaseResult[]> {
  const { testPolicies } = await import('@idlewild/hub');
  return testPolicies({ ...(await casesIn(file)), texts: policies });
}

interface CasesFile {
  readonly cases: readonly unknown[];
  /** What roles of the community's own permit; needed without a hub alone. */
  readonly roles: Readonly<Record<string, readonly string[]>>;
}

async function casesIn(file: string): Promise<CasesFile> {
  const text = await read(file);
  const { IdlewildError, messageOf } = await import('@idlewild/protocol');
  const refuse = (why: string): Error => new IdlewildError('usage', `cases in ${file}: ${why}; see docs/policy.md`);
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw refuse(messageOf(error));
  }
  const { cases, roles = {} } = Array.isArray(given) ? { cases: given } : (given as Partial<CasesFile>);
  if (!Array.isArray(cases)) throw refuse('it is neither a list of cases nor {"cases": […], "roles": {…}}');
  return { cases, roles };
}

async function textsIn(files: readonly string[]): Promise<PolicyText[]> {
  return Promise.all(
    files.map(async (file) => ({ name: basename(file).replace(/\.cedar$/, ''), text: await read(file) })),
  );
}

/** Throws `usage`. */
async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const { IdlewildError, messageOf } = await import('@idlewild/protocol');
    throw new IdlewildError('usage', `cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}
