/**
 * What comes with an answer that its hub could not read: the hub signs what it saw (which device, model, class, how
 * many tokens), the device what it made, and only who has the answer can put the two together and hold them against
 * the text.
 *
 *   device ── SHA-256(label ‖ salt ‖ digest of the text) ──► hub, which signs it with all else that it knows
 *   device ── its receipt with salt and digest, sealed ────► caller
 *
 * A digest alone would let the hub guess a short answer; with 32 random bytes ahead of it there is nothing to guess
 * by, and still neither end can change the text afterwards. `again` is the same of a second device that was asked the
 * same and told the same: then the answer is called verified. Whoever has the territory's key verifies all of it
 * without asking anybody; that the two were asked the same is the caller's word.
 */
import { z } from 'zod';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { idOfKey } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { bytes, bytes32 } from '../wire/byte-fields.ts';
import { decodeCbor, encodeCbor } from '../wire/frame.ts';
import { DATA_CLASSES } from '../wire/purpose.ts';
import { AI_SOURCE_TYPE, digestAnswer, type AnswerText } from './answer-receipt.ts';
import { notCounting } from './certified.ts';
import { openHubWord } from './hub-word.ts';
import { openStatement, signStatement } from './signed.ts';
import { receiptSchema, type Receipt } from './statements.ts';

export const sealedReceiptSchema = z.object({
  v: z.literal(1),
  territory: bytes32,
  /** The hub's own, by which its signature counts: a Signed `hub-certificate`. */
  certificate: bytes,
  atMs: z.int().min(0),
  /** The hub's own name for this attempt. */
  request: z.string().max(64),
  sourceType: z.literal(AI_SOURCE_TYPE),
  /** CID, and what it was called. */
  model: z.string().max(128),
  modelName: z.string().max(LIMITS.nameCharactersMax),
  dataClass: z.enum(DATA_CLASSES),
  /** Id of the device, and under which lease it was asked. */
  device: z.string().max(64),
  lease: z.string().max(64),
  epoch: z.int().min(1),
  /** Of the sealed prompt: a bucket. */
  promptBytes: z.int().min(0),
  /** As its device counted for limits and usage. */
  promptTokens: z.int().min(0),
  tokens: z.int().min(0),
  energy: receiptSchema.shape.energy,
  /** `unverified`: the hub cannot know whether a second device made it again. */
  verification: z.enum(['unverified']),
  /** SHA-256 over the device's salt and the digest of the text. */
  commitment: bytes32,
});
export type SealedReceipt = z.infer<typeof sealedReceiptSchema>;

const COMMITMENT = utf8('idlewild/v1/sealed-text\0');

/** What the hub is told of a text that it may not know. */
export const commitmentOf = async (salt: Uint8Array, digest: Uint8Array, crypto: Crypto): Promise<Uint8Array> =>
  crypto.sha256(concat([COMMITMENT, salt, digest]));

export const signSealedReceipt = (
  receipt: Omit<SealedReceipt, 'v' | 'sourceType' | 'verification'>,
  hub: KeyPair,
  crypto: Crypto,
): Promise<Uint8Array> =>
  signStatement(
    'sealed-receipt',
    { v: 1, sourceType: AI_SOURCE_TYPE, verification: 'unverified', ...receipt } satisfies SealedReceipt,
    hub,
    crypto,
  );

const signedPair = {
  /** A Signed `sealed-receipt`, and the Signed `receipt` of its device. */
  hub: bytes,
  device: bytes,
};
const keptSealedSchema = z.object({
  v: z.literal(1),
  t: z.literal('sealed-answer'),
  ...signedPair,
  again: z.object(signedPair).optional(),
});
/** What its caller keeps of an answer. */
export type KeptSealed = z.infer<typeof keptSealedSchema>;

export const encodeKeptSealed = (kept: Omit<KeptSealed, 'v' | 't'>): Uint8Array =>
  encodeCbor({ v: 1, t: 'sealed-answer', ...kept });

/** `undefined` for what is something else. */
export function readKeptSealed(carried: Uint8Array): KeptSealed | undefined {
  try {
    return keptSealedSchema.safeParse(decodeCbor(carried, 'a kept receipt')).data;
  } catch {
    // No CBOR: a receipt of another kind, or none, which others say better.
    return undefined;
  }
}

export interface OpenedSealedReceipt {
  readonly receipt: SealedReceipt;
  /** Key of the hub that signed. */
  readonly hub: Uint8Array;
  readonly device: SealedAnswerPart;
  /** Id of the device that made it again, where one did. */
  readonly verifiedBy: string | undefined;
}

/** What a device signed of an answer that it sealed. */
export type SealedAnswerPart = Receipt & { readonly sealed: NonNullable<Receipt['sealed']> };

const WHAT = 'the receipt';

/** The key of the territory that a receipt says it is of, which proves nothing yet. */
export async function territoryOfSealed({ hub }: KeptSealed, crypto: Crypto): Promise<Uint8Array> {
  return (await openStatement('sealed-receipt', hub, sealedReceiptSchema, crypto)).statement.territory;
}

/**
 * Opens what a hub of `territory` and its device signed. With `answer` it must be of that text. Throws
 * `signature_invalid` or `frame_invalid`, saying what does not agree.
 */
export async function openKeptSealed(
  kept: KeptSealed,
  { territory, answer }: { readonly territory: Uint8Array; readonly answer?: AnswerText | undefined },
  crypto: Crypto,
): Promise<OpenedSealedReceipt> {
  const own = await openPair(kept, territory, crypto);
  if (answer !== undefined && !equalBytes(own.device.sealed.digest, await digestAnswer(answer, crypto)))
    throw notCounting(WHAT, 'it is of another text than this one');
  if (kept.again === undefined) return { ...own, verifiedBy: undefined };
  const other = await openPair(kept.again, territory, crypto);
  if (!isSame(own.device, other.device)) throw notCounting(WHAT, 'the second device made another answer');
  return { ...own, verifiedBy: other.receipt.device };
}

/** One device of one attempt, as its hub and it tell of it. */
async function openPair(
  { hub: carried, device: signed }: Pick<KeptSealed, 'hub' | 'device'>,
  territory: Uint8Array,
  crypto: Crypto,
): Promise<Omit<OpenedSealedReceipt, 'verifiedBy'>> {
  const word = { purpose: 'sealed-receipt', schema: sealedReceiptSchema, what: WHAT } as const;
  const { statement: receipt, hub } = await openHubWord(word, carried, territory, crypto);
  const { statement: device, key } = await openStatement('receipt', signed, receiptSchema, crypto);
  const { sealed } = device;
  const agrees =
    sealed !== undefined &&
    equalBytes(device.device, key) &&
    (await idOfKey('dev', key, crypto)) === receipt.device &&
    device.lease === receipt.lease &&
    device.epoch === receipt.epoch &&
    device.model === receipt.model &&
    device.promptTokens === receipt.promptTokens &&
    device.tokens === receipt.tokens &&
    equalBytes(receipt.commitment, await commitmentOf(sealed.salt, sealed.digest, crypto));
  if (!agrees) throw notCounting(WHAT, 'what its device signed tells of another answer');
  return { receipt, hub, device: { ...device, sealed } };
}

/** Whether another device made the whole of it again, on the same arithmetic, and came to the same. */
export const isSame = (one: SealedAnswerPart, other: SealedAnswerPart): boolean =>
  !equalBytes(one.device, other.device) &&
  other.firstToken === 0 &&
  one.model === other.model &&
  one.numericClass === other.numericClass &&
  one.promptTokens === other.promptTokens &&
  one.firstToken + one.tokens === other.tokens &&
  one.sealed.seed === other.sealed.seed &&
  one.sealed.finish === other.sealed.finish &&
  equalBytes(one.sealed.digest, other.sealed.digest);

/** Of an answer that has just come: whether its hub signed for the device, the lease and the text that came. */
export async function openFreshSealed(
  pair: Pick<KeptSealed, 'hub' | 'device'>,
  expected: { readonly territory: Uint8Array; readonly device: Uint8Array; readonly lease: string },
  crypto: Crypto,
): Promise<SealedAnswerPart> {
  const { device } = await openPair(pair, expected.territory, crypto);
  if (!equalBytes(device.device, expected.device) || device.lease !== expected.lease)
    throw notCounting(WHAT, 'it is of another attempt');
  return device;
}
