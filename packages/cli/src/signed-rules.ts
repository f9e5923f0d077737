/**
 * Rules of use as a steward signs them, on the steward's own machine: with the version that they will be, and with what
 * classifiers' names stand for. Those names are the hub's word; what they stood for is told, and holds from then on.
 */
import type { Client } from '@idlewild/client';
import type { ClassifierMeaning, UseRules } from '@idlewild/protocol';
import type { Context } from './context.ts';
import { readyToSign } from './vouching.ts';

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
  after: number | undefined,
): Promise<SignedChange> {
  const { IdlewildError, signUseRules } = await import('@idlewild/protocol');
  const { nodeCrypto } = await import('@idlewild/protocol/node');
  const { version: before } = await client.use.current();
  if (after !== undefined && after !== before)
    throw new IdlewildError('conflict', `the rules that hold are of version ${before}, not ${after}; look again`);
  const classifiers = await meaningsOf(client, rules);
  for (const { rule, model } of classifiers) context.note(`the classifier of "${rule}" is ${model}`);
  const { key, territory } = await readyToSign(context, client);
  const said = { territory, version: before + 1, rules, classifiers, issuedAtMs: Date.now() };
  return { signed: Buffer.from(await signUseRules(said, key, nodeCrypto)).toString('base64url'), after: before };
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
