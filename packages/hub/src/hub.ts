/**
 * The hub without its doors: every room wired to the others over injected clock, randomness, database and blob store.
 *
 * Opened in this order, each with those before: people (`open-people.ts`), books, devices, work. A process puts HTTP
 * and sockets in front of it (`node/start-hub.ts`); the simulator puts hundreds of devices in front of the very same
 * thing. What is in memory here can be lost at any moment: the database is the truth.
 */
import { newId } from '@idlewild/protocol';
import type { Answers } from './answers/port.ts';
import type { AnswerReceipts } from './answers/receipts.ts';
import type { Audit } from './audit/audit.ts';
import { createAuditDesk, type AuditDesk } from './audit/desk.ts';
import { createLocalBus } from './bus/local-bus.ts';
import { createTerritoryBus } from './bus/territory-bus.ts';
import type { Callers } from './callers/callers.ts';
import { startChores } from './chores.ts';
import type { Database } from './db/schema.ts';
import type { Embeddings } from './embeddings/port.ts';
import type { HubDeps, ReplicaDeps } from './hub-deps.ts';
import type { Devices } from './identity/devices.ts';
import type { Invites } from './identity/invites.ts';
import type { Keys } from './identity/keys.ts';
import type { ScopeOf } from './identity/scope.ts';
import { secretsOf } from './identity/secrets.ts';
import type { TerritoryName } from './identity/territory-name.ts';
import type { TicketHolders } from './identity/ticket-holders.ts';
import type { Log } from './log.ts';
import type { Models } from './models/registry.ts';
import { openBooks } from './open-books.ts';
import { openDevices, type Connected } from './open-devices.ts';
import { openPeople, type People } from './open-people.ts';
import { openWork } from './open-work.ts';
import type { People as PeopleRoom } from './people/people.ts';
import type { PeopleVersions } from './people/versions.ts';
import type { PolicyDesk } from './policy/desk.ts';
import type { TerritoryPolicy } from './policy/policy.ts';
import type { Allocations } from './projects/allocations.ts';
import type { Projects } from './projects/projects.ts';
import type { SpendRules } from './projects/rules.ts';
import type { Spending } from './projects/spending.ts';
import type { BlobDesk } from './relay/blob-desk.ts';
import type { Duty, Replica } from './replicas/port.ts';
import type { SealedAnswers } from './sealed/port.ts';
import type { Sessions } from './session/port.ts';
import type { LocalSessions } from './session/sessions.ts';
import type { SignIn } from './sign-in/sign-in.ts';
import type { HeldBlobs } from './storage/held-blobs.ts';
import type { DeviceTrust } from './trust/device-trust.ts';
import type { Trust } from './trust/trust.ts';
import type { Vouches } from './trust/vouches.ts';
import { openUse, type UseRooms } from './use/open-use.ts';

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
  /** `why` is told to devices that are connected. */
  stop(why?: string): Promise<void>;
}

const aloneOn = ({ clock, random, log }: HubDeps): ReplicaDeps => ({
  id: newId('rep', random),
  bus: createLocalBus({ clock, log }),
  isAlone: true,
});

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
  const connected: Connected = openDevices(deps, people, self, () => ({ auditDesk, ...work }));
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
    async stop(why = 'the hub is stopping') {
      chores.stop();
      told.stop();
      placement.stop();
      embeddings.stop();
      sealed.stop();
      // Answers that others go on with are let go before their runs are: whoever listens comes back to another.
      await answers.stop();
      await callers.stop();
      local.stop(why);
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

async function isReady(db: Database, log: Log): Promise<boolean> {
  try {
    await db.selectFrom('territories').select('id').limit(1).execute();
    return true;
  } catch (error) {
    log.error({ why: (error as Error).message }, 'the database does not answer');
    return false;
  }
}
