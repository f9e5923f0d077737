/**
 * Groups and roles that a territory's own policies name.
 *
 * What such a policy gives or takes stands in no role's list, so nobody but a steward can be said to hold it: she alone
 * puts people into these groups, takes them out, and gives or takes these roles. Texts are read, not parsed: where one
 * names something in a way that is not seen through here, it is taken to name everything of that kind.
 */
import type { Database } from '../db/schema.ts';

export interface PolicyNames {
  namesGroup(name: string): boolean;
  namesRole(name: string): boolean;
}

const NOTHING: PolicyNames = { namesGroup: () => false, namesRole: () => false };

export async function policyNames(source: Database, territory: string): Promise<PolicyNames> {
  const rows = await source.selectFrom('policies').select('text').where('territory_id', '=', territory).execute();
  if (rows.length === 0) return NOTHING;
  const texts = rows.map(({ text }) => text);
  return { namesGroup: namer(texts, 'Group'), namesRole: namer(texts, 'Role') };
}

function namer(texts: readonly string[], kind: 'Group' | 'Role'): (name: string) => boolean {
  const whole = new RegExp(`\\b${kind}\\s*::\\s*"([^"\\\\]*)"`, 'g');
  const mentions = new RegExp(`\\b${kind}\\b`, 'g');
  const names = new Set<string>();
  let isUnclear = false;
  for (const text of texts) {
    const found = [...text.matchAll(whole)];
    for (const [, name] of found) names.add(name ?? '');
    // An escape, a comment in between, or the kind as a whole: `principal in [...]` is not, `is Group` would be.
    if ([...text.matchAll(mentions)].length !== found.length) isUnclear = true;
  }
  return (name) => isUnclear || names.has(name);
}
