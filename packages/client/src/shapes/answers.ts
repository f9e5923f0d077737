/**
 * What the hub's routes take and give of answers, vectors and labels: the contract as callers see it, by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */

export interface Message {
  readonly role: 'system' | 'developer' | 'user' | 'assistant';
  readonly content: string;
}

export interface SamplingOptions {
  readonly max_tokens?: number | undefined;
  /** 0 is greedy. */
  readonly temperature?: number | undefined;
  readonly top_p?: number | undefined;
  /** Not in OpenAI's API: keeps the k likeliest tokens, 0 keeps all. */
  readonly top_k?: number | undefined;
  /** The same seed gives the same answer on the same numeric class of devices. */
  readonly seed?: number | undefined;
  readonly frequency_penalty?: number | undefined;
  readonly presence_penalty?: number | undefined;
  readonly stop?: string | readonly string[] | undefined;
}

export interface ChatRequest extends SamplingOptions {
  readonly model: string;
  readonly messages: readonly Message[];
}

export interface CompletionRequest extends SamplingOptions {
  readonly model: string;
  readonly prompt: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** What Idlewild adds to every answer. */
export interface IdlewildNote {
  /** Names of the devices that worked on it, in order. */
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly seed: number;
  /** Whether the whole is bit-identical to an uninterrupted answer. */
  readonly exact: boolean;
  readonly hub: string;
  /** A machine wrote it. */
  readonly ai_generated: true;
  /** Signed receipts in base64url, one for each choice. */
  readonly receipts?: readonly string[];
  /** Of an end-to-end encrypted answer that was to be verified: whether a second device made the same. */
  readonly verification?: 'verified' | 'differs' | 'not_compared';
}

/**
 * How a second device checks an end-to-end encrypted answer: it scores the answer's tokens, which is cheap, or gets the
 * prompt alone and makes the answer again.
 */
export type Verify = 'score' | 'again';

export interface TextPiece {
  readonly text: string;
}

/** The last thing that a stream yields. */
export interface AnswerEnd {
  readonly finish: string;
  readonly usage: Usage;
  readonly idlewild: IdlewildNote;
}

export type AnswerPiece = TextPiece | AnswerEnd;

export interface TextsRequest {
  readonly model: string;
  readonly input: string | readonly string[];
}

export interface EmbeddingsRequest extends TextsRequest {
  /** Fewer numbers than the model gives, where its vectors may be cut. */
  readonly dimensions?: number | undefined;
}

/** What Idlewild adds to vectors and labels. */
export interface TextsNote {
  /** Names of the devices that worked on them. */
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly hub: string;
}

/** In the order of the inputs. */
export interface Embeddings {
  readonly vectors: readonly (readonly number[])[];
  readonly usage: Omit<Usage, 'completion_tokens'>;
  readonly idlewild: TextsNote;
}

export interface Classification {
  readonly label: string | null;
  /** One for each label of the model, in its order. */
  readonly probs: readonly number[];
}

export interface Classifications {
  readonly labels: readonly Classification[];
  readonly usage: Usage;
  readonly idlewild: TextsNote;
}
