/** The transparency report for people: plain lines for a terminal, or Markdown to publish. */
import type { AuditReport } from '@idlewild/client';
import { wattHoursText } from '../text/units.ts';

interface Section {
  readonly title: string;
  readonly rows: readonly (readonly [what: string, count: string])[];
  readonly note?: string;
}

export function reportLines(report: AuditReport, markdown: boolean): string[] {
  const { community, from, to, log } = report;
  const about = `${from.slice(0, 10)} to ${lastDay(to)}, UTC`;
  const name = plain(community.name, markdown);
  const head = markdown
    ? [`# Transparency report: ${name}`, '', `${about}. Community \`${community.id}\`.`]
    : [`${name} (${community.id})`, about];
  const made =
    log === null
      ? 'No head of the audit log is signed yet.'
      : `From an audit log of ${log.entries} entries, signed ${log.signedAt}, root ${quoted(log.root, markdown)}.`;
  return [...head, '', ...sectionsOf(report).flatMap((section) => linesOf(section, markdown)), made];
}

/** `to` is the instant after it. */
const lastDay = (to: string): string => new Date(Date.parse(to) - 1).toISOString().slice(0, 10);

function sectionsOf(report: AuditReport): Section[] {
  const { requests, refusals, appeals, denials, members, devices, keys, policyChanges, energy } = report;
  const { byState } = requests;
  const { wattHours, receipts, untold } = energy;
  return [
    {
      title: 'Requests',
      rows: [
        ['asked', String(requests.total)],
        ['answered', String(byState.done)],
        ['failed', String(byState.failed)],
        ['cancelled by their callers', String(byState.cancelled)],
        ['still open', String(byState.open)],
        ...counted(requests.byReason, 'reason '),
      ],
    },
    { title: 'Refused, by reason', rows: counted(refusals) },
    {
      title: 'Appeals against refusals',
      rows: [
        ['filed', String(appeals.filed)],
        ['reversed: the refusal was wrong', String(appeals.reversed)],
        ['upheld: the refusal stands', String(appeals.upheld)],
        ['withdrawn', String(appeals.withdrawn)],
        ['open', String(appeals.open)],
      ],
    },
    { title: 'Denied at the door', rows: counted(denials) },
    {
      title: 'People, keys and devices',
      rows: [
        ['members admitted', String(members.admitted)],
        ['members removed', String(members.removed)],
        ['members suspended', String(members.suspended)],
        ['keys made', String(keys.created)],
        ['keys revoked', String(keys.revoked)],
        ['devices admitted', String(devices.admitted)],
        ['devices revoked', String(devices.revoked)],
        ['devices taken away by their lenders', String(devices.left)],
      ],
    },
    { title: 'Changes of policies, roles and limits', rows: counted(policyChanges) },
    {
      title: 'Energy',
      rows: [
        ['Wh, measured by devices', wattHoursText(wattHours.measured)],
        ['Wh, modelled by devices', wattHoursText(wattHours.modelled)],
      ],
      note:
        `As devices say in ${receipts.measured + receipts.modelled} receipts: what they drew beyond what they ` +
        `would have drawn without the work. Of ${untold} answers nothing is told.`,
    },
  ];
}

const counted = (counts: Readonly<Record<string, number>>, before = ''): [string, string][] =>
  Object.entries(counts).map(([what, count]) => [`${before}${what}`, String(count)]);

function linesOf({ title, rows, note }: Section, markdown: boolean): string[] {
  const beside = note === undefined ? [] : [note, ''];
  if (markdown) {
    const table = rows.map(([what, count]) => `| ${plain(what, true)} | ${count} |`);
    const body = rows.length === 0 ? ['None.'] : ['| | |', '|---|---:|', ...table];
    return [`## ${title}`, '', ...body, '', ...beside];
  }
  const width = Math.max(0, ...rows.map(([, count]) => count.length));
  const body = rows.length === 0 ? ['  none'] : rows.map(([what, count]) => `  ${count.padStart(width)}  ${what}`);
  return [title, ...body, ...(note === undefined ? [] : [`  ${note}`]), ''];
}

const quoted = (text: string, markdown: boolean): string => (markdown ? `\`${text}\`` : text);

/** Names come from elsewhere; in Markdown they are to stay words. */
const plain = (text: string, markdown: boolean): string =>
  markdown ? text.replace(/[\\`*_{}[\]<>()#+!|~-]/g, (sign) => `\\${sign}`).replace(/\s+/g, ' ') : text;
