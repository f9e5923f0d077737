/**
 * Whether a device may see a text, and if not, why: by its tier, by the pools that its asker's rights are for, by what
 * its lender signed, by what it refused. Pure; the router asks of every candidate, and the words are for whoever got no
 * device.
 */
import type { Consent } from '@idlewild/protocol';
import type { Tier } from '../policy/port.ts';
import type { Reach } from '../policy/reach.ts';
import { tierFor, type Standing } from './standing.ts';
import { sortOf, type AskedText } from './text.ts';

/** What a lender signed of texts. */
export type LentTexts = Pick<Consent, 'kinds' | 'classes' | 'causes' | 'refused'>;

export const lentTextsOf = ({ kinds, classes, causes, refused }: Consent): LentTexts => ({
  kinds: [...kinds],
  classes: [...classes],
  causes: [...causes],
  refused: [...refused],
});

/** A text, with those who may see one of its class. */
export interface TextDemand extends AskedText {
  readonly tiers: ReadonlySet<Tier>;
  /** Ids of policies that forbid it to other tiers, for those who got no device. */
  readonly forbids?: ReadonlyMap<Tier, readonly string[]>;
  /** On which devices its asker has a right to be answered. */
  readonly reach: Reach;
}

/** Of a device, what decides. */
export interface Seer {
  readonly standing: Standing;
  readonly lends: LentTexts;
  /** Sorts of texts (`sortOf`) that it refused, whatever its consent said. */
  readonly refusals: ReadonlySet<string>;
}

export type Bar =
  | { readonly t: 'tier'; readonly tier: Tier }
  /** Its lender lends for no answers. */
  | { readonly t: 'kind' }
  | { readonly t: 'class' | 'cause' | 'refused' }
  /** Its asker's right is for the devices of other pools. */
  | { readonly t: 'pool' };

/** `undefined`: it may see the text. */
export function barOf({ standing, lends, refusals }: Seer, text: TextDemand): Bar | undefined {
  const tier = tierFor(standing, text.person);
  if (!text.tiers.has(tier)) return { t: 'tier', tier };
  if (!text.reach.includes(standing.pools)) return { t: 'pool' };
  if (!lends.kinds.includes('answers')) return { t: 'kind' };
  if (!lends.classes.includes(text.dataClass)) return { t: 'class' };
  const { cause } = text;
  const isOfCause = lends.causes.length === 0 || (cause !== undefined && lends.causes.includes(cause));
  if (!isOfCause || (cause !== undefined && lends.refused.includes(cause))) return { t: 'cause' };
  return refusals.has(sortOf(text)) ? { t: 'refused' } : undefined;
}

const TIER_WORDS: Readonly<Record<Tier, string>> = {
  own: 'your own',
  vetted: 'vetted',
  member: "only a member's",
  public: 'public',
};

const listed = (words: readonly string[]): string =>
  words.length < 2 ? (words[0] ?? 'nothing') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;

/** Ids of the community's policies that keep these from the text: the same that `policy explain` tells who asks. */
export function forbiddenBy(seers: readonly Seer[], text: TextDemand): string[] {
  const bars = seers.map((seer) => barOf(seer, text));
  return [...new Set(bars.flatMap((bar) => (bar?.t === 'tier' ? (text.forbids?.get(bar.tier) ?? []) : [])))];
}

/** "none of them may see confidential data: 2 are public, 1's lender lends for public and internal data only". */
export function barsText(seers: readonly Seer[], text: TextDemand): string {
  const reasons = seers.map((seer) => reasonOf(seer, text)).filter((reason) => reason !== undefined);
  const counted = [...Map.groupBy(reasons, (reason) => reason)].map(([words, all]) => countedText(all.length, words));
  return counted.join(', ');
}

/** `{is}`: what is said of the device; else what is said of its lender. */
function reasonOf({ standing, lends, refusals }: Seer, text: TextDemand): string | undefined {
  const bar = barOf({ standing, lends, refusals }, text);
  switch (bar?.t) {
    case undefined:
      return undefined;
    case 'tier': {
      const ids = text.forbids?.get(bar.tier) ?? [];
      const forbid = ids.length === 1 ? 'forbids' : 'forbid';
      const by = ids.length === 0 ? '' : `, which ${listed(ids.map((id) => `"${id}"`))} ${forbid}`;
      return `{is} ${TIER_WORDS[bar.tier]}${by}`;
    }
    case 'pool': {
      const pools = text.reach.pools() ?? [];
      const of = `${pools.length === 1 ? 'pool' : 'pools'} ${listed(pools)}`;
      return `{is} not of the ${of}, whose devices alone may answer you`;
    }
    case 'kind':
      return `{lends} for ${listed(lends.kinds)} only`;
    case 'class':
      return `{lends} for ${listed(lends.classes)} data only`;
    case 'cause': {
      const { cause } = text;
      if (cause !== undefined && lends.refused.includes(cause)) return `{refuses} work for "${cause}"`;
      const said = cause === undefined ? ', and this request names no purpose' : '';
      return `{lends} for ${listed(lends.causes)} only${said}`;
    }
    case 'refused':
      return '{refused} such a request';
  }
}

function countedText(count: number, words: string): string {
  const isOne = count === 1;
  const lender = isOne ? `${count}'s lender` : `${count} devices' lenders`;
  return words
    .replace('{is}', `${count} ${isOne ? 'is' : 'are'}`)
    .replace('{lends}', `${lender} ${isOne ? 'lends' : 'lend'}`)
    .replace('{refuses}', `${lender} ${isOne ? 'refuses' : 'refuse'}`)
    .replace('{refused}', `${count} refused`);
}
