/**
 * The hub without its doors: every room wired to the others over injected clock, randomness, database and blob store.
 *
 * A process puts HTTP and sockets in front of it (`node/start-hub.ts`); the simulator puts hundreds of devices in front
 * of the very same thing. What is in memory here can be lost at any moment: the database is the truth.
 */
import { newId, type BlobStore, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import { createAnswers } from './answers/answers.ts';
import { checkReceipt } from './answers/check-receipt.ts';
import { createJournal } from './answers/journal/journal.ts';
import type { AnswerMeter, Answers } from './answers/port.ts';
import { type AnswerReceipts } from './answers/receipts.ts';
import { type Audit } from './audit/audit.ts';
import { createAuditDesk, type AuditDesk } from './audit/desk.ts';
import { createLocalBus } from './bus/local-bus.ts';
import type { Bus } from './bus/port.ts';
import { createTerritoryBus } from './bus/territory-bus.ts';
import { startChores } from './chores.ts';
import { createCallers, type Callers } from './callers/callers.ts';
import type { DefaultLimits } from './callers/limits.ts';
import type { OpenDatabase } from './db/open.ts';
import { together } from './db/together.ts';
import type { Database } from './db/schema.ts';
import { accountIn } from './embeddings/account.ts';
import { createEmbeddings } from './embeddings/embeddings.ts';
import type { Embeddings } from './embeddings/port.ts';
import { type Devices } from './identity/devices.ts';
import { createEnrolment } from './identity/enrolment.ts';
import { createFarewell } from './identity/farewell.ts';
import { type Invites } from './identity/invites.ts';
import { type Keys } from './identity/keys.ts';
import { areRevoked } from './identity/revoked-lately.ts';
import { type ScopeOf } from './identity/scope.ts';
import { secretsOf, type Secrets } from './identity/secrets.ts';
import type { TerritoryName } from './identity/territory-name.ts';
import { createTicketHolders, type TicketHolders } from './identity/ticket-holders.ts';
import { HUB_LIMITS } from './limits.ts';
import type { Log } from './log.ts';
import { type Model, type Models } from './models/registry.ts';
import { openProjects } from './projects/open.ts';
import type { Allocations } from './projects/allocations.ts';
import type { Projects } from './projects/projects.ts';
import type { SpendRules } from './projects/rules.ts';
import type { Spending } from './projects/spending.ts';
import type { People as PeopleRoom } from './people/people.ts';
import { createEyes, type FreshEyes } from './placement/eyes.ts';
import { createPlacement, type Placement } from './placement/placement.ts';
import { type PeopleVersions } from './people/versions.ts';
import type { PolicyDesk } from './policy/desk.ts';
import type { TerritoryPolicy } from './policy/policy.ts';
import { createBlobDesk, type BlobDesk, type BlobOrigin } from './relay/blob-desk.ts';
import { createDuties } from './replicas/duties.ts';
import { createFleet, type Fleet } from './replicas/fleet.ts';
import type { Duty, Replica } from './replicas/port.ts';
import type { SealedAnswers } from './sealed/port.ts';
import { createSealedReceipts } from './sealed/receipts.ts';
import { createSealed } from './sealed/sealed.ts';
import { createVouched } from './sealed/vouched.ts';
import type { SessionEvents, Sessions } from './session/port.ts';
import { type DeviceTrust } from './trust/device-trust.ts';
import { createDoor, type DoorDeps } from './trust/door.ts';
import { createTrust, type Trust } from './trust/trust.ts';
import { type Vouches } from './trust/vouches.ts';
import { type SignIn } from './sign-in/sign-in.ts';
import { createHeldBlobs, type HeldBlobs } from './storage/held-blobs.ts';
import { createSessions, type Enrolment, type LocalSessions, type SessionsDeps } from './session/sessions.ts';
import { openPeople, type People } from './open-people.ts';
import { openUse, type UseRooms } from './use/open-use.ts';

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
  /** Of the whole process, whichever territory this is. */
  readonly secrets: Secrets;
  /** Which of the database's territories; absent: its first, which is made where there is none. */
  readonly territory?: string | undefined;
  /** What the first is called where it is made; absent: home. */
  readonly name?: string | undefined;
  /** Where OpenID providers may be in a private network; see `SignInDeps`. */
  readonly privateProviders?: readonly string[] | undefined;
  readonly meter: AnswerMeter;
  /** Absent: it is alone. */
  readonly replica?: ReplicaDeps | undefined;
  /** Frames for other replicas that come faster than this go together; absent: a few milliseconds. */
  readonly passGapMs?: number | undefined;
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
  /** `name` as it is at the moment. */
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  readonly naming: TerritoryName;
  readonly db: Database;
  readonly keys: Keys;
  readonly devices: Devices;
  readonly invites: Invites;
  /** What stewards say of devices. */
  readonly deviceTrust: DeviceTrust;
  readonly vouches: Vouches;
  readonly trust: Trust;
  readonly models: Models;
  /** Members, groups, roles, bindings, and what is people's own. */
  readonly people: PeopleRoom;
  readonly policy: TerritoryPolicy;
  readonly policyDesk: PolicyDesk;
  readonly versions: PeopleVersions;
  readonly audit: Audit;
  readonly auditDesk: AuditDesk;
  /** What doors decided, for the audit log. */
  readonly onDecision: AuditDesk['onDecision'];
  /** Devices of all replicas. */
  readonly sessions: Sessions;
  /** Channels of this one. */
  readonly local: LocalSessions;
  readonly ticketHolders: TicketHolders;
  readonly use: UseRooms['use'];
  readonly refusals: UseRooms['refusals'];
  readonly appeals: UseRooms['appeals'];
  readonly answers: Answers;
  readonly receipts: AnswerReceipts;
  readonly embeddings: Embeddings;
  readonly sealed: SealedAnswers;
  readonly blobs: BlobDesk;
  /** What the territory may have of the bytes that all share. */
  readonly held: HeldBlobs;
  readonly limits: Callers['limits'];
  readonly projects: Projects;
  readonly allocations: Allocations;
  readonly spendRules: SpendRules;
  readonly spending: Spending;
  readonly repeats: Callers['repeats'];
  /** How people sign in. */
  readonly signIn: SignIn;
  /** Names who may share cached prompts. */
  readonly scopeOf: ScopeOf;
  /** Models have changed: they are placed anew, and every replica and device is told. */
  announceModels(): Promise<void>;
  /** Something changed that decisions depend on: here it is known at once, and every replica is told. */
  announcePeople(): void;
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

const aloneOn = ({ clock, random, log }: HubDeps): ReplicaDeps => ({
  id: newId('rep', random),
  bus: createLocalBus({ clock, log }),
  isAlone: true,
});

/** What this replica writes down of answers, and may do for all. */
function openBooks(
  deps: HubDeps,
  { journalKey: key, territory: { id: territory }, audit, versions }: People,
  { id, isAlone }: ReplicaDeps,
  replica: Replica,
) {
  const { database, crypto, random, log, limits: defaults = {} } = deps;
  const sealing = { database, territory, crypto, random, clock: database.clock, key, log };
  const callers = createCallers({ ...sealing, replica, defaults });
  const accounts = openProjects({ database, random, audit, versions, owner: id, log }, territory);
  return {
    callers,
    ...accounts,
    journal: callers.charging(createJournal({ ...sealing, owner: id }), accounts.spending),
    duties: createDuties({ ...deps, replica, exclusive: isAlone }),
  };
}
type Books = ReturnType<typeof openBooks>;

/** Devices, wherever their channels are. */
function openDevices(deps: HubDeps, people: People, self: ReplicaDeps, rooms: () => Rooms) {
  const { clock, random, crypto, log, database, refusal, passGapMs } = deps;
  const { opened, certificate, territory, devices, tickets, versions, policy } = people;
  const fleet: Fleet = createFleet({
    replica: self.id,
    bus: self.bus,
    isAlone: self.isAlone,
    clock,
    passGapMs,
    log,
    local: () => local,
    events: eventsFor(territory.id, rooms),
    demand: { beat: () => rooms().placement.said(), onBeat: (beat) => rooms().placement.heard(beat.from, beat) },
  });
  const trust = createTrust({
    db: database.db,
    territory: territory.id,
    versions,
    tiersFor: (dataClass) => policy.tiersFor(dataClass),
    clock,
    devices: () => fleet.list(),
    onChanged() {
      rooms().answers.retrust();
      rooms().embeddings.retrust();
      rooms().sealed.retrust();
      rooms().placement.onTrust();
    },
    log,
  });
  const local = createSessions({
    clock: database.clock,
    random,
    crypto,
    log,
    replica: self.id,
    territory,
    identity: { territoryKey: territory.publicKey, hubKey: opened.hub.key, certificate },
    enrolment: doorOf(deps, people, trust, (refused) => rooms().auditDesk.onRefusedDevice(refused)),
    tickets,
    events: fleet.events,
    refusal,
  });
  return { fleet, local, trust, ticketHolders: createTicketHolders({ tickets, fleet, devices, clock }) };
}
type Connected = ReturnType<typeof openDevices>;

/** What devices are asked for. */
function openWork(
  deps: HubDeps,
  people: People,
  books: Books,
  { id }: ReplicaDeps,
  { fleet, local, trust }: Connected,
) {
  const { clock, random, crypto, log, meter } = deps;
  const { models, territory, vouches } = people;
  const { journal, duties } = books;
  const { clock: wallClock } = deps.database;
  const vouched = createVouched({
    clock,
    trust,
    vouches,
    territory: territory.id,
    devices: () => fleet.list(),
    wallClock,
  });
  const { blobs, held, placement, readModels } = createPlaces(deps, {
    territory: territory.id,
    sessions: fleet,
    local,
    duty: duties.duty('placement'),
    models: () => models.list(territory.id),
    queued: () => answers.queuedByModel(),
    eyes: createEyes(trust, vouched),
  });
  const common = { clock, random, replica: id, sessions: fleet, placement, trust, meter, log };
  const answers: Answers = createAnswers({
    ...common,
    journal,
    checkReceipt: (device, receipt, seen) => checkReceipt(device, receipt, seen, crypto, log),
  });
  const embeddings: Embeddings = createEmbeddings({
    ...common,
    account: accountIn(journal),
    onFree: () => answers.pump(),
  });
  const sealed: SealedAnswers = createSealed({
    ...common,
    crypto,
    key: people.offerKey,
    wallClock,
    journal,
    receipts: createSealedReceipts({
      territory: territory.publicKey,
      hub: people.opened.hub.key,
      certificate: people.certificate,
      crypto,
      clock: wallClock,
      log,
    }),
    vouched,
    onFree: () => answers.pump(),
  });
  return { answers, embeddings, sealed, blobs, held, placement, readModels };
}

export async function createHub(given: HubDeps): Promise<Hub> {
  const { territory: further, secrets: all } = given;
  const deps: HubDeps = further === undefined ? given : { ...given, secrets: secretsOf(all, further) };
  const { db } = deps.database;
  const alike = deps.replica ?? aloneOn(deps);
  const people = await openPeople(deps);
  const self: ReplicaDeps = { ...alike, bus: createTerritoryBus(alike.bus, people.territory.id) };
  const { devices, territory } = people;
  const replica: Replica = { id: self.id, bus: self.bus, isLive: (other) => connected.fleet.isLive(other) };
  const books = openBooks(deps, people, self, replica);
  const { callers, journal, duties } = books;
  const connected: Connected = openDevices(deps, people, self, () => ({
    devices,
    trust: connected.trust,
    auditDesk,
    ...work,
  }));
  const { local, fleet } = connected;
  const work = openWork(deps, people, books, self, connected);
  const { answers, placement, embeddings, sealed, readModels } = work;
  const rules = openUse(
    { ...deps, ...people, ...deps.database, directory: people.policy.directory, embeddings },
    territory.id,
  );
  const told = self.bus.subscribe('all.people', () => people.versions.stale());
  const auditDesk = openAuditDesk(deps, people, duties.duty('audit'));
  const chores = await startChores(deps, { ...work, ...books, ...self, devices, local, territory: territory.id });

  return {
    ...people,
    ...work,
    ...rules,
    ...connected,
    auditDesk,
    onDecision: (decision) => auditDesk.onDecision(decision),
    id: people.opened.hub.id,
    replica,
    db,
    sessions: fleet,
    limits: callers.limits,
    projects: books.projects,
    allocations: books.allocations,
    spendRules: books.spendRules,
    spending: books.spending,
    repeats: callers.repeats,
    async announceModels() {
      self.bus.publish('all.models', new Uint8Array(0));
      await readModels();
    },
    announcePeople() {
      people.versions.stale();
      self.bus.publish('all.people', new Uint8Array(0));
    },
    isReady: () => isReady(db, deps.log),
    async drain({ moveMs, boundMs }) {
      local.close();
      // A hub that is alone is where its devices come back to.
      if (!self.isAlone) local.move([...local.list()], moveMs, 'this replica is stopping');
      await Promise.all([answers.drain(boundMs), sealed.drain(boundMs)]);
    },
    async stop() {
      chores.stop();
      told.stop();
      placement.stop();
      embeddings.stop();
      sealed.stop();
      // Answers that others go on with are let go before their runs are: whoever listens comes back to another.
      await answers.stop();
      await callers.stop();
      local.stop('the hub is stopping');
      fleet.stop();
      await devices.flush();
      await journal.flush();
      await rules.refusals.stop();
      await auditDesk.stop();
      await duties.stop();
      people.policy.stop();
    },
  };
}

function openAuditDesk({ database, crypto, log }: HubDeps, people: People, duty: Duty): AuditDesk {
  const { audit, territory, opened, certificate } = people;
  const signer = { hubKey: opened.hub.key, certificate };
  return createAuditDesk({ ...database, crypto, log, audit, duty, territory, ...signer });
}

/** Who may be a device of the territory. */
function doorOf(
  { database, crypto }: HubDeps,
  { opened, certificate, territory, audit, devices, invites }: People,
  trust: Trust,
  onRefused: DoorDeps['onRefused'],
): Enrolment {
  const { id } = territory;
  const { hub } = opened;
  const isRevoked = together<string, boolean>(HUB_LIMITS.handshakesMax, (ids) => areRevoked(database, id, ids));
  const farewell = createFarewell({ ...database, crypto, audit, territory, certificate, hubKey: hub.key });
  const enrolment = createEnrolment({ territory: id, devices, invites, farewell });
  const { db } = database;
  const door = createDoor({ db, crypto, territory: id, enrolment, trust, onRefused });
  return { ...door, isRevoked, touch: (device) => devices.touch(id, device), leave: (device) => farewell.say(device) };
}

type Rooms = Pick<Hub, 'devices' | 'blobs' | 'answers' | 'embeddings' | 'sealed'> & {
  readonly placement: Placement;
  readonly trust: Trust;
  readonly auditDesk: Pick<AuditDesk, 'onRefusedDevice'>;
};

/** Who hears what of devices: sessions come first, and the rooms that they tell are made after them. */
function eventsFor(territory: string, rooms: () => Rooms): SessionEvents {
  const pump = (): void => {
    rooms().answers.pump();
    rooms().sealed.pump();
    rooms().embeddings.pump();
  };
  return {
    onJoin(device) {
      rooms().trust.onJoin(device);
      rooms().placement.onJoin(device);
      pump();
    },
    onStatus(device) {
      rooms().placement.onStatus(device);
      pump();
    },
    onAnswer(device, event) {
      rooms().answers.onFrame(device, event);
      if (event.t === 'answer.finished' || event.t === 'answer.failed') rooms().sealed.pump();
    },
    onBlob: (device, part) => rooms().blobs.onPart(device, part),
    onEmbed: (device, event) => rooms().embeddings.onFrame(device, event),
    onSealed: (device, event) => rooms().sealed.onFrame(device, event),
    onGone(device, code, why) {
      const { devices, blobs, placement, answers, embeddings, sealed, trust } = rooms();
      trust.onGone(device);
      devices.touch(territory, device.id);
      blobs.onGone(device);
      placement.onGone(device);
      answers.onGone(device, code, why);
      embeddings.onGone(device, code, why);
      sealed.onGone(device, code, why);
    },
  };
}

/** Which models lie where, and where their bytes come from. */
function createPlaces(
  { clock, crypto, store, log, onBlobServed, database: { db } }: HubDeps,
  { territory, sessions, local, duty, models, queued, eyes }: PlacesDeps,
): { blobs: BlobDesk; held: HeldBlobs; placement: Placement; readModels(): Promise<void> } {
  const onServed = (origin: BlobOrigin, bytes: number): void => onBlobServed?.(origin, bytes);
  // Bulk does not go over the bus: a device gives to others of its own replica.
  const blobs: BlobDesk = createBlobDesk({
    clock,
    crypto,
    store,
    sessions: local,
    log,
    onServed,
    reread: async () => blobs.update(await models()),
  });
  const placement = createPlacement({ clock, sessions, log, duty, models, queued, eyes });
  const isOfModel = (cid: string): boolean | Promise<boolean> => blobs.isOfModel(cid);
  return {
    blobs,
    held: createHeldBlobs({ db, territory, store, crypto, isOfModel }),
    placement,
    async readModels() {
      await blobs.update(await models());
      await placement.refresh();
    },
  };
}

interface PlacesDeps {
  readonly territory: string;
  readonly sessions: Sessions;
  readonly local: LocalSessions;
  readonly duty: Duty;
  readonly models: () => Promise<Model[]>;
  readonly queued: () => ReadonlyMap<string, number>;
  readonly eyes: FreshEyes;
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
