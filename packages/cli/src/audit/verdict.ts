/** What a look at an audit log has found, in words and in JSON. */
import { IdlewildError, hex, type CopyVerdict } from '@idlewild/protocol';
import type { Context } from '../context.ts';
import { countText, momentText } from '../text/units.ts';

/** Prints it. Throws `audit_broken` when something was found, so that scripts see it in the exit code. */
export function showVerdict(context: Context, verdict: CopyVerdict, what: string, beside: readonly string[]): void {
  context.show(verdictJson(verdict), () => [...verdictLines(verdict, what), ...beside]);
  const { findings } = verdict;
  const [first] = findings;
  if (first === undefined) return;
  const more = findings.length === 1 ? '' : ` (and ${countText(findings.length - 1, 'thing')} more, above)`;
  throw new IdlewildError('audit_broken', `${what} does not hold: ${first.why}${more}`);
}

const verdictJson = ({ intact, owner, entries, heads, head, findings }: CopyVerdict): object => ({
  intact,
  territory: owner?.id ?? null,
  entries,
  heads,
  signed:
    head === undefined
      ? null
      : { entries: head.size, at: new Date(head.atMs).toISOString(), root: hex(head.root), epoch: head.epoch },
  findings,
});

function verdictLines({ intact, owner, entries, head, findings }: CopyVerdict, what: string): string[] {
  if (!intact) return findings.map(({ kind, why }) => `${kind}: ${why}`);
  const signed =
    head === undefined
      ? 'no head is signed over it yet: nobody vouches for it'
      : `${countText(head.size, 'entry', 'entries')} signed ${momentText(head.atMs)}, root ${hex(head.root)}`;
  const rest = entries - (head?.size ?? 0);
  return [
    `${what} holds: ${countText(entries, 'entry', 'entries')} of ${owner?.id ?? 'nobody'}`,
    signed,
    ...(head !== undefined && rest > 0
      ? [`${countText(rest, 'entry', 'entries')} after that, chained and not signed yet`]
      : []),
  ];
}
