/**
 * Rules of use for prompts that the hub cannot read: what a steward signed of them, and what of that holds for one
 * asker. The hub checks stewards' statements so that it shows none in vain; callers hold them against keys that they
 * pinned.
 */
import {
  IdlewildError,
  encodeCbor,
  equalBytes,
  holdsFor,
  openUseRules,
  reasonOfRule,
  useOrderOf,
  type Crypto,
  type SignedRules,
  type UseHolding,
  type UseOrder,
  type UseRules,
} from '@idlewild/protocol';

/** What holds for one asker. */
export interface SealedUse extends UseHolding {
  /** Of the rules. */
  readonly version: number;
  readonly order: UseOrder;
}

export interface Signing {
  /** What a steward said. */
  read(signed: string): Promise<SignedRules>;
  /** As what version they were signed. Throws `signature_invalid` for what no listed steward said of these rules. */
  versionOf(signed: string, rules: UseRules): Promise<number>;
}

export interface SigningDeps {
  readonly crypto: Crypto;
  /** Public key of the territory. */
  readonly territory: Uint8Array;
  /** Public keys of the stewards that it lists. */
  readonly stewards: () => Promise<readonly Uint8Array[]>;
}

const carried = (signed: string): Uint8Array => new Uint8Array(Buffer.from(signed, 'base64url'));

export const createSigning = ({ crypto, territory, stewards }: SigningDeps): Signing => ({
  read: async (signed) => (await openUseRules(carried(signed), territory, crypto)).said,
  async versionOf(signed, rules) {
    const { said, steward } = await openUseRules(carried(signed), territory, crypto).catch((cause: unknown) => {
      throw notSigned("what came with them is no steward's statement of this community's rules", cause);
    });
    if (!(await stewards()).some((known) => equalBytes(known, steward)))
      throw notSigned('no steward whom this community lists signed them; add the key: idlewild stewards add');
    if (!equalBytes(encodeCbor(said.rules), encodeCbor(rules))) throw notSigned('other rules than these were signed');
    return said.version;
  },
});

/** For rules that did not become what a steward signed. */
export const notSigned = (why: string, cause?: unknown): IdlewildError =>
  new IdlewildError('signature_invalid', `the rules of use were not changed: ${why}`, { cause });

/** Throws `use_unjudged` where something holds that nobody signed. */
export function sealedUseOf(
  {
    now: { version, rules },
    said,
  }: { readonly now: { version: number; rules: UseRules }; readonly said?: SignedRules | undefined },
  asker: Parameters<typeof holdsFor>[1],
  exceptions: ReadonlySet<string>,
): SealedUse | undefined {
  const own = (rules.profiles ?? []).filter((profile) => holdsFor(profile, asker));
  const profiles = own.map(({ name }) => name);
  const ruled = [rules, ...own].flatMap((each) => each.rules ?? []).map(({ id }) => reasonOfRule(id));
  const except = ruled.filter((reason) => exceptions.has(reason));
  if (ruled.length === except.length && own.every(({ preamble }) => preamble === undefined)) return undefined;
  if (said === undefined) {
    const message =
      "this community's rules of use look at texts, and no steward signed them, so encrypted prompts cannot be held " +
      'to them: tell a steward (idlewild use apply --sign), or ask in the open';
    throw new IdlewildError('use_unjudged', message);
  }
  const order = useOrderOf(said, { profiles, except });
  return order === undefined ? undefined : { version, profiles, except, order };
}
