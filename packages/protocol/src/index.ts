/**
 * What crosses a wire, and the ports that core code is handed: the one package that every other imports.
 * It knows no platform; `./node` has the Node implementations of the ports, `./testing` the in-memory ones.
 */
export { ERRORS, IdlewildError, asIdlewildError, codeOf, isErrorCode, messageOf, type ErrorCode } from './errors.ts';
export { LIMITS } from './limits.ts';
export type {
  BlobSource,
  BlobStore,
  Channel,
  ChannelBinding,
  Clock,
  Crypto,
  FileAssembly,
  FileLayout,
  KeyPair,
  MaybePromise,
  Random,
  SessionKeys,
  Timer,
  Transport,
} from './ports.ts';
export { idOfKey, isId, newId, type IdPrefix } from './ids.ts';
export { concat, equalBytes, fromHex, fromUtf8, hex, utf8 } from './bytes.ts';
export {
  VERSIONS,
  decodeCbor,
  decodeFrame,
  encodeCbor,
  encodeFrame,
  negotiateVersion,
  refuseUnknownCritical,
  type Fields,
} from './wire/frame.ts';
export {
  FINISH_REASONS,
  answerWorkSchema,
  chatMessageSchema,
  formSchema,
  promptSchema,
  samplingSchema,
  toolSchema,
  type AnswerEvent,
  type AnswerFailed,
  type AnswerFinished,
  type AnswerProgress,
  type AnswerStarted,
  type AnswerToken,
  type AnswerWork,
  type CallPart,
  type ChatMessage,
  type FinishReason,
  type Form,
  type Logprobs,
  type Prompt,
  type Sampling,
  type Tool,
  type ToolCall,
  type ToolChoice,
} from './wire/answer.ts';
export { WORK_NEEDS, needsOf, type WorkNeed } from './wire/work-needs.ts';
export { bytes as bytesSchema } from './wire/byte-fields.ts';
export { embedWorkSchema, type EmbedDone, type EmbedEvent, type EmbedFailed, type EmbedWork } from './wire/embed.ts';
export {
  DEVICE_FEATURES,
  DEVICE_STATES,
  parseToDevice,
  parseToHub,
  statusSchema,
  wantedModelSchema,
  type DeviceFeature,
  type DeviceModel,
  type DeviceProfile,
  type DeviceState,
  type DeviceStatus,
  type KeptAttempt,
  type Lent,
  type ToDevice,
  type ToHub,
  type UnknownMessage,
  type WantedModel,
} from './wire/messages.ts';
export {
  innerEventSchema,
  sealedBytesSchema,
  type InnerEvent,
  type SealedDone,
  type SealedEvent,
  type SealedFailed,
  type SealedPart,
} from './wire/sealed.ts';
export {
  sealedOfferSchema,
  sealedStreamEventSchema,
  signedUseSchema,
  textOfBytes,
  type SealedOffer,
  type SealedStreamEvent,
} from './wire/sealed-http.ts';
export { DATA_CLASSES, DEVICE_TIERS, causeSchema, type DataClass, type DeviceTier } from './wire/purpose.ts';
export {
  openWork,
  promptBucket,
  sealWork,
  type AnswerOpener,
  type AnswerSealer,
  type OpenedWork,
  type SealedTerms,
  type SealedWork,
} from './sealed/envelope.ts';
export { EVENT_BUCKETS, PROMPT_BUCKETS, bucketFor } from './sealed/padding.ts';
export {
  createUseJudge,
  holdsFor,
  reasonOfRule,
  type ClassifierRule,
  type UseAsked,
  type UseFault,
  type UseJudge,
} from './use/judge.ts';
export { NO_USE_RULES, useRulesSchema, type UseRule, type UseRules } from './use/use-rules.ts';
export { CHAT_ONLY, begunWith, chatOnly, textsOfPrompt } from './use/texts.ts';
export {
  areRulesOlder,
  areRulesOver,
  isOver,
  looksAtTexts,
  openUseRules,
  phraseFault,
  signUseRules,
  useOrderOf,
  type ClassifierMeaning,
  type SignedRules,
  type UseHolding,
  type UseOrder,
} from './use/use-order.ts';
export { WELL_KNOWN_PATH, wellKnownKey, wellKnownSchema, type WellKnown } from './wire/well-known.ts';
export { decodeInvite, encodeInvite, joinTokenOf, type Invite } from './identity/invite.ts';
export { SECRET_PREFIXES, holdsSecret } from './identity/secret-prefixes.ts';
export { sealable, sessionKeys, type SealableChannel } from './identity/sealed-channel.ts';
export {
  AI_SOURCE_TYPE,
  answerTextOf,
  digestAnswer,
  digestParts,
  openAnswerReceipt,
  signAnswerReceipt,
  territoryOfReceipt,
  type AnswerReceipt,
  type AnswerText,
  type OpenedAnswerReceipt,
} from './identity/answer-receipt.ts';
export {
  commitmentOf,
  encodeKeptSealed,
  isSame,
  openFreshSealed,
  openKeptSealed,
  readKeptSealed,
  sealedReceiptSchema,
  signSealedReceipt,
  territoryOfSealed,
  type KeptSealed,
  type OpenedSealedReceipt,
  type SealedAnswerPart,
  type SealedReceipt,
} from './identity/sealed-receipt.ts';
export { openLeft, signLeft, type LeftStatement } from './identity/left.ts';
export {
  VOUCH_CHAIN,
  deviceByInviteSchema,
  deviceVouchSchema,
  inviteKey,
  inviteToken,
  inviteVouchSchema,
  signDeviceByInvite,
  signDeviceVouch,
  signInviteVouch,
  verifyVouch,
  type VouchChain,
  type VouchExpected,
  type Vouched,
} from './identity/vouch.ts';
export { openStatement, signStatement, type Purpose, type Verified } from './identity/signed.ts';
export {
  CONSENT_FIELDS,
  CONSENT_UNSAID,
  WORK_KINDS,
  agreementKeySchema,
  consentSchema,
  hubCertificateSchema,
  receiptSchema,
  type AgreementKey,
  type Consent,
  type DeviceProof,
  type HubCertificate,
  type Receipt,
  type WorkKind,
} from './identity/statements.ts';
export {
  checkAgreementKey,
  checkDevice,
  checkHub,
  digestTokens,
  numericClassOf,
  proveDevice,
  proveHub,
  sameBinding,
  type CheckedDevice,
} from './identity/handshake.ts';
export {
  MODEL_KINDS,
  cidOf,
  decodeManifest,
  encodeManifest,
  manifestBytes,
  manifestSchema,
  modelCardSchema,
  type Manifest,
  type ManifestFile,
  type ManifestTensor,
  type ModelCard,
  type ModelKind,
} from './manifest.ts';
export { auditGenesis, auditHash, auditRecordSchema, hexBytes, hexBytes32, type AuditRecord } from './audit/entry.ts';
export { openAuditHead, signAuditHead, type AuditHead, type CarriedHead } from './audit/head.ts';
export {
  leafHash,
  nodeHash,
  proveConsistency,
  proveInclusion,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
  type ReadSubtree,
  type Subtree,
} from './audit/merkle.ts';
export { auditRecordJson, copyLines, type AuditOwner, type CopySource, type PlacedHead } from './audit/copy.ts';
export { verifyCopy, type CopyVerdict, type Finding, type FindingKind, type KnownLog } from './audit/verify-copy.ts';
export { entryProofJson, verifyEntryProof, type EntryProof } from './audit/proof.ts';
export { exp, ln } from './sampler/ln.ts';
export { LOGPROB_MIN, logSoftmax, type LogSoftmax } from './sampler/log-softmax.ts';
export { gumbel, noise, philox } from './sampler/philox.ts';
export {
  TEMPERATURE_MIN,
  createSampler,
  sampleToken,
  type NoiseWords,
  type Sampler,
  type SamplerContext,
} from './sampler/sampler.ts';
export {
  DAG_PB,
  RAW,
  isStorable,
  matches,
  refuseIncomplete,
  verifyBlock,
  verifyLeaf,
  type Block,
} from './blobs/block.ts';
export { createMemoryBlobStore } from './blobs/memory-blob-store.ts';
export {
  fetchBlock,
  fetchFile,
  sourceOfStore,
  storeFile,
  type Blame,
  type FileTransfer,
  type TransferOptions,
  type TransferProgress,
} from './blobs/transfer.ts';
export { cutLeaves, layoutFile, proveLayout, readLayout, type LaidOutFile, type LayoutLimits } from './blobs/unixfs.ts';
