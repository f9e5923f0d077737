/**
 * Rules of use for prompts that the hub cannot read: what a steward signed of them, and what of that holds for one
 * asker. The hub checks stewards' statements so that it shows none in vain; callers hold them against keys that they
 * pinned.
 */
import {
  IdlewildError,
  areRulesOver,
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

/**
 * What there is of a steward's word for the rules that hold: none; one that callers can take; one whose time is over;
 * or one by a key that the community has removed since.
 */
export type SignatureState = 'none' | 'holds' | 'ended' | 'removed';

export interface Signature {
  readonly state: SignatureState;
  /** When it ends or ended, where it does. */
  readonly untilMs: number | undefined;
}

export interface Signing {
  /** What a steward said; nothing where the community lists her key no longer. */
  read(signed: string): Promise<SignedRules | undefined>;
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
  async read(signed) {
    const { said, steward } = await openUseRules(carried(signed), territory, crypto);
    return (await stewards()).some((known) => equalBytes(known, steward)) ? said : undefined;
  },
  async versionOf(signed, rules) {
    const { said, steward } = await openUseRules(carried(signed), territory, crypto).catch((cause: unknown) => {
      throw notSigned("what came with them is no steward's statement of this community's rules", cause);
    });
    if (!(await stewards()).some((known) => equalBytes(known, steward)))
      throw notSigned(
        'no steward whom it lists signed them; `idlewild use apply --sign` adds the key that it signs with',
      );
    if (!equalBytes(encodeCbor(said.rules), encodeCbor(rules))) throw notSigned('other rules than these were signed');
    return said.version;
  },
});

interface Held {
  readonly now: { readonly version: number; readonly rules: UseRules; readonly signed?: string | undefined };
  readonly said?: SignedRules | undefined;
}

export function signatureOf({ now, said }: Held, nowMs: number): Signature {
  const untilMs = said?.expiresAtMs;
  if (now.signed === undefined) return { state: 'none', untilMs };
  if (said === undefined) return { state: 'removed', untilMs };
  return { state: areRulesOver(said, nowMs) ? 'ended' : 'holds', untilMs };
}

const WHY: Readonly<Record<Exclude<SignatureState, 'holds'>, string>> = {
  none: 'no steward signed them',
  ended: "the steward's word for them has ended",
  removed: 'the key by which they were signed was removed',
};

/** For rules that did not become what a steward signed. */
export const notSigned = (why: string, cause?: unknown): IdlewildError =>
  new IdlewildError('signature_invalid', `the rules of use were not changed: ${why}`, { cause });

/** Throws `use_unjudged` where something holds for which no steward stands, or none any more. */
export function sealedUseOf(
  held: Held,
  asker: Parameters<typeof holdsFor>[1],
  { exceptions, nowMs }: { readonly exceptions: ReadonlySet<string>; readonly nowMs: number },
): SealedUse | undefined {
  const { now, said } = held;
  const { version, rules } = now;
  const own = (rules.profiles ?? []).filter((profile) => holdsFor(profile, asker));
  const profiles = own.map(({ name }) => name);
  const ruled = [rules, ...own].flatMap((each) => each.rules ?? []).map(({ id }) => reasonOfRule(id));
  const except = ruled.filter((reason) => exceptions.has(reason));
  if (ruled.length === except.length && own.every(({ preamble }) => preamble === undefined)) return undefined;
  const { state } = signatureOf(held, nowMs);
  if (said === undefined || state !== 'holds') {
    const why = WHY[state === 'holds' ? 'none' : state];
    const message =
      `this community's rules of use look at texts, and ${why}, so encrypted prompts cannot be held to them: tell a ` +
      `steward (idlewild use ${state === 'none' ? 'apply --sign' : 'sign'}), or ask in the open`;
    throw new IdlewildError('use_unjudged', message);
  }
  const order = useOrderOf(said, { profiles, except });
  return order === undefined ? undefined : { version, profiles, except, order };
}
