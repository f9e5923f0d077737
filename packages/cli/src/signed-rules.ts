/**
 * Rules of use as a steward signs them, on the steward's own machine: with the version that they will be, with what
 * classifiers' names stand for, and until when her word holds. Those names are the hub's word; what they stood for is
 * told, and holds from then on. The version is above all that were seen on this machine, so that callers take them also
 * from a hub that was restored from an older backup.
 */
import { existsSync } from 'node:fs';
import type { Client } from '@idlewild/client';
import type { ClassifierMeaning, UseRules } from '@idlewild/protocol';
import type { Context } from './context.ts';
import { seenRulesIn } from './seen-rules.ts';
import { signingKeyFile, stewardSigningKey } from './steward-signing.ts';
import { bytesOf, readyToSign } from './vouching.ts';

/**
 * A year: callers remember what they saw and take nothing older, so an end is there for those alone who never saw the
 * newest. One that comes too soon stops a community's encrypted prompts while its steward is away.
 */
export const RULES_SECONDS_DEFAULT = 365 * 86_400;

export interface Signing {
  /** Only where the rules that hold are of this version. */
  readonly after?: number | undefined;
  /** Seconds. */
  readonly expires: number | 'never';
  /** What classifiers stand for, where that is known; absent: as the hub says. */
  readonly known?: readonly ClassifierMeaning[] | undefined;
}

export interface SignedChange {
  readonly signed: string;
  /** What they were signed to come after. */
  readonly after: number;
}

/** Throws `conflict` for a classifier that has no such label, and for rules of another version than `after`. */
export async function signRules(
  context: Context,
  client: Client,
  rules: UseRules,
  { after, expires, known: renewed }: Signing,
): Promise<SignedChange> {
  const { IdlewildError, LIMITS, hex, signUseRules } = await import('@idlewild/protocol');
  const { nodeCrypto } = await import('@idlewild/protocol/node');
  const { version: before } = await client.use.current();
  if (after !== undefined && after !== before)
    throw new IdlewildError('conflict', `the rules that hold are of version ${before}, not ${after}; look again`);
  const classifiers = renewed ?? (await meaningsOf(client, rules));
  for (const { rule, model } of classifiers) context.note(`the classifier of "${rule}" is ${model}`);
  const { key, territory } = await readyToSign(context, client);
  const seen = seenRulesIn();
  const known = await seen.of(hex(territory));
  const stewards = (await client.stewards.list()).filter((steward) => steward.removedAt === null);
  const counted = [key.publicKey, ...stewards.map((steward) => bytesOf(steward.key))];
  const last = Math.max(0, ...counted.map((each) => known.get(hex(each))?.version ?? 0));
  if (before > last + LIMITS.useVersionsSkippedMax)
    throw new IdlewildError(
      'conflict',
      `the hub says that the rules are at version ${before}, and ${last} was seen here; nothing was signed, for ` +
        'callers would take nothing below that any more. If it is true, ask whoever runs the hub',
    );
  const version = Math.max(before, last) + 1;
  if (version > before + 1)
    context.note(`version ${version - 1} was seen here, and the hub has ${before}: was it restored from a backup?`);
  const issuedAtMs = Date.now();
  const lasting = expires === 'never' ? {} : { expiresAtMs: issuedAtMs + expires * 1_000 };
  const said = { territory, version, rules, classifiers: [...classifiers], issuedAtMs, ...lasting };
  const signed = await signUseRules(said, key, nodeCrypto);
  await seen.note(hex(territory), hex(key.publicKey), said);
  return { signed: Buffer.from(signed).toString('base64url'), after: before };
}

/**
 * What classifiers stood for when the key on this machine signed just these rules, if it did, and nothing later: what
 * the hub says of either is not taken for it, nor is a word of before, by which it would have old rules renewed.
 */
export async function ownWord(
  client: Client,
  { signed, rules }: { readonly signed: string | null; readonly rules: UseRules },
): Promise<readonly ClassifierMeaning[] | undefined> {
  const file = signingKeyFile();
  if (signed === null || !existsSync(file)) return undefined;
  const { encodeCbor, equalBytes, hex, openUseRules } = await import('@idlewild/protocol');
  const { nodeCrypto, nodeRandom } = await import('@idlewild/protocol/node');
  const { key } = await stewardSigningKey(file, { crypto: nodeCrypto, random: nodeRandom });
  const { territory } = await client.wellKnown();
  const { said, steward } = await openUseRules(bytesOf(signed), bytesOf(territory.key), nodeCrypto);
  const last = (await seenRulesIn().of(hex(said.territory))).get(hex(key.publicKey));
  const isLast = last?.version === said.version && last.issuedAtMs === said.issuedAtMs;
  const isOwn = equalBytes(steward, key.publicKey) && equalBytes(encodeCbor(said.rules), encodeCbor(rules));
  return isLast && isOwn ? said.classifiers : undefined;
}

async function meaningsOf(client: Client, rules: UseRules): Promise<ClassifierMeaning[]> {
  const { IdlewildError } = await import('@idlewild/protocol');
  const all = [rules, ...(rules.profiles ?? [])].flatMap((each) => each.rules ?? []);
  const meanings: ClassifierMeaning[] = [];
  for (const rule of all) {
    if (rule.kind !== 'classifier') continue;
    const { cid, labels = [] } = await client.models.get(rule.model);
    const missing = rule.labels.find((label) => !labels.includes(label));
    if (missing !== undefined)
      throw new IdlewildError(
        'conflict',
        `"${rule.model}" has ${labels.join(', ') || 'no labels'}, and no "${missing}"`,
      );
    meanings.push({ rule: rule.id, model: cid, labels: rule.labels.map((label) => labels.indexOf(label)) });
  }
  return meanings;
}
