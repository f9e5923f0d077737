/** `@idlewild/client`: what callers import, in Node and in browsers. */
import type { Clock, Random } from '@idlewild/protocol';
import { createWebCrypto } from '@idlewild/protocol/web';
import { createClientWith, type Client, type ClientOptions } from './client.ts';
import {
  createSealedClient as createSealedClientWith,
  type SealedClient,
  type SealedClientOptions,
} from './sealed/sealed-client.ts';

const clock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, act) {
    const timer = setTimeout(act, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
const random: Random = { bytes: (length) => crypto.getRandomValues(new Uint8Array(length)), unit: () => Math.random() };

type Given = 'fetch' | 'clock' | 'random';

/** A client of one hub; what is not given is the platform's. Throws `usage` when `hub` is no address. */
export const createClient = (options: Omit<ClientOptions, Given> & Partial<Pick<ClientOptions, Given>>): Client =>
  createClientWith({ clock, random, ...options, fetch: options.fetch ?? globalThis.fetch.bind(globalThis) });

type GivenToSeal = Given | 'crypto';

/**
 * Asks with end-to-end encryption; what is not given is the platform's. Throws `usage` when `hub` is no address, and in
 * a page that came over plain http from elsewhere, to which browsers give no ciphers.
 */
export const createSealedClient = (
  options: Omit<SealedClientOptions, GivenToSeal> & Partial<Pick<SealedClientOptions, GivenToSeal>>,
): SealedClient =>
  createSealedClientWith({
    clock,
    random,
    ...options,
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    crypto: options.crypto ?? createWebCrypto(globalThis.crypto.subtle),
  });

export type {
  OwnPolicy,
  PoliciesHeld,
  PolicyCaseResult,
  PolicyChange,
  PolicyExplanation,
  PolicyQuestion,
  PolicyState,
  PolicyText,
} from './policy.ts';
export type { Appeal, AppealDecision, UseRulesVersion, UseTrial, UseVerdict } from './use.ts';
export { wholeAnswer, type WholeAnswer } from './answers.ts';
export type { Client, ClientOptions } from './client.ts';
export { createHubConnection, hubAddress, type CallOptions, type Fetch } from './http.ts';
export type {
  Binding,
  BindingRequest,
  Group,
  HeldRole,
  ListedMember,
  Member,
  MemberDetails,
  Named,
  OwnDevice,
  People,
  RemovedMember,
  Role,
  Scope,
  ScopeKind,
  Self,
  SubjectKind,
} from './people.ts';
export type {
  Allocation,
  AllocationEvent,
  Amounts,
  CapKind,
  Caps,
  CapsChange,
  Project,
  ProjectDetails,
  ShowbackQuery,
  ShowbackRow,
  SpendLevel,
  SpendSettings,
} from './projects.ts';
export type { SealedClient, SealedClientEvent, SealedClientOptions } from './sealed/sealed-client.ts';
export type { VerifiedFinish, Verification } from './sealed/again.ts';
export type { SealedAnswerEvent, SealedFinish, SealedRequest } from './sealed/answer.ts';
export type { SeenRules, SeenVersion } from './sealed/seen-rules.ts';
export type { Trusted } from './sealed/verify.ts';
export { createEventReader, type EventReader, type ServerSentEvent } from './server-sent-events.ts';
export type {
  AnswerEnd,
  AnswerPiece,
  ChatRequest,
  Classification,
  Classifications,
  CompletionRequest,
  Embeddings,
  EmbeddingsRequest,
  IdlewildNote,
  Message,
  SamplingOptions,
  TextPiece,
  TextsNote,
  TextsRequest,
  Usage,
  Verify,
} from './shapes/answers.ts';
export type {
  AuditConsistency,
  AuditEntry,
  AuditHeadJson,
  AuditHeadList,
  AuditPage,
  AuditQuery,
  AuditRecordJson,
  AuditReport,
  AuditReportQuery,
} from './shapes/audit.ts';
export type { CreatedInvite, Device, DeviceDetails, DeviceModelState, InviteRequest } from './shapes/devices.ts';
export type { HubReplica, HubStatus, RulesSignature } from './shapes/hub.ts';
export type {
  CreatedKey,
  Key,
  KeyLimits,
  KeyLimitsRequest,
  KeyRequest,
  LimitedKey,
  RequestRecord,
  UsageQuery,
  UsageRow,
} from './shapes/keys.ts';
export type { AddedModel, Model, ModelDetails, ModelRequest } from './shapes/models.ts';
export type {
  AddedSignInProvider,
  AskedApproval,
  CodeFacts,
  CodeRequest,
  Invitation,
  InvitationRequest,
  PersonSession,
  ProgramSession,
  SignInApi,
  SignInLink,
  SignInProvider,
  SignInProviderRequest,
} from './sign-in.ts';
export type { OpenedTerritory, Territories, Territory } from './territories.ts';
export type { UploadFile, UploadModel } from './upload.ts';
export type { DeviceChange, DeviceTrust, Steward, Stewards } from './trust.ts';
