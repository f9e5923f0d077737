/**
 * The hub without its doors: every room wired to the others over injected clock, randomness, database and blob store.
 *
 * A process puts HTTP and sockets in front of it (`node/start-hub.ts`); the simulator puts hundreds of devices in front
 * of the very same thing. What is in memory here can be lost at any moment: the database is the truth.
 */
import {
  IdlewildError,
  digestTokens,
  equalBytes,
  messageOf,
  openStatement,
  receiptSchema,
  type BlobStore,
  type Clock,
  type Crypto,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { createAnswers, type AnswerMeter, type Answers, type ReceiptFacts } from './answers/answers.ts';
import { createJournal, type Journal } from './answers/journal.ts';
import { createAudit, type Audit } from './audit/audit.ts';
import { createCallers, type Callers } from './callers/callers.ts';
import type { DefaultLimits } from './callers/limits.ts';
import type { OpenDatabase } from './db/open.ts';
import type { Database } from './db/schema.ts';
import { accountIn } from './embeddings/account.ts';
import { createEmbeddings, type Embeddings } from './embeddings/embeddings.ts';
import { createDevices, type Devices } from './identity/devices.ts';
import { createEnrolment } from './identity/enrolment.ts';
import { createInvites, type Invites } from './identity/invites.ts';
import { createKeys, type Keys } from './identity/keys.ts';
import { createScopes, type ScopeOf } from './identity/scope.ts';
import type { Secrets, SecretName } from './identity/secrets.ts';
import { openTerritory } from './identity/territory.ts';
import { HUB_LIMITS } from './limits.ts';
import type { Log } from './log.ts';
import { createModels, type Model, type Models } from './models/registry.ts';
import { createPlacement, type Placement } from './placement/placement.ts';
import { createPolicy, type Policy } from './policy/policy.ts';
import { createBlobDesk, type BlobDesk, type BlobOrigin } from './relay/blob-desk.ts';
import type { ConnectedDevice } from './session/connected-device.ts';
import { createSessions, type Enrolment, type SessionEvents, type Sessions } from './session/sessions.ts';

export interface HubDeps {
  readonly database: OpenDatabase;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly secrets: Secrets;
  readonly meter: AnswerMeter;
  /** Bytes of blobs that devices were given. */
  onBlobServed?(origin: BlobOrigin, bytes: number): void;
  /** For keys that have no limit of their own; absent: they have none. */
  readonly limits?: DefaultLimits | undefined;
  readonly log: Log;
}

export interface Hub {
  readonly id: string;
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  readonly db: Database;
  readonly keys: Keys;
  readonly devices: Devices;
  readonly invites: Invites;
  readonly models: Models;
  readonly policy: Policy;
  readonly audit: Audit;
  readonly sessions: Sessions;
  readonly answers: Answers;
  readonly embeddings: Embeddings;
  readonly blobs: BlobDesk;
  readonly limits: Callers['limits'];
  readonly repeats: Callers['repeats'];
  /** Names who may share cached prompts. */
  readonly scopeOf: ScopeOf;
  /** Models have changed: they are placed anew, and every device is told which to hold. */
  announceModels(): Promise<void>;
  /** Whether the database answers. */
  isReady(): Promise<boolean>;
  /** Ends open answers with a reason, closes channels, writes what waits. */
  stop(): Promise<void>;
}

const SECRET_BYTES = 32;
const JOURNAL_KEY = 'Idlewild journal key: seals open requests. Without it they cannot be accounted for after a crash.';
const SCOPE_KEY = 'Idlewild scope key: names who may share cached prompts. Without it they are computed once more.';

async function secretOf(name: SecretName, header: string, { secrets, random }: HubDeps): Promise<Uint8Array> {
  const kept = await secrets.read(name);
  if (kept !== undefined) return kept;
  const made = random.bytes(SECRET_BYTES);
  await secrets.write(name, made, header);
  return made;
}

export async function createHub(deps: HubDeps): Promise<Hub> {
  const { store, clock, random, crypto, secrets, log } = deps;
  const { db } = deps.database;
  const audit = createAudit({ db, clock, crypto });
  const opened = await openTerritory({ db, secrets, crypto, random, clock, audit });
  const territory = { id: opened.id, name: opened.name, publicKey: opened.publicKey };
  const keys = createKeys({ db, crypto, random, clock, audit });
  const devices = createDevices({ db, crypto, clock, audit });
  const invites = createInvites({ db, crypto, random, clock, audit, devices });
  const models = createModels({ db, store, clock, audit });
  const policy = await createPolicy();
  const sealing = { db, crypto, random, clock, key: await secretOf('journal.key', JOURNAL_KEY, deps), log };
  const callers = createCallers({ ...sealing, defaults: deps.limits ?? {} });
  const journal = callers.charging(createJournal(sealing));
  await closeOpen(journal, log);
  const sessions: Sessions = createSessions({
    clock,
    random,
    crypto,
    log,
    identity: { territoryKey: territory.publicKey, hubKey: opened.hub.key, certificate: opened.certificate },
    enrolment: doorOf(territory.id, devices, invites),
    events: eventsFor(territory.id, () => ({ devices, blobs, placement, answers, embeddings })),
  });
  const revokedKeys: typeof keys.revokedAmong = (of, ids) => keys.revokedAmong(of, ids);
  const common = { clock, random, sessions, meter: deps.meter, log, revokedKeys };
  const { blobs, placement, announceModels } = createPlaces(deps, {
    sessions,
    models: () => models.list(territory.id),
    queued: () => answers.queuedByModel(),
  });
  const answers: Answers = createAnswers({
    ...common,
    placement,
    journal,
    checkReceipt: (device, receipt, seen) => checkReceipt(device, receipt, seen, crypto, log),
  });
  const embeddings: Embeddings = createEmbeddings({
    ...common,
    placement,
    account: accountIn(journal),
    onFree: () => answers.pump(),
  });
  await announceModels();
  const housekeeping = keepHouse(deps, [() => journal.flush(), () => devices.flush(), () => callers.keepHouse()]);

  return {
    id: opened.hub.id,
    territory,
    db,
    keys,
    devices,
    invites,
    models,
    policy,
    audit,
    sessions,
    answers,
    embeddings,
    blobs,
    limits: callers.limits,
    repeats: callers.repeats,
    scopeOf: createScopes({ crypto, secret: await secretOf('scope.key', SCOPE_KEY, deps) }),
    announceModels,
    isReady: () => isReady(db, log),
    async stop() {
      housekeeping.stop();
      placement.stop();
      embeddings.stop();
      await answers.stop();
      await callers.stop();
      sessions.stop('the hub is stopping');
      await devices.flush();
      await journal.flush();
    },
  };
}

async function closeOpen(journal: Journal, log: Log): Promise<void> {
  for (const { request, answerTokens } of await journal.recover()) {
    log.warn({ request, tokens: answerTokens }, 'a request was open when the hub stopped; it is closed as failed');
  }
}

/** Who may be a device of the territory. */
function doorOf(territory: string, devices: Devices, invites: Invites): Enrolment {
  const enrolment = createEnrolment({ territory, devices, invites });
  return {
    admit: (device, checked) => enrolment.admit(device, checked),
    isRevoked: async (device) => (await devices.get(territory, device))?.revokedAtMs !== undefined,
    touch: (device) => devices.touch(territory, device),
  };
}

type Rooms = Pick<Hub, 'devices' | 'blobs' | 'answers' | 'embeddings'> & { readonly placement: Placement };

/** Who hears what of devices: sessions come first, and the rooms that they tell are made after them. */
function eventsFor(territory: string, rooms: () => Rooms): SessionEvents {
  const pump = (): void => {
    rooms().answers.pump();
    rooms().embeddings.pump();
  };
  return {
    onJoin(device) {
      rooms().placement.onJoin(device);
      pump();
    },
    onStatus(device) {
      rooms().placement.onStatus(device);
      pump();
    },
    onAnswer: (device, event) => rooms().answers.onFrame(device, event),
    onBlob: (device, part) => rooms().blobs.onPart(device, part),
    onEmbed: (device, event) => rooms().embeddings.onFrame(device, event),
    onGone(device, code, why) {
      const { devices, blobs, placement, answers, embeddings } = rooms();
      devices.touch(territory, device.id);
      blobs.onGone(device);
      placement.onGone(device);
      answers.onGone(device, code, why);
      embeddings.onGone(device, code, why);
    },
  };
}

/** Which models lie where, and where their bytes come from. */
function createPlaces(
  { clock, crypto, store, log, onBlobServed }: HubDeps,
  { sessions, models, queued }: PlacesDeps,
): { blobs: BlobDesk; placement: Placement; announceModels(): Promise<void> } {
  const onServed = (origin: BlobOrigin, bytes: number): void => onBlobServed?.(origin, bytes);
  const blobs = createBlobDesk({ clock, crypto, store, sessions, log, onServed });
  const placement = createPlacement({ clock, sessions, log, models, queued });
  return {
    blobs,
    placement,
    async announceModels() {
      await blobs.update(await models());
      await placement.refresh();
    },
  };
}

interface PlacesDeps {
  readonly sessions: Sessions;
  readonly models: () => Promise<Model[]>;
  readonly queued: () => ReadonlyMap<string, number>;
}

async function isReady(db: Database, log: Log): Promise<boolean> {
  try {
    await db.selectFrom('territories').select('id').limit(1).execute();
    return true;
  } catch (error) {
    log.error({ why: (error as Error).message }, 'the database does not answer');
    return false;
  }
}

/** What is due from time to time, one after the other; after it erased pages leave the write-ahead log. */
function keepHouse({ clock, database, log }: HubDeps, chores: readonly (() => Promise<void>)[]): { stop(): void } {
  let timer: Timer;
  const round = (): void => {
    timer = clock.after(HUB_LIMITS.housekeepingMs, round);
    (async () => {
      for (const chore of chores) await chore();
      database.checkpoint();
    })().catch((error: unknown) => log.error({ why: messageOf(error) }, 'housekeeping failed'));
  };
  timer = clock.after(HUB_LIMITS.housekeepingMs, round);
  return { stop: () => timer.cancel() };
}

/** Whether a device's receipt says what the hub saw of the attempt. */
async function checkReceipt(
  device: ConnectedDevice,
  bytes: Uint8Array,
  seen: ReceiptFacts,
  crypto: Crypto,
  log: Log,
): Promise<boolean> {
  try {
    const { statement } = await openStatement('receipt', bytes, receiptSchema, crypto, device.publicKey);
    const agrees =
      equalBytes(statement.device, device.publicKey) &&
      statement.lease === seen.lease &&
      statement.epoch === seen.epoch &&
      statement.model === seen.model &&
      statement.firstToken === seen.firstToken &&
      statement.tokens === seen.tokens.length &&
      equalBytes(statement.tokensDigest, await digestTokens(seen.tokens, crypto));
    if (!agrees) throw new IdlewildError('signature_invalid', 'it does not say what was seen');
    return true;
  } catch (error) {
    log.warn({ device: device.id, lease: seen.lease, why: (error as Error).message }, 'a receipt was refused');
    return false;
  }
}
