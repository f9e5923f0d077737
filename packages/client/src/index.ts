/** `@idlewild/client`: what callers import, in Node and in browsers. */
import { createClientWith, type Client, type ClientOptions } from './client.ts';

/** A client of one hub; without `fetch` it uses the platform's. Throws `usage` when `hub` is no address. */
export const createClient = (options: Omit<ClientOptions, 'fetch'> & Partial<Pick<ClientOptions, 'fetch'>>): Client =>
  createClientWith({ ...options, fetch: options.fetch ?? globalThis.fetch.bind(globalThis) });

export { wholeAnswer, type WholeAnswer } from './answers.ts';
export type { Client, ClientOptions } from './client.ts';
export { hubAddress, type CallOptions, type Fetch } from './http.ts';
export { createEventReader, type EventReader } from './server-sent-events.ts';
export type {
  AddedModel,
  AnswerEnd,
  AnswerPiece,
  ChatRequest,
  Classification,
  Classifications,
  CompletionRequest,
  CreatedInvite,
  CreatedKey,
  Device,
  DeviceDetails,
  DeviceModelState,
  Embeddings,
  EmbeddingsRequest,
  HubStatus,
  IdlewildNote,
  InviteRequest,
  Key,
  KeyLimits,
  KeyLimitsRequest,
  KeyRequest,
  LimitedKey,
  Message,
  Model,
  ModelDetails,
  ModelRequest,
  RequestRecord,
  SamplingOptions,
  TextPiece,
  TextsNote,
  TextsRequest,
  Usage,
  UsageQuery,
  UsageRow,
} from './shapes.ts';
export type { UploadFile, UploadModel } from './upload.ts';
