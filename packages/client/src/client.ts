/**
 * A hub as an object: each route a method, each failure an `IdlewildError` with the hub's code.
 *
 * It keeps no state beside the address and the key, and works wherever there is a web-standard `fetch`.
 */
import {
  WELL_KNOWN_PATH,
  wellKnownSchema,
  type Clock,
  type ModelKind,
  type Random,
  type WellKnown,
} from '@idlewild/protocol';
import { streamAnswer } from './answers.ts';
import { classify, embed } from './embeddings.ts';
import { createHubConnection, type CallOptions, type Fetch, type HubConnection } from './http.ts';
import { peopleOf, type People } from './people.ts';
import type {
  AnswerPiece,
  ChatRequest,
  Classifications,
  CompletionRequest,
  Embeddings,
  EmbeddingsRequest,
  TextsRequest,
} from './shapes/answers.ts';
import type {
  AuditConsistency,
  AuditHeadList,
  AuditPage,
  AuditQuery,
  AuditRecordJson,
  AuditReport,
  AuditReportQuery,
} from './shapes/audit.ts';
import type {
  CreatedInvite,
  Device,
  DeviceDetails,
  InvitePlace,
  InviteRequest,
  VouchedInviteRequest,
} from './shapes/devices.ts';
import type { HubStatus } from './shapes/hub.ts';
import type {
  CreatedKey,
  Key,
  KeyLimitsRequest,
  KeyRequest,
  LimitedKey,
  RequestRecord,
  UsageQuery,
  UsageRow,
} from './shapes/keys.ts';
import type { AddedModel, Model, ModelDetails, ModelRequest } from './shapes/models.ts';
import {
  allocationsOf,
  projectsOf,
  spendingOf,
  type AllocationsApi,
  type Projects,
  type Spending,
} from './projects.ts';
import { territoriesOf, type Territories } from './territories.ts';
import { deviceTrustOf, stewardsOf, type DeviceTrust, type Stewards } from './trust.ts';
import { uploadModel, type UploadModel } from './upload.ts';
import { signInOf, type SignInApi } from './sign-in.ts';
import { policyOf, type PolicyApi } from './policy.ts';
import { appealsOf, useOf, type AppealsApi, type UseApi } from './use.ts';

export interface ClientOptions {
  /** Address of the hub, e.g. `http://127.0.0.1:7860`. */
  readonly hub: string;
  readonly key?: string | undefined;
  readonly fetch: Fetch;
  /** For waiting before a broken stream is asked for again. */
  readonly clock: Clock;
  /** For names of questions. */
  readonly random: Random;
}

export interface Client {
  readonly hub: string;
  /** Pieces of text as they are made, then the end. A stream that breaks goes on, nothing twice and nothing lost. */
  chat(request: ChatRequest, options?: CallOptions): AsyncGenerator<AnswerPiece, void, undefined>;
  completion(request: CompletionRequest, options?: CallOptions): AsyncGenerator<AnswerPiece, void, undefined>;
  /** A vector for each text. */
  embed(request: EmbeddingsRequest, options?: CallOptions): Promise<Embeddings>;
  /** Which label fits each text, with the probability of each label. */
  classify(request: TextsRequest, options?: CallOptions): Promise<Classifications>;
  /** Names of the models that there are, or of those of one kind. */
  modelNames(options?: CallOptions & { readonly kind?: ModelKind }): Promise<string[]>;
  status(options?: CallOptions): Promise<HubStatus>;
  /** What the hub tells everybody; signed by nobody. */
  wellKnown(options?: CallOptions): Promise<WellKnown>;
  readonly devices: {
    list(options?: CallOptions): Promise<Device[]>;
    get(id: string, options?: CallOptions): Promise<DeviceDetails>;
    /** The device finishes what it has and takes nothing new. */
    drain(id: string, options?: CallOptions): Promise<void>;
    revoke(id: string, options?: CallOptions): Promise<void>;
    /** How far they are trusted. */
    readonly trust: DeviceTrust;
  };
  readonly stewards: Stewards;
  /** Who is in the community, who may do what, and what is one's own. */
  readonly people: People;
  readonly keys: {
    list(options?: CallOptions): Promise<Key[]>;
    create(request: KeyRequest, options?: CallOptions): Promise<CreatedKey>;
    /** Holds from the key's next request on. */
    limit(id: string, limits: KeyLimitsRequest, options?: CallOptions): Promise<LimitedKey>;
    revoke(id: string, options?: CallOptions): Promise<void>;
  };
  readonly invites: {
    create(request: InviteRequest, options?: CallOptions): Promise<CreatedInvite>;
    /** Of a secret that was made here: `encodeInvite` makes the token of it and of what comes back. */
    createVouched(request: VouchedInviteRequest, options?: CallOptions): Promise<InvitePlace>;
  };
  readonly models: {
    list(options?: CallOptions): Promise<Model[]>;
    get(name: string, options?: CallOptions): Promise<ModelDetails>;
    /** Gives a name to a manifest whose files the hub holds already. */
    add(request: ModelRequest, options?: CallOptions): Promise<AddedModel>;
    /** Sends what the hub lacks of a model, then adds it. */
    upload(upload: UploadModel): Promise<AddedModel>;
    remove(name: string, options?: CallOptions): Promise<void>;
    /** Devices that hold a pinned model keep it, whatever else is wanted. */
    pin(name: string, options?: CallOptions): Promise<void>;
    unpin(name: string, options?: CallOptions): Promise<void>;
    /** It takes no request, and what it answers ends, everywhere. */
    stop(name: string, why?: string, options?: CallOptions): Promise<void>;
    allow(name: string, why?: string, options?: CallOptions): Promise<void>;
  };
  /** Newest day first: the asker's own, or for a steward everybody's. */
  usage(query?: UsageQuery, options?: CallOptions): Promise<UsageRow[]>;
  /** Of this hub; for stewards of its first community. */
  readonly territories: Territories;
  readonly projects: Projects;
  readonly allocations: AllocationsApi;
  /** Caps, the daily floor, and what was used on whose account. */
  readonly spending: Spending;
  readonly policy: PolicyApi;
  readonly use: UseApi;
  readonly appeals: AppealsApi;
  readonly signIn: SignInApi;
  readonly requests: { list(options?: CallOptions): Promise<RequestRecord[]> };
  readonly audit: {
    /** What fits all that is asked for, or everything; newest first, 200 at once. */
    list(query?: AuditQuery, options?: CallOptions): Promise<AuditPage>;
    /** Oldest first, 1,000 at once. */
    entries(afterSeq: number, options?: CallOptions): Promise<AuditRecordJson[]>;
    heads(options?: CallOptions): Promise<AuditHeadList>;
    /** For `verifyEntryProof` of `@idlewild/protocol`. */
    proof(seq: number, options?: CallOptions): Promise<unknown>;
    consistency(from: number, options?: CallOptions): Promise<AuditConsistency>;
    report(query: AuditReportQuery, options?: CallOptions): Promise<AuditReport>;
  };
}

export function createClientWith({ hub, key, fetch, clock, random }: ClientOptions): Client {
  const connection = createHubConnection(hub, key, fetch);
  const { json } = connection;
  const deps = { connection, clock, random };
  const at = (base: string, name: string, more = ''): string => `${base}/${encodeURIComponent(name)}${more}`;
  return {
    hub: connection.hub,
    chat: (request, options = {}) => streamAnswer(deps, '/v1/chat/completions', request, options),
    completion: (request, options = {}) => streamAnswer(deps, '/v1/completions', request, options),
    embed: (request, options) => embed(connection, request, options),
    classify: (request, options) => classify(connection, request, options),
    async modelNames(options) {
      const { data } = await json<{ data: readonly { readonly id: string; readonly kind: ModelKind }[] }>(
        'GET',
        '/v1/models',
        undefined,
        options,
      );
      return data.filter(({ kind }) => kind === (options?.kind ?? kind)).map(({ id }) => id);
    },
    status: (options) => json('GET', '/api/status', undefined, options),
    wellKnown: async (options) => wellKnownSchema.parse(await json('GET', WELL_KNOWN_PATH, undefined, options)),
    devices: {
      list: (options) => json('GET', '/api/devices', undefined, options),
      get: (id, options) => json('GET', at('/api/devices', id), undefined, options),
      drain: (id, options) => json('POST', at('/api/devices', id, '/drain'), undefined, options),
      revoke: (id, options) => json('DELETE', at('/api/devices', id), undefined, options),
      trust: deviceTrustOf(json),
    },
    stewards: stewardsOf(json),
    people: peopleOf(json),
    keys: {
      list: (options) => json('GET', '/api/keys', undefined, options),
      create: (request, options) => json('POST', '/api/keys', request, options),
      limit: (id, limits, options) => json('PATCH', at('/api/keys', id), limits, options),
      revoke: (id, options) => json('DELETE', at('/api/keys', id), undefined, options),
    },
    invites: {
      create: (request, options) => json('POST', '/api/invites', request, options),
      createVouched: (request, options) => json('POST', '/api/invites', request, options),
    },
    models: {
      list: (options) => json('GET', '/api/models', undefined, options),
      get: (name, options) => json('GET', at('/api/models', name), undefined, options),
      add: (request, options) => json('POST', '/api/models', request, options),
      upload: (upload) => uploadModel(connection, upload),
      remove: (name, options) => json('DELETE', at('/api/models', name), undefined, options),
      pin: (name, options) => json('PUT', at('/api/models', name, '/pin'), undefined, options),
      unpin: (name, options) => json('DELETE', at('/api/models', name, '/pin'), undefined, options),
      stop: (name, why = '', options) => json('POST', at('/api/models', name, '/stop'), { why }, options),
      allow: (name, why = '', options) => json('POST', at('/api/models', name, '/allow'), { why }, options),
    },
    usage: (query = {}, options) => {
      const asked = Object.entries(query).filter(([, value]) => value !== undefined) as [string, string][];
      const text = new URLSearchParams(asked).toString();
      return json('GET', `/api/usage${text === '' ? '' : `?${text}`}`, undefined, options);
    },
    territories: territoriesOf(json),
    projects: projectsOf(json),
    allocations: allocationsOf(json),
    spending: spendingOf(json),
    requests: { list: (options) => json('GET', '/api/requests', undefined, options) },
    audit: auditOf(json),
    policy: policyOf(json),
    use: useOf(json),
    appeals: appealsOf(json),
    signIn: signInOf(json),
  };
}

function auditOf(json: HubConnection['json']): Client['audit'] {
  return {
    list(query = {}, options) {
      const asked = Object.entries(query).flatMap(([name, value]: [string, AuditQuery[keyof AuditQuery]]) =>
        value === undefined ? [] : [value].flat().map((one): [string, string] => [name, String(one)]),
      );
      const text = new URLSearchParams(asked).toString();
      return json('GET', `/api/audit${text === '' ? '' : `?${text}`}`, undefined, options);
    },
    async entries(afterSeq, options) {
      const path = `/api/audit/entries?afterSeq=${afterSeq}`;
      return (await json<{ entries: AuditRecordJson[] }>('GET', path, undefined, options)).entries;
    },
    heads: (options) => json('GET', '/api/audit/heads', undefined, options),
    proof: (seq, options) => json('GET', `/api/audit/proof?seq=${seq}`, undefined, options),
    consistency: (from, options) => json('GET', `/api/audit/consistency?from=${from}`, undefined, options),
    report: ({ from, to }, options) =>
      json('GET', `/api/audit/report?${new URLSearchParams({ from, to }).toString()}`, undefined, options),
  };
}
