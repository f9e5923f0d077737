/**
 * The hub without its doors: every room wired to the others over injected clock, randomness, database and blob store.
 *
 * A process puts HTTP and sockets in front of it (`node/start-hub.ts`); the simulator puts hundreds of devices in front
 * of the very same thing. What is in memory here can be lost at any moment: the database is the truth.
 */
import {
  IdlewildError,
  concat,
  digestTokens,
  equalBytes,
  messageOf,
  newId,
  openStatement,
  receiptSchema,
  utf8,
  type BlobStore,
  type Clock,
  type Crypto,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { createAnswers, type AnswerMeter, type Answers, type ReceiptFacts } from './answers/answers.ts';
import { createJournal, type Journal } from './answers/journal.ts';
import { createAudit, type Audit } from './audit/audit.ts';
import { createLocalBus } from './bus/local-bus.ts';
import type { Bus } from './bus/port.ts';
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
import { watchMoved } from './identity/moved.ts';
import { revokedLately } from './identity/revoked-lately.ts';
import { createScopes, type ScopeOf } from './identity/scope.ts';
import type { Secrets, SecretName } from './identity/secrets.ts';
import { createTicketHolders, type TicketHolders } from './identity/ticket-holders.ts';
import { createTickets } from './identity/tickets.ts';
import { openTerritory } from './identity/territory.ts';
import { HUB_LIMITS } from './limits.ts';
import type { Log } from './log.ts';
import { createModels, type Model, type Models } from './models/registry.ts';
import { createPlacement, type Placement } from './placement/placement.ts';
import { createPolicy, type Policy } from './policy/policy.ts';
import { createBlobDesk, type BlobDesk, type BlobOrigin } from './relay/blob-desk.ts';
import { createDuties } from './replicas/duties.ts';
import { createFleet, type Fleet } from './replicas/fleet.ts';
import { FLEET_LIMITS } from './replicas/limits.ts';
import type { Duty, Replica } from './replicas/port.ts';
import type { ConnectedDevice } from './session/connected-device.ts';
import type { SessionEvents, Sessions } from './session/port.ts';
import { createSessions, type Enrolment, type LocalSessions, type SessionsDeps } from './session/sessions.ts';

/** This process as one of several, or as the only one. */
export interface ReplicaDeps {
  readonly id: string;
  readonly bus: Bus;
  /** Nobody else has this database, and nobody will. */
  readonly isAlone: boolean;
}

export interface HubDeps {
  readonly database: OpenDatabase;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
  readonly secrets: Secrets;
  readonly meter: AnswerMeter;
  /** Absent: it is alone. */
  readonly replica?: ReplicaDeps | undefined;
  /** Why no device may join this replica at the moment. */
  readonly refusal?: SessionsDeps['refusal'];
  /** Bytes of blobs that devices were given. */
  onBlobServed?(origin: BlobOrigin, bytes: number): void;
  /** For keys that have no limit of their own; absent: they have none. */
  readonly limits?: DefaultLimits | undefined;
  readonly log: Log;
}

export interface Hub {
  readonly id: string;
  readonly replica: Replica;
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  readonly db: Database;
  readonly keys: Keys;
  readonly devices: Devices;
  readonly invites: Invites;
  readonly models: Models;
  readonly policy: Policy;
  readonly audit: Audit;
  /** Devices of all replicas. */
  readonly sessions: Sessions;
  /** Channels of this one. */
  readonly local: LocalSessions;
  readonly ticketHolders: TicketHolders;
  readonly answers: Answers;
  readonly embeddings: Embeddings;
  readonly blobs: BlobDesk;
  readonly limits: Callers['limits'];
  readonly repeats: Callers['repeats'];
  /** Names who may share cached prompts. */
  readonly scopeOf: ScopeOf;
  /** Models have changed: they are placed anew, and every replica and device is told. */
  announceModels(): Promise<void>;
  /** Whether the database answers. */
  isReady(): Promise<boolean>;
  /**
   * Takes no new answers and devices, sends devices elsewhere over `moveMs`, and waits until nothing is open, at most
   * `boundMs`.
   */
  drain(times: { readonly moveMs: number; readonly boundMs: number }): Promise<void>;
  /** Ends what is open with a reason, or leaves it to another replica; closes channels, writes what waits. */
  stop(): Promise<void>;
}

const SECRET_BYTES = 32;
const JOURNAL_KEY = 'Idlewild journal key: seals open requests. Without it they cannot be accounted for after a crash.';
const SCOPE_KEY = 'Idlewild scope key: names who may share cached prompts. Without it they are computed once more.';

async function secretOf(name: SecretName, header: string, { secrets, random }: HubDeps): Promise<Uint8Array> {
  const kept = await secrets.read(name);
  if (kept !== undefined) return kept;
  await secrets.write(name, random.bytes(SECRET_BYTES), header);
  // Of replicas that start together the first to write gives it to all.
  return (await secrets.read(name)) as Uint8Array;
}

const aloneOn = ({ clock, random, log }: HubDeps): ReplicaDeps => ({
  id: newId('rep', random),
  bus: createLocalBus({ clock, log }),
  isAlone: true,
});

export async function createHub(deps: HubDeps): Promise<Hub> {
  const { store, clock, random, crypto, secrets, log, database } = deps;
  const { db } = database;
  const { id, bus, isAlone } = deps.replica ?? aloneOn(deps);
  // What people read later is told in the database's time, whichever machine writes it.
  const calendar = database.clock;
  const audit = createAudit({ db, clock: calendar, crypto });
  const opened = await openTerritory({ db, secrets, crypto, random, clock: calendar, audit });
  const territory = { id: opened.id, name: opened.name, publicKey: opened.publicKey };
  const keys = createKeys({ db, crypto, random, clock: calendar, audit });
  const devices = createDevices({ db, crypto, clock: calendar, audit });
  const invites = createInvites({ db, crypto, random, clock: calendar, audit, devices });
  const models = createModels({ db, store, clock: calendar, audit });
  const policy = await createPolicy();
  const scopeKey = await secretOf('scope.key', SCOPE_KEY, deps);
  const sealing = {
    database,
    crypto,
    random,
    clock: calendar,
    key: await secretOf('journal.key', JOURNAL_KEY, deps),
    log,
  };
  const replica: Replica = { id, bus, isLive: (other) => fleet.isLive(other) };
  const duties = createDuties({ database, replica, clock, random, log, exclusive: isAlone });
  const callers = createCallers({ ...sealing, replica, defaults: deps.limits ?? {} });
  const journal = callers.charging(createJournal({ ...sealing, owner: id }));
  const tickets = createTickets({ key: await derive(crypto, scopeKey, 'tickets'), crypto, clock: calendar });
  const fleet: Fleet = createFleet({
    replica: id,
    bus,
    isAlone,
    clock,
    log,
    local: () => local,
    events: eventsFor(territory.id, () => ({ devices, blobs, placement, answers, embeddings })),
    demand: { beat: () => placement.said(), onBeat: (beat) => placement.heard(beat.from, beat) },
  });
  const local = createSessions({
    clock: calendar,
    random,
    crypto,
    log,
    replica: id,
    identity: { territoryKey: territory.publicKey, hubKey: opened.hub.key, certificate: opened.certificate },
    enrolment: doorOf(territory.id, devices, invites),
    tickets,
    events: fleet.events,
    refusal: deps.refusal,
  });
  const revokedKeys: typeof keys.revokedAmong = (of, ids) => keys.revokedAmong(of, ids);
  const common = { clock, random, replica: id, sessions: fleet, meter: deps.meter, log, revokedKeys };
  const { blobs, placement, readModels } = createPlaces(deps, {
    sessions: fleet,
    local,
    duty: duties.duty('placement'),
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
  const onFault = (error: unknown): void => log.error({ why: messageOf(error) }, 'models could not be read');
  const modelsChanged = bus.subscribe('all.models', () => void readModels().catch(onFault));
  await duties.settled();
  await readModels();
  const expiry = duties.duty('expiry');
  await closeOpen(journal, isAlone, log);
  const housekeeping = keepHouse(deps, [
    () => journal.flush(),
    () => devices.flush(),
    () => forAll(expiry, callers, journal, log),
  ]);
  const moved = watchMoved(deps, local);
  const revocations = isAlone ? undefined : watchRevoked(deps, territory.id, local);

  return {
    id: opened.hub.id,
    replica,
    territory,
    db,
    keys,
    devices,
    invites,
    models,
    policy,
    audit,
    sessions: fleet,
    local,
    ticketHolders: createTicketHolders({ tickets, fleet, devices, clock }),
    answers,
    embeddings,
    blobs,
    limits: callers.limits,
    repeats: callers.repeats,
    scopeOf: createScopes({ crypto, secret: scopeKey }),
    async announceModels() {
      bus.publish('all.models', new Uint8Array(0));
      await readModels();
    },
    isReady: () => isReady(db, log),
    async drain({ moveMs, boundMs }) {
      local.close();
      // A hub that is alone is where its devices come back to.
      if (!isAlone) local.move([...local.list()], moveMs, 'this replica is stopping');
      await answers.drain(boundMs);
    },
    async stop() {
      housekeeping.stop();
      revocations?.stop();
      moved.stop();
      modelsChanged.stop();
      placement.stop();
      embeddings.stop();
      // Answers that others go on with are let go before their runs are: whoever listens comes back to another.
      await answers.stop();
      await callers.stop();
      local.stop('the hub is stopping');
      fleet.stop();
      await devices.flush();
      await journal.flush();
      await duties.stop();
    },
  };
}

const derive = async (crypto: Crypto, secret: Uint8Array, use: string): Promise<Uint8Array> =>
  crypto.sha256(concat([utf8(`idlewild/v1/hub/${use}\n`), secret]));

/** A hub that is alone closes at once what a crash left open; of several, whoever has the duty does. */
async function closeOpen(journal: Journal, isAlone: boolean, log: Log): Promise<void> {
  if (!isAlone) return;
  for (const { request, answerTokens } of await journal.closeOrphans()) {
    log.warn({ request, tokens: answerTokens }, 'a request was open when the hub stopped; it is closed as failed');
  }
}

/** What one replica does for all: forgets runs that nobody came back to, and ends answers that nobody will finish. */
async function forAll(duty: Duty, callers: Callers, journal: Journal, log: Log): Promise<void> {
  if (!duty.isMine()) return;
  await duty.fenced((transaction) => callers.expireRuns(transaction));
  await callers.keepHouse();
  for (const { request, answerTokens } of await journal.closeOrphans())
    log.warn({ request, tokens: answerTokens }, 'the replica of a request is gone; it is closed as failed');
}

/** A device that was revoked through another replica is dropped here, also when the bus lost the word of it. */
function watchRevoked({ clock, database, log }: HubDeps, territory: string, local: LocalSessions): { stop(): void } {
  let timer: Timer;
  const look = (): void => {
    timer = clock.after(FLEET_LIMITS.revokedReadMs, look);
    revokedLately(database, territory).then(
      (revoked) => {
        for (const id of revoked) local.drop(id, 'device_revoked', 'a steward of the territory revoked this device');
      },
      (error: unknown) => log.error({ why: messageOf(error) }, 'revoked devices could not be read'),
    );
  };
  timer = clock.after(FLEET_LIMITS.revokedReadMs, look);
  return { stop: () => timer.cancel() };
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
  { sessions, local, duty, models, queued }: PlacesDeps,
): { blobs: BlobDesk; placement: Placement; readModels(): Promise<void> } {
  const onServed = (origin: BlobOrigin, bytes: number): void => onBlobServed?.(origin, bytes);
  // Bulk does not go over the bus: a device gives to others of its own replica.
  const blobs = createBlobDesk({ clock, crypto, store, sessions: local, log, onServed });
  const placement = createPlacement({ clock, sessions, log, duty, models, queued });
  return {
    blobs,
    placement,
    async readModels() {
      await blobs.update(await models());
      await placement.refresh();
    },
  };
}

interface PlacesDeps {
  readonly sessions: Sessions;
  readonly local: LocalSessions;
  readonly duty: Duty;
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
