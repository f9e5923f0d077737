/** `idlewild use`: what a community's commons are not to be used for. A fresh community says nothing. */
import { readFile } from 'node:fs/promises';
import type { UseRules } from '@idlewild/protocol';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { several } from '../several.ts';
import { parseDurationSeconds } from '../text/duration.ts';
import { signatureText } from '../text/signature.ts';
import { tableLines } from '../text/table.ts';
import { countText, whenText } from '../text/units.ts';

export function addUseCommands(program: Command): void {
  const use = program
    .command('use')
    .summary('what a community is not to be used for')
    .description(
      'Rules of use: lists of models and purposes, rules on prompts, stricter profiles for some groups and keys. A ' +
        'community that says nothing has none. Everybody may read them; whoever is refused is told the reason and ' +
        'may appeal.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild use apply rules.json');
  addShow(use);
  addApply(use);
  addSign(use);
  addTry(use);
  addHistory(use);
  addOff(use);
}

function addShow(use: Command): void {
  use
    .command('show')
    .summary('the rules that hold')
    .description('Print the rules that hold, as the JSON that `idlewild use apply` takes.')
    .addHelpText('after', '\nExample:\n  $ idlewild use show > rules.json')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const current = await (await context.client()).use.current();
      context.note(current.version === 0 ? 'no rules were ever made here' : `version ${current.version}`);
      const { looksAtTexts } = await import('@idlewild/protocol');
      if (looksAtTexts(current.rules)) context.note(signatureText(current, Date.now()).text);
      context.show(current, () => JSON.stringify(current.rules, null, 2).split('\n'));
    });
}

interface ApplyOptions {
  readonly after?: number;
  readonly sign?: boolean;
  readonly expires?: number | 'never';
}

/** Throws commander's error, as `parseDurationSeconds` does. */
const expiresIn = (text: string): number | 'never' => (text === 'never' ? text : parseDurationSeconds(text));
const EXPIRES_OPTION = '--expires <duration>';

function addApply(use: Command): void {
  use
    .command('apply')
    .summary('change the rules')
    .description(
      'Hold the community to the rules of a file, from now on, instead of those that hold now. They are checked ' +
        'first; the old ones stay in the history. With --sign you sign them with your key on this machine: only such ' +
        'rules are counted for end-to-end encrypted prompts, since a hub could make up rules to learn what is in them.',
    )
    .argument('<file>', 'JSON, as docs/use.md describes it')
    .option('--after <version>', 'only if the rules that hold are of this version', Number)
    .option('--sign', 'sign them as a steward, so that encrypted prompts are held to them, too')
    .option(EXPIRES_OPTION, 'how long the signature holds, like 180d, or never (default: a year)', expiresIn)
    .addHelpText('after', '\nExample:\n  $ idlewild use apply rules.json --sign')
    .action(async (file: string, { after, sign = false, expires }: ApplyOptions, command: Command) => {
      const context = contextOf(command);
      const rules = await rulesIn(file);
      const client = await context.client();
      const { looksAtTexts } = await import('@idlewild/protocol');
      if (expires !== undefined && !sign) {
        const { IdlewildError } = await import('@idlewild/protocol');
        throw new IdlewildError('usage', '--expires is of a signature; write --sign, too');
      }
      const signing = sign ? await import('../signed-rules.ts') : undefined;
      const lasting = { after, expires: expires ?? signing?.RULES_SECONDS_DEFAULT ?? 'never' };
      const signed = (await signing?.signRules(context, client, rules, lasting)) ?? { after };
      const { version } = await client.use.apply({ rules, ...signed });
      if (!sign && looksAtTexts(rules))
        context.note(
          'nobody signed them, so end-to-end encrypted prompts that they hold for are refused; --sign as a steward',
        );
      context.show({ version, isSigned: sign }, () => [
        `version ${version} holds${sign ? ', signed' : ''}: ${summary(rules)}`,
      ]);
    });
}

function addSign(use: Command): void {
  use
    .command('sign')
    .summary('sign the rules that hold, again')
    .description(
      'Sign the rules that hold with your key on this machine, as a new version: before a signature ends, after the ' +
        'key of another steward was removed, or after the hub was restored from a backup. Rules that this key has ' +
        'not signed before are shown, and signed at your yes: the hub says what holds.',
    )
    .option(EXPIRES_OPTION, 'how long the signature holds, like 180d, or never (default: a year)', expiresIn)
    .option('--yes', 'do not ask: you know these rules')
    .addHelpText('after', '\nExample:\n  $ idlewild use sign --expires 180d')
    .action(async (options: { expires?: number | 'never'; yes?: boolean }, command: Command) => {
      const context = contextOf(command);
      const client = await context.client();
      const { RULES_SECONDS_DEFAULT, ownWord, signRules } = await import('../signed-rules.ts');
      const { isSure } = await import('../sure.ts');
      const current = await client.use.current();
      const { rules, version: after } = current;
      const known = await ownWord(client, current);
      if (known === undefined) {
        for (const line of JSON.stringify(rules, null, 2).split('\n')) context.note(line);
        const doing = 'signing rules that your key has not signed before';
        if (!(await isSure(context, options.yes === true, doing, 'Are these the rules, and do you sign them?')))
          return context.note('nothing was signed');
      }
      const signed = await signRules(context, client, rules, {
        after,
        known,
        expires: options.expires ?? RULES_SECONDS_DEFAULT,
      });
      const { version } = await client.use.apply({ rules, ...signed });
      const { signature, signedUntil } = await client.use.current();
      context.show({ version, signature, signedUntil }, () => [
        `version ${version} holds: ${signatureText({ signature, signedUntil }, Date.now()).text}`,
      ]);
      return undefined;
    });
}

/** Throws `usage`, naming what is wrong and where. */
async function rulesIn(file: string): Promise<UseRules> {
  const { IdlewildError, messageOf, useRulesSchema } = await import('@idlewild/protocol');
  let given: unknown;
  try {
    given = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new IdlewildError('usage', `cannot read rules of use from ${file}: ${messageOf(cause)}`, { cause });
  }
  const parsed = useRulesSchema.safeParse(given);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? 'as a whole' : `at ${issue.path.join('.')}`;
  throw new IdlewildError('usage', `${file} is not right ${place}: ${issue?.message ?? 'unknown'}; see docs/use.md`);
}

function summary({ rules = [], profiles = [], models, purposes, sealed }: UseRules): string {
  const parts = [
    ...(models === undefined ? [] : ['a list of models']),
    ...(purposes === undefined ? [] : ['a list of purposes']),
    ...(rules.length === 0 ? [] : [countText(rules.length, 'rule')]),
    ...(profiles.length === 0 ? [] : [countText(profiles.length, 'profile')]),
    ...(sealed === 'refused' ? ['no end-to-end encrypted prompts'] : []),
  ];
  return parts.length === 0 ? 'no rule at all' : parts.join(', ');
}

interface TryOptions {
  readonly model?: string;
  readonly purpose?: string;
  readonly group: readonly string[];
  readonly ofKey?: string;
  readonly sealed?: boolean;
}

function addTry(use: Command): void {
  use
    .command('try')
    .summary('what the rules would say to a prompt')
    .description('Hold a prompt against the rules, without asking for an answer and without a record.')
    .argument('[text]', 'the prompt; needed without --sealed')
    .option('-m, --model <name>', 'the model that it would be for (default: the only one that makes text)')
    .option('--purpose <slug>', 'what it would be for')
    .option('--group <name>', 'as somebody in this group; several may be given', several, [])
    .option('--of-key <name>', 'as with this key, by the name or id that a profile says')
    .option('--sealed', 'as an end-to-end encrypted prompt, of which only the circumstances are known')
    .addHelpText('after', '\nExample:\n  $ idlewild use try -m jacobean --group children "How do I make gunpowder?"')
    .action(async (text: string | undefined, { group, ofKey, ...options }: TryOptions, command: Command) => {
      const context = contextOf(command);
      if ((text === undefined) !== (options.sealed === true)) {
        const { IdlewildError } = await import('@idlewild/protocol');
        const why =
          text === undefined ? 'say the TEXT to try' : 'nobody reads the text of what is sealed; leave it out';
        throw new IdlewildError('usage', `${why}, as in: idlewild use try --group children "…"`);
      }
      const client = await context.client();
      const { onlyModel } = await import('./chat.ts');
      const model = options.model ?? (await onlyModel(client));
      const verdict = await client.use.try({
        ...options,
        model,
        groups: group,
        ...(ofKey === undefined ? {} : { keys: [ofKey] }),
        ...(text === undefined ? {} : { text }),
      });
      const { isRefused, reason, why } = verdict;
      context.show(verdict, () => [isRefused ? `refused (${reason}): ${why}` : 'let by']);
    });
}

function addHistory(use: Command): void {
  use
    .command('history')
    .summary('earlier versions of the rules')
    .description('List the versions of the rules, newest first; with --json with the rules of each.')
    .addHelpText('after', '\nExample:\n  $ idlewild use history --json')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const versions = await (await context.client()).use.history();
      const nowMs = Date.now();
      context.show(versions, () =>
        tableLines(
          [{ title: 'VERSION', align: 'right' }, { title: 'MADE' }, { title: 'BY' }, { title: 'WHAT' }],
          versions.map(({ version, createdAt, createdBy, rules }) => [
            String(version),
            whenText(createdAt, nowMs),
            createdBy ?? '',
            summary(rules),
          ]),
        ),
      );
    });
}

function addOff(use: Command): void {
  use
    .command('off')
    .summary('no rules any more')
    .description('Take all rules of use away; they stay in the history.')
    .addHelpText('after', '\nExample:\n  $ idlewild use off')
    .action(async (_: unknown, command: Command) => {
      const context = contextOf(command);
      const { version } = await (await context.client()).use.apply({ rules: { v: 1 } });
      context.show({ version }, () => [`version ${version} holds: no rule at all`]);
    });
}
