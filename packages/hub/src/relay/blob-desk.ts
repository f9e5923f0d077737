/**
 * Where blocks are asked for. A device gets a leaf from another device that holds it, when one can give it now, and
 * from the hub's own store otherwise; everybody else gets it from the store.
 *
 *   asked ──► a relay of this leaf under way: its bytes ──► given
 *     │  └──► a device can give it: a relay ──────────────────┘ ▲
 *     │  └──► a device is just being given it, or giving: wait ─┤ (a moment, then the store)
 *     └─────► the store ────────────────────────────────────────┘
 *
 * - Several who ask for one leaf at once cost one relay, or one reading of the store and a relay from whoever got it.
 * - Relayed bytes are verified before they are passed on, and again by whoever gets them.
 * - What is no part of a model here is not given, though it may be in the store: other territories share that.
 * - Whatever fails between devices ends at the store: a fetch never fails because a device did.
 */
import type { BlobStore, Clock, Crypto } from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { BlobPart, Sessions } from '../session/port.ts';
import { createLeafIndex, type LeafIndex } from './leaf-index.ts';
import { createPeers, type Peers } from './peers.ts';
import { createRelay, type Relay, type RelayOutcome } from './relay.ts';

export type BlobOrigin = 'store' | 'peer';

export interface Served {
  readonly bytes: Uint8Array;
  readonly origin: BlobOrigin;
  /** To be called once, when the bytes are sent or will not be. A device that got them can give them. */
  ended(sent: boolean): void;
}

export interface BlobDesk {
  /** `device`: who asks, if it is one. `undefined` when nobody has it, or no model here consists of it. */
  fetch(cid: CID, device?: string): Promise<Served | undefined>;
  update: LeafIndex['update'];
  /** Whether a model here consists of it, as the database has it within half a second. */
  isOfModel(cid: string): boolean | Promise<boolean>;
  onPart(device: ConnectedDevice, part: BlobPart): void;
  onGone(device: ConnectedDevice): void;
}

export interface BlobDeskDeps {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly store: BlobStore;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'want'>;
  readonly log: Log;
  /** Has the models read again, for one that another replica has added; `update` is called. */
  readonly reread: () => Promise<void>;
  /** Bytes that devices were given, for the metrics. */
  onServed(origin: BlobOrigin, bytes: number): void;
}

interface Desk extends BlobDeskDeps {
  readonly index: LeafIndex;
  readonly peers: Peers;
  readonly relay: Relay;
  /** Leaves on their way from a device to the hub. */
  readonly flights: Map<string, Promise<Uint8Array | undefined>>;
  /** Leaves on their way from the store to a device, and to how many. */
  readonly serving: Map<string, number>;
  readonly waiting: Set<() => void>;
}

export function createBlobDesk(deps: BlobDeskDeps): BlobDesk {
  const desk: Desk = {
    ...deps,
    index: createLeafIndex(deps.store),
    peers: createPeers(deps.clock, deps.sessions),
    relay: createRelay(deps),
    flights: new Map(),
    serving: new Map(),
    waiting: new Set(),
  };
  let rereadAtMs = Number.NEGATIVE_INFINITY;
  let rereading: Promise<void> | undefined;
  /** Somebody who asks for what is nowhere must not have the models read all the time. */
  async function isOfModelAfterAll(cid: string): Promise<boolean> {
    const nowMs = deps.clock.monotonic();
    if (nowMs - rereadAtMs >= HUB_LIMITS.modelsReadMs) {
      rereadAtMs = nowMs;
      rereading = deps.reread().finally(() => {
        rereading = undefined;
      });
    }
    await rereading;
    return desk.index.has(cid);
  }
  const isOfModel = (cid: string): boolean | Promise<boolean> => desk.index.has(cid) || isOfModelAfterAll(cid);
  return {
    async fetch(cid, device) {
      const allowed = isOfModel(cid.toString());
      return allowed === true || (await allowed) ? fetch(desk, cid, device) : undefined;
    },
    isOfModel,
    update: (models) => desk.index.update(models),
    onPart: (device, part) => desk.relay.onPart(device, part),
    onGone(device) {
      desk.peers.forget(device.id);
      desk.relay.onGone(device);
    },
  };
}

async function fetch(desk: Desk, cid: CID, asker: string | undefined): Promise<Served | undefined> {
  const leaf = cid.toString();
  const models = desk.index.modelsOf(leaf);
  if (asker === undefined || models === undefined) return fromStore(desk, cid, asker);
  const untilMs = desk.clock.monotonic() + HUB_LIMITS.relayPatienceMs;
  for (let relays = 0; relays < HUB_LIMITS.relayTriesMax;) {
    const flying = desk.flights.get(leaf);
    const next = flying ?? peerFor(desk, leaf, models, asker);
    if (typeof next === 'object') {
      relays += 1;
      const bytes = await (next instanceof Promise ? next : fly(desk, next, cid));
      if (bytes !== undefined) return fromPeer(desk, leaf, asker, bytes);
      continue;
    }
    const isComing = next === 'full' || (desk.serving.get(leaf) ?? 0) > 0;
    const leftMs = untilMs - desk.clock.monotonic();
    if (!isComing || leftMs <= 0) break;
    await change(desk, leftMs);
  }
  return fromStore(desk, cid, asker);
}

function peerFor(
  { peers, flights }: Desk,
  leaf: string,
  models: readonly string[],
  asker: string,
): ConnectedDevice | 'full' | undefined {
  if (flights.size >= HUB_LIMITS.relaysMax) return undefined;
  return peers.choose(leaf, models, new Set([asker]));
}

/** One relay, for all who want the leaf meanwhile. */
function fly(desk: Desk, device: ConnectedDevice, cid: CID): Promise<Uint8Array | undefined> {
  const leaf = cid.toString();
  const { peers, relay, flights } = desk;
  peers.began(device.id);
  const flight = relay
    .fetch(device, cid)
    .then((outcome) => {
      judge(desk, device, leaf, outcome);
      peers.ended(device.id, outcome.t === 'bytes' ? outcome.bytes.length : 0);
      return outcome.t === 'bytes' ? outcome.bytes : undefined;
    })
    .finally(() => {
      flights.delete(leaf);
      wake(desk);
    });
  flights.set(leaf, flight);
  return flight;
}

function judge({ peers, log }: Desk, device: ConnectedDevice, leaf: string, outcome: RelayOutcome): void {
  switch (outcome.t) {
    case 'bytes':
      return;
    case 'busy':
      return peers.avoid(device.id, Math.min(outcome.forMs, HUB_LIMITS.peerBusyMsMax));
    case 'absent':
      peers.lacks(device.id, leaf);
      return peers.avoid(device.id, HUB_LIMITS.peerAbsentMs);
    case 'silent':
      return peers.avoid(device.id, HUB_LIMITS.peerSilentMs);
    case 'lied':
      log.warn({ device: device.id, leaf }, 'a device gave bytes that do not match; it is not asked for an hour');
      peers.lacks(device.id, leaf);
      return peers.avoid(device.id, HUB_LIMITS.peerLiedMs);
  }
}

function fromPeer(desk: Desk, leaf: string, asker: string, bytes: Uint8Array): Served {
  desk.onServed('peer', bytes.length);
  return {
    bytes,
    origin: 'peer',
    ended(sent) {
      if (!sent) return;
      desk.peers.gave(asker, leaf);
      wake(desk);
    },
  };
}

async function fromStore(desk: Desk, cid: CID, asker: string | undefined): Promise<Served | undefined> {
  const leaf = cid.toString();
  const { serving, index } = desk;
  const isLeaf = asker !== undefined && index.modelsOf(leaf) !== undefined;
  const count = (by: 1 | -1): void => {
    const left = (serving.get(leaf) ?? 0) + by;
    if (left > 0) serving.set(leaf, left);
    else serving.delete(leaf);
  };
  if (isLeaf) count(1);
  const done = (sent: boolean): void => {
    if (!isLeaf) return;
    count(-1);
    if (sent) desk.peers.gave(asker, leaf);
    wake(desk);
  };
  let bytes: Uint8Array | undefined;
  try {
    bytes = await desk.store.get(cid);
  } finally {
    if (bytes === undefined) done(false);
  }
  if (bytes === undefined) return undefined;
  if (asker !== undefined) desk.onServed('store', bytes.length);
  return { bytes, origin: 'store', ended: done };
}

function wake({ waiting }: Desk): void {
  const all = [...waiting];
  waiting.clear();
  for (const resume of all) resume();
}

/** Resolves when something has changed, or the time is over. */
function change({ waiting, clock }: Desk, leftMs: number): Promise<void> {
  return new Promise((resolve) => {
    const resume = (): void => {
      timer.cancel();
      waiting.delete(resume);
      resolve();
    };
    const timer = clock.after(leftMs, resume);
    waiting.add(resume);
  });
}
