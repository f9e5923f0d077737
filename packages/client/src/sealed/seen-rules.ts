/**
 * The newest rules of use that a caller has seen of each community, by the steward who signed them: no hub shows older
 * ones in their place, as The Update Framework has it for versions of metadata ("rollback attack", specification 1.0,
 * 5.4.3).
 *
 * What counts is the newest of those stewards who are pinned now. Whoever took a steward's key can sign a version that
 * nobody reaches again; with the key, that goes out of the caller's pins, and so out of what counts.
 */
import { areRulesOlder, hex, type MaybePromise, type SignedRules } from '@idlewild/protocol';

export type SeenVersion = Pick<SignedRules, 'version' | 'issuedAtMs'>;

/** Where it is remembered; keys are hexadecimal. */
export interface SeenRules {
  /** By steward. */
  of(territory: string): MaybePromise<ReadonlyMap<string, SeenVersion>>;
  /** Newer than what `of` gives of this steward. Resolves once it is kept. */
  note(territory: string, steward: string, seen: SeenVersion): MaybePromise<void>;
}

/** As long as whoever holds it lives: a page, a script. */
export function createSeenRules(): SeenRules {
  const all = new Map<string, Map<string, SeenVersion>>();
  const of = (territory: string): Map<string, SeenVersion> => {
    const known = all.get(territory) ?? new Map<string, SeenVersion>();
    all.set(territory, known);
    return known;
  };
  return { of, note: (territory, steward, seen) => void of(territory).set(steward, seen) };
}

export interface Seen {
  readonly territory: Uint8Array;
  /** Who signed; one of the pinned. */
  readonly steward: Uint8Array;
  readonly said: SeenVersion;
}

/** Remembers them, and returns nothing; or the newer version that was seen before. */
export async function newerThan(
  { territory, steward, said }: Seen,
  pinned: readonly Uint8Array[],
  rules: SeenRules,
): Promise<number | undefined> {
  const known = await rules.of(hex(territory));
  const counted = pinned.flatMap((key) => known.get(hex(key)) ?? []);
  const newer = counted.find((each) => areRulesOlder(said, each));
  if (newer !== undefined) return newer.version;
  const { version, issuedAtMs } = said;
  const own = known.get(hex(steward));
  if (own === undefined || areRulesOlder(own, said))
    await rules.note(hex(territory), hex(steward), { version, issuedAtMs });
  return undefined;
}
