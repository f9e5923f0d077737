/**
 * What comes with an answer: a machine-readable word that a machine wrote it, and how, signed by the hub, with the
 * receipt that the last device signed inside. Whoever has the territory's key verifies it without asking anybody.
 *
 * It names no caller and holds no text: a digest of the answer ties it to the text that it came with. That a model
 * wrote the text is said in the terms of the IPTC's digital source types, as EU AI Act, Article 50(2), wants it
 * marked. What nobody verified is called unverified: a hub signs what it saw, and it did not see the model compute.
 */
import { z } from 'zod';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { FINISH_REASONS, type CallPart } from '../wire/answer.ts';
import { bytes, bytes32 } from '../wire/byte-fields.ts';
import { DATA_CLASSES } from '../wire/purpose.ts';
import { idOfKey } from '../ids.ts';
import { notCounting } from './certified.ts';
import { openHubWord } from './hub-word.ts';
import { openStatement, signStatement } from './signed.ts';
import { receiptSchema, type Receipt } from './statements.ts';

/** "Created by a trained model", as IPTC and C2PA name it. */
export const AI_SOURCE_TYPE = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia';

const answerReceiptSchema = z.object({
  v: z.literal(1),
  territory: bytes32,
  /** The hub's own, by which its signature counts: a Signed `hub-certificate`. */
  certificate: bytes,
  atMs: z.int().min(0),
  /** Of the request as its caller saw it, and which of its answers. */
  request: z.string().max(64),
  choice: z.int().min(0),
  sourceType: z.literal(AI_SOURCE_TYPE),
  /** CID, and what it was called. */
  model: z.string().max(128),
  modelName: z.string().max(LIMITS.nameCharactersMax),
  dataClass: z.enum(DATA_CLASSES),
  seed: z.int().min(0),
  promptTokens: z.int().min(0),
  answerTokens: z.int().min(0),
  finish: z.enum(FINISH_REASONS),
  /** Ids of the devices that worked on it, in order. */
  devices: z.array(z.string().max(64)).max(1_024),
  failovers: z.int().min(0),
  numericClass: z.string().max(64),
  /** Bit-identical to an uninterrupted answer of this class. */
  exact: z.boolean(),
  /** `unverified`: no second device computed it again. */
  verification: z.enum(['unverified']),
  /** SHA-256, as `digestAnswer` makes it. */
  digest: bytes32,
  /** What the last device signed; absent where the answer was told again from the books. */
  device: bytes.optional(),
});
export type AnswerReceipt = z.infer<typeof answerReceiptSchema>;

export interface AnswerText {
  readonly text: string;
  readonly calls: readonly { readonly name: string; readonly arguments: string }[];
}

/** The whole of what events of an answer tell, in their order. */
export function answerTextOf(
  parts: readonly { readonly s: string; readonly calls?: readonly CallPart[] | undefined }[],
): AnswerText {
  const calls: { name: string; arguments: string }[] = [];
  for (const { i, name = '', s } of parts.flatMap((part) => part.calls ?? [])) {
    const call = (calls[i] ??= { name: '', arguments: '' });
    call.name += name;
    call.arguments += s;
  }
  // A device that lies may leave calls out.
  return { text: parts.map(({ s }) => s).join(''), calls: Object.values(calls) };
}

/** SHA-256 over (SHA-256 of the text ‖ SHA-256 of the calls as JSON `[[name, arguments], …]`). */
export async function digestAnswer({ text, calls }: AnswerText, crypto: Crypto): Promise<Uint8Array> {
  return digestParts(await crypto.sha256(utf8(text)), calls, crypto);
}

/** The same for who hashed the text as it came. */
export async function digestParts(
  textDigest: Uint8Array,
  calls: AnswerText['calls'],
  crypto: Crypto,
): Promise<Uint8Array> {
  const told = JSON.stringify(calls.map(({ name, arguments: args }) => [name, args]));
  return crypto.sha256(concat([textDigest, await crypto.sha256(utf8(told))]));
}

export const signAnswerReceipt = (
  receipt: Omit<AnswerReceipt, 'v' | 'sourceType' | 'verification'>,
  hub: KeyPair,
  crypto: Crypto,
): Promise<Uint8Array> =>
  signStatement(
    'answer-receipt',
    { v: 1, sourceType: AI_SOURCE_TYPE, verification: 'unverified', ...receipt },
    hub,
    crypto,
  );

export interface OpenedAnswerReceipt {
  readonly receipt: AnswerReceipt;
  /** Key of the hub that signed. */
  readonly hub: Uint8Array;
  /** What the last device signed, once that agrees with the rest. */
  readonly device: Receipt | undefined;
}

const WHAT = 'the receipt';

/** The key of the territory that a receipt says it is of, which proves nothing yet. */
export async function territoryOfReceipt(carried: Uint8Array, crypto: Crypto): Promise<Uint8Array> {
  return (await openStatement('answer-receipt', carried, answerReceiptSchema, crypto)).statement.territory;
}

/**
 * Opens what a hub of `territory` signed. With `answer` it must be of that text. Throws `signature_invalid` or
 * `frame_invalid`, saying what does not agree.
 */
export async function openAnswerReceipt(
  carried: Uint8Array,
  { territory, answer }: { readonly territory: Uint8Array; readonly answer?: AnswerText | undefined },
  crypto: Crypto,
): Promise<OpenedAnswerReceipt> {
  const word = { purpose: 'answer-receipt', schema: answerReceiptSchema, what: WHAT } as const;
  const { statement: receipt, hub } = await openHubWord(word, carried, territory, crypto);
  if (answer !== undefined && !equalBytes(receipt.digest, await digestAnswer(answer, crypto))) {
    throw notCounting(WHAT, 'it is of another text than this one');
  }
  const device = receipt.device === undefined ? undefined : await openDevicePart(receipt, receipt.device, crypto);
  return { receipt, hub, device };
}

async function openDevicePart(receipt: AnswerReceipt, carried: Uint8Array, crypto: Crypto): Promise<Receipt> {
  const { statement, key } = await openStatement('receipt', carried, receiptSchema, crypto);
  const agrees =
    equalBytes(statement.device, key) &&
    (await idOfKey('dev', key, crypto)) === receipt.devices.at(-1) &&
    statement.model === receipt.model &&
    statement.numericClass === receipt.numericClass &&
    statement.firstToken + statement.tokens === receipt.answerTokens;
  if (!agrees) throw notCounting(WHAT, 'what its last device signed tells of another answer');
  return statement;
}
