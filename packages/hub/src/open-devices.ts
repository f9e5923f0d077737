/**
 * The devices of a territory, wherever their channels are: who may be one, how far each is trusted, and who hears of
 * them. Sessions come first, and the rooms that they tell are made after them: those are asked for when it is time.
 */
import type { Answers } from './answers/port.ts';
import type { AuditDesk } from './audit/desk.ts';
import { together } from './db/together.ts';
import type { Embeddings } from './embeddings/port.ts';
import type { HubDeps, ReplicaDeps } from './hub-deps.ts';
import { createEnrolment } from './identity/enrolment.ts';
import { createFarewell } from './identity/farewell.ts';
import { areRevoked } from './identity/revoked-lately.ts';
import { createTicketHolders } from './identity/ticket-holders.ts';
import { HUB_LIMITS } from './limits.ts';
import type { People } from './open-people.ts';
import type { Placement } from './placement/placement.ts';
import type { BlobDesk } from './relay/blob-desk.ts';
import { createFleet, type Fleet } from './replicas/fleet.ts';
import type { SealedAnswers } from './sealed/port.ts';
import type { SessionEvents } from './session/port.ts';
import { createSessions, type Enrolment } from './session/sessions.ts';
import { createDoor, type DoorDeps } from './trust/door.ts';
import { createTrust, type Trust } from './trust/trust.ts';

/** What is made after devices, and told of them. */
interface LaterRooms {
  readonly answers: Pick<Answers, 'onFrame' | 'onGone' | 'pump' | 'retrust'>;
  readonly embeddings: Pick<Embeddings, 'onFrame' | 'onGone' | 'pump' | 'retrust'>;
  readonly sealed: Pick<SealedAnswers, 'onFrame' | 'onGone' | 'pump' | 'retrust'>;
  readonly blobs: Pick<BlobDesk, 'onPart' | 'onGone'>;
  readonly placement: Pick<Placement, 'onJoin' | 'onStatus' | 'onGone' | 'onTrust' | 'said' | 'heard'>;
  readonly auditDesk: Pick<AuditDesk, 'onRefusedDevice'>;
}

export function openDevices(deps: HubDeps, people: People, self: ReplicaDeps, rooms: () => LaterRooms) {
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
    events: eventsFor(people, () => trust, rooms),
    demand: { beat: () => rooms().placement.said(), onBeat: (beat) => rooms().placement.heard(beat.from, beat) },
  });
  const trust: Trust = createTrust({
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
export type Connected = ReturnType<typeof openDevices>;

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

/** Who hears what of devices. */
function eventsFor({ territory, devices }: People, trust: () => Trust, rooms: () => LaterRooms): SessionEvents {
  const pump = (): void => {
    rooms().answers.pump();
    rooms().sealed.pump();
    rooms().embeddings.pump();
  };
  return {
    onJoin(device) {
      trust().onJoin(device);
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
      const { blobs, placement, answers, embeddings, sealed } = rooms();
      trust().onGone(device);
      devices.touch(territory.id, device.id);
      blobs.onGone(device);
      placement.onGone(device);
      answers.onGone(device, code, why);
      embeddings.onGone(device, code, why);
      sealed.onGone(device, code, why);
    },
  };
}
