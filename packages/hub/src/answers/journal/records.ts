/**
 * What the journal holds of one answer, and how it is sealed.
 *
 * Row 0 is the work; each further row holds what came since the last one, in order. Of an answer that its caller may
 * come back to (it is part of a run) a row holds whole events, so that another replica can tell them again; of any
 * other only how long its prompt was and the ids of its tokens, which is what must be accounted for. A row is sealed
 * with its request and number bound in, so none passes for another.
 */
import {
  concat,
  decodeCbor,
  encodeCbor,
  utf8,
  type AnswerWork,
  type CallPart,
  type Crypto,
  type FinishReason,
  type Logprobs,
  type Random,
} from '@idlewild/protocol';
import type { AskedText } from '../../trust/text.ts';
import type { RunRef } from '../port.ts';

export interface OpenRecord {
  readonly request: string;
  readonly territory: string;
  readonly key: string;
  readonly model: string;
  readonly work: Omit<AnswerWork, 'tokens'>;
  readonly text: Pick<AskedText, 'dataClass' | 'cause'>;
  readonly run?: RunRef | undefined;
  /** What it is charged to, where anything bounds what it may spend. */
  readonly hold?: string | undefined;
}

export interface CloseRecord {
  readonly request: string;
  readonly state: 'done' | 'failed' | 'cancelled';
  readonly reason: string | undefined;
  readonly promptTokens: number;
  readonly answerTokens: number;
  /** Of the prompt's tokens; 0 where nobody says. */
  readonly cachedTokens?: number;
  /** How long devices had it. */
  readonly deviceMs?: number;
  /** Which had it last. */
  readonly device?: string | undefined;
  /** What its device says that it drew, in watt-hours; absent where it says nothing. */
  readonly energyWh?: number | undefined;
  readonly failovers: number;
  readonly exact: boolean;
  readonly receipt?: {
    readonly lease: string;
    readonly device: string;
    readonly epoch: number;
    readonly statement: Uint8Array;
  };
}

/** What is known here of an answer that is not closed. */
export interface OpenEntry {
  readonly territory: string;
  readonly run: RunRef | undefined;
  readonly ownerEpoch: number;
  /** What it is charged to. */
  readonly hold: string | undefined;
  written: boolean;
}

/** An end on its way to the database, which may take long. */
export interface Closing extends CloseRecord {
  /** Of the owner whose end it is: the same replica may go on with the answer later, as another owner. */
  readonly ownerEpoch: number | undefined;
}

export interface TokenRecord {
  readonly id: number;
  readonly s: string;
  readonly calls: readonly CallPart[] | undefined;
  readonly lp: Logprobs | undefined;
}

/** What happened to an answer beside its tokens. */
export type FactRecord =
  | {
      readonly t: 'attempt';
      readonly lease: string;
      readonly epoch: number;
      readonly device: string;
      readonly name: string;
      readonly numericClass: string;
      /** Index of its first token. */
      readonly from: number;
    }
  | { readonly t: 'started'; readonly promptTokens: number; readonly cachedTokens: number }
  | {
      readonly t: 'finished';
      readonly finish: FinishReason;
      readonly s: string;
      readonly calls?: readonly CallPart[] | undefined;
    };

/** A token's id alone, its whole event, or a fact. */
export type JournalItem = number | TokenRecord | FactRecord;

export interface JournalRow {
  readonly request_id: string;
  readonly territory_id: string;
  readonly seq: number;
  readonly sealed: Uint8Array;
}
/** A row, and what is sealed in it. */
export interface Chunk extends JournalRow {
  readonly items: readonly JournalItem[];
}

type Owner = Pick<OpenRecord, 'request' | 'territory'>;

export interface Sealer {
  work(record: OpenRecord): Promise<Chunk>;
  items(owner: Owner, seq: number, items: readonly JournalItem[]): Promise<Chunk>;
  /** The items of a row other than 0. */
  unseal(row: JournalRow): Promise<JournalItem[]>;
}

const NONCE_BYTES = 12;

/** `key`: 32 bytes. */
export function createSealer({
  crypto,
  random,
  key,
}: {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly key: Uint8Array;
}): Sealer {
  const bound = (request: string, seq: number): Uint8Array => utf8(`idlewild/v1/journal\n${request}\n${seq}`);
  const seal = async ({ request, territory }: Owner, seq: number, value: unknown): Promise<JournalRow> => {
    const nonce = random.bytes(NONCE_BYTES);
    return {
      request_id: request,
      territory_id: territory,
      seq,
      sealed: concat([nonce, await crypto.seal(key, nonce, encodeCbor(value), bound(request, seq))]),
    };
  };
  return {
    work: async (record) => ({ ...(await seal(record, 0, record.work)), items: [] }),
    items: async (owner, seq, items) => ({ ...(await seal(owner, seq, items.map(packed))), items }),
    async unseal({ request_id, seq, sealed }) {
      const [nonce, rest] = [sealed.subarray(0, NONCE_BYTES), sealed.subarray(NONCE_BYTES)];
      const plain = await crypto.open(key, nonce, rest, bound(request_id, seq));
      return (decodeCbor(plain, 'a journal entry') as unknown[]).map(unpacked);
    },
  };
}

/** An event's names cost more than what they name. */
function packed(item: JournalItem): unknown {
  if (typeof item === 'number' || 't' in item) return item;
  const { id, s, calls, lp } = item;
  return calls === undefined && lp === undefined ? [id, s] : [id, s, calls ?? null, lp ?? null];
}

function unpacked(item: unknown): JournalItem {
  if (!Array.isArray(item)) return item as JournalItem;
  const [id, s, calls, lp] = item as [number, string, CallPart[] | null | undefined, Logprobs | null | undefined];
  return { id, s, calls: calls ?? undefined, lp: lp ?? undefined };
}
