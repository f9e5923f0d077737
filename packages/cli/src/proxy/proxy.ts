/**
 * The local endpoint: OpenAI's on this side, sealed prompts on the other, so that any client gets end-to-end encryption
 * without knowing of it. It refuses what it cannot seal, and never falls back to anything.
 */
import { createHubConnection, createSealedClient, type Fetch, type SeenRules, type Verify } from '@idlewild/client';
import { createOpenAiDoor, silentLog, type OpenAiDoorDeps } from '@idlewild/hub';
import {
  IdlewildError,
  MODEL_KINDS,
  WELL_KNOWN_PATH,
  asIdlewildError,
  hex,
  textOfBytes,
  wellKnownSchema,
  type DeviceTier,
  type ModelKind,
} from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { createGuard } from './guard.ts';
import { createSealingAnswers } from './sealing-answers.ts';
import { readKey } from './trusted.ts';

export interface ProxyOptions {
  readonly hub: string;
  readonly key: string | undefined;
  readonly fetch: Fetch;
  readonly stewards: readonly Uint8Array[];
  /** Key of the community; absent: what the hub says, for which only stewards' signatures stand. */
  readonly territory?: Uint8Array | undefined;
  readonly tiers?: readonly DeviceTier[] | undefined;
  /** CIDs that models of these names must have. */
  readonly models?: ReadonlyMap<string, string> | undefined;
  /** Has a second device check every answer, and tells whether it was the same. */
  readonly verify?: Verify | undefined;
  /** Which rules of use were seen here before. */
  readonly seenRules?: SeenRules | undefined;
  /** The hub is told what each prompt needs of its device. */
  readonly tellNeeds?: boolean | undefined;
  readonly host: string;
  readonly port: number;
  /** What clients show as their API key. */
  readonly token: string;
}

export interface RunningProxy {
  readonly url: string;
  close(): Promise<void>;
}

const ELSEWHERE =
  'this proxy encrypts /v1/chat/completions, /v1/completions and /v1/responses end to end and lists /v1/models; ' +
  'nothing else can be sealed, and nothing is passed on in the open; ask the hub itself for it';
/** Which models there are changes seldom, and each look costs a round trip. */
const MODEL_MS = 30_000;
const MODELS_MAX = 256;
const SCOPE_CHARACTERS = 32;

export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { hub, key, fetch, stewards, tiers, host, token, models = new Map(), verify, tellNeeds } = options;
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
  const connection = createHubConnection(hub, key, fetch);
  const { hub: hubId, territory } = await community(connection, options.territory);
  await checkKey(connection);
  const client = createSealedClient({
    hub,
    key,
    fetch,
    stewards,
    tiers,
    territory,
    seenRules: options.seenRules,
    ...ports,
  });
  const secret = nodeRandom.bytes(32);
  const app = await createOpenAiDoor({
    ...ports,
    answers: createSealingAnswers({ client, random: nodeRandom, models, verify, tellNeeds }),
    receipts: { issue: async ({ outcome: { receipt } }) => receipt && textOfBytes(receipt) },
    models: modelsOf(connection),
    async scopeOf(_caller, label) {
      const digest = await nodeCrypto.hkdf(secret, new Uint8Array(0), Buffer.from(label ?? ''), SCOPE_CHARACTERS / 2);
      return `sealed.${hex(digest)}`;
    },
    // Whoever seals does it, with each offer, by what a steward signed.
    judge: () => [],
    guard: createGuard({ token, host }),
    elsewhere: ELSEWHERE,
    hub: hubId,
    log: silentLog,
  });
  try {
    const url = await app.listen({ host, port: options.port });
    return { url, close: () => app.close() };
  } catch (cause) {
    await app.close();
    throw notListening(cause, options);
  }
}

function notListening(cause: unknown, { host, port }: ProxyOptions): unknown {
  const { code, message } = cause as { code?: string; message: string };
  if (code === 'EADDRINUSE') {
    const said = `port ${port} on ${host} is in use, perhaps by another proxy; stop that, or give another --port`;
    return new IdlewildError('port_in_use', said, { cause });
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new IdlewildError('usage', `cannot listen on ${host}:${port}: ${message}`, { cause });
  return cause;
}

type Connection = ReturnType<typeof createHubConnection>;

/** Throws what the hub cannot be reached with, at once and not at the first prompt. */
async function community(
  { json }: Connection,
  pinned: Uint8Array | undefined,
): Promise<{ readonly hub: string; readonly territory: Uint8Array }> {
  const parsed = wellKnownSchema.safeParse(await json('GET', WELL_KNOWN_PATH));
  if (!parsed.success)
    throw new IdlewildError('hub_unreachable', 'what answers there does not introduce itself as a hub');
  const territory = readKey(parsed.data.territory.key, "community's key");
  if (pinned !== undefined && hex(pinned) !== hex(territory))
    throw new IdlewildError('hub_untrusted', 'the hub is of another community than the one that was named');
  return { hub: parsed.data.hub.id, territory };
}

/** Throws what the hub refuses the key with, at once: a client would take it for what its own token is refused with. */
async function checkKey({ hub, json }: Connection): Promise<void> {
  try {
    await json('GET', '/v1/models');
  } catch (thrown) {
    const error = asIdlewildError(thrown, 'asking the hub');
    if (error.code !== 'unauthenticated') throw error;
    const message = `${hub} does not know the key that this would ask it with: ${error.message}; name yours with --key`;
    throw new IdlewildError('unauthenticated', message, { cause: thrown });
  }
}

/** Which models there are is the hub's word; what is sealed is bound to the model that it then names. */
function modelsOf({ json }: Connection): OpenAiDoorDeps['models'] {
  const kinds = new Map<string, { readonly kind: ModelKind; readonly atMs: number }>();
  const show = (name: string): Promise<object> => json('GET', `/v1/models/${encodeURIComponent(name)}`);
  async function kindOf(name: string): Promise<ModelKind> {
    const nowMs = systemClock.monotonic();
    const known = kinds.get(name);
    if (known !== undefined && nowMs - known.atMs < MODEL_MS) return known.kind;
    const told = (await show(name)) as { readonly kind?: unknown };
    const kind = MODEL_KINDS.find((each) => each === told.kind) ?? 'decoder';
    kinds.set(name, { kind, atMs: nowMs });
    if (kinds.size > MODELS_MAX) kinds.delete(kinds.keys().next().value as string);
    return kind;
  }
  return {
    list: () => json('GET', '/v1/models'),
    show,
    // How many tokens it has is known to devices, which refuse what is beyond it.
    resolve: async (_territory, name) => ({
      cid: '',
      manifest: { kind: await kindOf(name), vocabularyTokens: Number.MAX_SAFE_INTEGER },
    }),
  };
}
