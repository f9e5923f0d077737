/** `idlewild audit`: what was done in a community, and the proof that nobody has changed it since. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { ListOptions } from '../audit/list.ts';
import { contextOf, type Context } from '../context.ts';
import { parseMoment } from '../text/duration.ts';
import { countText } from '../text/units.ts';

export function addAuditCommands(program: Command): void {
  const audit = program
    .command('audit')
    .summary('read, copy and verify the audit log')
    .description(
      "Read a community's audit log, copy it, verify it, and report from it: acts of stewards, denials, admissions " +
        'and the use of keys. Prompts and answers are never in it.',
    )
    .addHelpText('after', '\nExample:\n  $ idlewild audit verify');
  addList(audit);
  addExport(audit);
  addVerify(audit);
  addProve(audit);
  addVerifyEntry(audit);
  addReport(audit);
}

const TERRITORY = [
  '--territory <id>',
  'the community that it must be of, as `idlewild status --json` names it',
] as const;

function addList(audit: Command): void {
  const time = (text: string): number => parseMoment(text, Date.now());
  audit
    .command('list')
    .summary('list the newest entries, or those that are looked for')
    .description(
      'List entries of the audit log, the newest first. Options narrow it down, and what is listed fits all of them. ' +
        'A name stands for a member with the keys that are hers, a key or a device.',
    )
    .option('--actor <who...>', 'who did it: names or ids, `hub`, or `stranger` for whoever has no key that is known')
    .option('--action <action...>', 'what was done, like createKey; * stands for any characters: "create*", "*Key"')
    .option('--subject <what...>', 'on what: names or ids')
    .addOption(new Option('--denied', 'what was refused').conflicts('action'))
    .option('--since <time>', 'from then on: how long ago, like 2h or 3d, or 2026-10-01, or 2026-10-01T14:30', time)
    .option('--until <time>', 'before then', time)
    .option('--before <number>', 'those before this entry', parseSeq)
    .option('--after <number>', 'those after this entry', parseSeq)
    .option('--oldest', 'the oldest first')
    .option('--limit <count>', 'how many at most', parseCount, 200)
    .addOption(
      new Option('--follow', 'then go on with what comes, until Ctrl-C').conflicts(['until', 'before', 'oldest']),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild audit list --denied --since 2h' +
        '\n  $ idlewild audit list --actor Ada --action "*Key" --since 2026-10-01',
    )
    .action(async (options: ListOptions, command: Command) => {
      const context = contextOf(command);
      const { listAudit } = await import('../audit/list.ts');
      await listAudit(context, await context.client(), options);
    });
}

function addExport(audit: Command): void {
  audit
    .command('export')
    .summary('copy the log into a file')
    .description(
      'Copy the whole audit log into a file of JSON lines that anybody can verify without the hub: entries, the ' +
        "hub's signed heads, its certificate and the community's key.",
    )
    .argument('<file>', 'where to')
    .addHelpText('after', '\nExample:\n  $ idlewild audit export audit.jsonl')
    .action(async (file: string, _: unknown, command: Command) => {
      const context = contextOf(command);
      const { openLog } = await import('../audit/source.ts');
      const { writeLines } = await import('../audit/files.ts');
      const log = await openLog(await context.client());
      let entries = 0;
      await writeLines(
        file,
        log.lines((count) => {
          entries = count;
        }),
      );
      const result = { file, territory: log.owner.id, entries, heads: log.heads.length };
      context.show(result, () => [
        `${countText(entries, 'entry', 'entries')} and ${countText(result.heads, 'signed head')} of ${log.name} ` +
          `in ${file}`,
        `verify it anywhere: idlewild audit verify ${file} --territory ${log.owner.id}`,
      ]);
    });
}

interface VerifyOptions {
  readonly against?: string;
  readonly territory?: string;
  readonly quick?: boolean;
}

function addVerify(audit: Command): void {
  audit
    .command('verify')
    .summary("verify a copy, or the hub's log")
    .description(
      'Verify a copy offline; it finds what was changed, removed, reordered, cut off or rewritten, and names it. ' +
        'Without a file the log of the hub is verified, against what was seen of it from this machine before.',
    )
    .argument('[file]', 'a copy, from `idlewild audit export`')
    .option('--against <file>', 'an older copy, or heads of one, that this one must go on from')
    .option(...TERRITORY)
    .option('--quick', "of the hub's log only whether its newest head goes on from the one seen before")
    .addHelpText(
      'after',
      '\nExamples:\n  $ idlewild audit verify\n  $ idlewild audit verify new.jsonl --against old.jsonl',
    )
    .action(async (file: string | undefined, options: VerifyOptions, command: Command) => {
      const context = contextOf(command);
      if (file !== undefined) return verifyFile(context, file, options);
      const { verifyHub, verifyGrowth } = await import('../audit/verify-hub.ts');
      const client = await context.client();
      await (options.quick === true ? verifyGrowth : verifyHub)(context, client, options);
    });
}

async function verifyFile(context: Context, file: string, { against, territory, quick }: VerifyOptions): Promise<void> {
  const { verifyCopy, IdlewildError } = await import('@idlewild/protocol');
  const { nodeCrypto } = await import('@idlewild/protocol/node');
  const { linesIn, readKnown } = await import('../audit/files.ts');
  const { showVerdict } = await import('../audit/verdict.ts');
  if (quick === true) throw new IdlewildError('usage', '--quick is for the log of a hub; a file is read as a whole');
  const older = against === undefined ? undefined : await readKnown(against);
  const verdict = await verifyCopy(linesIn(file), nodeCrypto, { community: territory, older });
  const beside = !verdict.intact
    ? []
    : [
        ...(older === undefined ? [] : [`it goes on from ${against}`]),
        ...(territory === undefined
          ? ['whose it is, it says itself; --territory holds it to the one that you mean']
          : []),
      ];
  showVerdict(context, verdict, 'the copy', beside);
}

function addProve(audit: Command): void {
  audit
    .command('prove')
    .summary('prove that an entry is in the log')
    .description(
      'Print an entry with the proof that it is in the log, as JSON to be kept in a file: whoever has it needs ' +
        'neither the hub nor the other entries.',
    )
    .argument('<number>', 'of the entry', parseSeq)
    .addHelpText('after', '\nExample:\n  $ idlewild audit prove 12 > entry-12.json')
    .action(async (seq: number, _: unknown, command: Command) => {
      const context = contextOf(command);
      const { verifyEntryProof } = await import('@idlewild/protocol');
      const { nodeCrypto } = await import('@idlewild/protocol/node');
      const proof = await (await context.client()).audit.proof(seq);
      await verifyEntryProof(proof, nodeCrypto);
      context.printJson(proof);
    });
}

function addVerifyEntry(audit: Command): void {
  audit
    .command('verify-entry')
    .summary('verify the proof of an entry, offline')
    .description('Verify what `idlewild audit prove` printed. Asks nobody: name the community whose word counts.')
    .argument('<file>', 'where the proof is kept')
    .option(...TERRITORY)
    .addHelpText('after', '\nExample:\n  $ idlewild audit verify-entry entry-12.json --territory ter_…')
    .action(async (file: string, { territory }: { territory?: string }, command: Command) => {
      const context = contextOf(command);
      const { verifyEntryProof } = await import('@idlewild/protocol');
      const { nodeCrypto } = await import('@idlewild/protocol/node');
      const { readJson } = await import('../audit/files.ts');
      const { owner, entry, head } = await verifyEntryProof(await readJson(file), nodeCrypto, territory);
      const { seq, atMs, actor, action, subject, details } = entry;
      const at = new Date(atMs).toISOString();
      const signedAt = new Date(head.atMs).toISOString();
      const result = {
        territory: owner.id,
        entry: { seq, at, actor, action, subject, details: JSON.parse(details) as unknown },
        signed: { entries: head.size, at: signedAt },
      };
      context.show(result, () => [
        `good: entry ${seq} of ${owner.id}: ${at} ${actor} ${action} ${subject} ${details}`,
        `in the log of ${countText(head.size, 'entry', 'entries')} that its hub signed ${signedAt}`,
      ]);
    });
}

interface ReportOptions {
  readonly from?: string;
  readonly to?: string;
  readonly markdown?: boolean;
}

const DAY_MS = 86_400_000;
const DAYS = 30;

function addReport(audit: Command): void {
  audit
    .command('report')
    .summary('the transparency report')
    .description(
      'Report what the community was asked, what was refused and why, what its stewards changed, and the energy ' +
        'that it took. Numbers only: nobody is named.',
    )
    .option('--from <day>', 'the first day, like 2026-10-01 (UTC; default: 30 days, the last one included)', parseDay)
    .option('--to <day>', 'the last day (default: today)', parseDay)
    .option('--markdown', 'as a document to publish')
    .addHelpText('after', '\nExample:\n  $ idlewild audit report --from 2026-10-01 --to 2026-10-31 --markdown')
    .action(async (options: ReportOptions, command: Command) => {
      const context = contextOf(command);
      const last = options.to ?? new Date().toISOString().slice(0, 10);
      const toMs = Date.parse(last) + DAY_MS;
      const from = options.from ?? new Date(toMs - DAYS * DAY_MS).toISOString().slice(0, 10);
      const client = await context.client();
      const range = { from: `${from}T00:00:00.000Z`, to: new Date(toMs).toISOString() };
      const report = await client.audit.report(range);
      const { reportLines } = await import('../audit/report-text.ts');
      context.show(report, () => reportLines(report, options.markdown === true));
    });
}

function parseSeq(text: string): number {
  const seq = Number(text);
  if (!/^\d{1,10}$/.test(text) || seq < 1) throw new InvalidArgumentError('It is the number of an entry, 1 or more.');
  return seq;
}

/** What is more is for `idlewild audit export`. */
const LISTED_MAX = 10_000;

function parseCount(text: string): number {
  const count = Number(text);
  if (/^\d{1,6}$/.test(text) && count >= 1 && count <= LISTED_MAX) return count;
  throw new InvalidArgumentError(`It is a number, 1 to ${LISTED_MAX}; \`audit export\` copies the whole log.`);
}

function parseDay(text: string): string {
  const atMs = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(atMs) || new Date(atMs).toISOString().slice(0, 10) !== text)
    throw new InvalidArgumentError('It is a day, like 2026-10-01.');
  return text;
}
