/**
 * What other replicas have running on this replica's devices.
 *
 * A lease has one owner. An order makes its sender the owner; a `resume` by a later owner of the answer makes that the
 * owner, and from then on the one before changes nothing. Frames go to the owner as they came. A lease whose owner is
 * gone is kept for whoever takes the answer over, if anybody may, and is revoked after a while.
 */
import { isErrorCode, type Clock, type ErrorCode, type Timer } from '@idlewild/protocol';
import type { Bus, BusMessage, Subscription } from '../bus/port.ts';
import { stateOf, type LocalDevice } from '../session/connected-device.ts';
import { createPace } from '../pace.ts';
import type { LocalSessions } from '../session/sessions.ts';
import { orderSchema, readAs, write, type Frames, type Order, type Replied } from './fleet-wire.ts';
import { FLEET_LIMITS } from './limits.ts';

interface Claim {
  readonly device: LocalDevice;
  readonly epoch: number;
  readonly isResumable: boolean;
  /** Nobody, for the moment. */
  owner: string | undefined;
  ownerEpoch: number;
  expiry: Timer | undefined;
}

export interface Home {
  /** Listens for orders; attempts of earlier sessions that it still has are kept for a while. */
  onJoin(device: LocalDevice): void;
  onGone(device: LocalDevice): void;
  /** Takes a frame of a lease that is another replica's; false when it is this one's own. */
  forward(device: LocalDevice, lease: string, frame: Uint8Array, isEnd: boolean): boolean;
  /** Whether the attempt is another replica's, or waits for one. */
  isTaken(lease: string): boolean;
  /** This replica itself is the owner from now on; false when a later owner has it. */
  claim(device: LocalDevice, lease: string, ownerEpoch: number): boolean;
  /** This replica has nothing more to do with it. */
  disown(device: LocalDevice, lease: string, epoch: number): void;
  ownerGone(replica: string): void;
  /** A list of models to hold; false when it comes of an older holder of the duty. */
  mayHold(duty: number): boolean;
  stop(): void;
}

export interface HomeDeps {
  readonly bus: Bus;
  readonly clock: Clock;
  /** The channels here; made after this. */
  readonly local: () => Pick<
    LocalSessions,
    'order' | 'embed' | 'sealed' | 'resume' | 'kept' | 'revokeLease' | 'hold' | 'drain' | 'drop'
  >;
  /** Frames for others that come faster than this go together. */
  readonly passGapMs: number;
  /** Its leases changed. */
  onChanged(device: LocalDevice): void;
}

const REFUSED = (code: ErrorCode, message: string): Replied => ({ code, message });
const TAKEN: Replied = {};

export function createHome({ bus, clock, local, passGapMs, onChanged }: HomeDeps): Home {
  const claims = new Map<string, Claim>();
  const listening = new Map<string, Subscription>();
  /** Frames that wait, by owner. */
  const passing = new Map<string, { readonly frames: Frames; bytes: number }>();
  const passed = createPace(clock, passGapMs, () => {
    for (const owner of [...passing.keys()]) send(owner);
  });
  let dutySeen = 0;

  function end(lease: string): void {
    const claim = claims.get(lease);
    claim?.expiry?.cancel();
    claims.delete(lease);
    claim?.device.leases.delete(lease);
    if (claim !== undefined) onChanged(claim.device);
  }

  /** For whoever takes it over; nobody after `claimMs`. */
  function keep(lease: string, claim: Claim): void {
    claim.owner = undefined;
    claim.expiry?.cancel();
    claim.expiry = clock.after(FLEET_LIMITS.claimMs, () => revoke(lease, claim));
  }

  function revoke(lease: string, claim: Claim): void {
    if (claims.get(lease) !== claim) return;
    end(lease);
    local().revokeLease(claim.device, lease, claim.epoch);
  }

  function take(lease: string, claim: Claim): void {
    claims.get(lease)?.expiry?.cancel();
    claims.set(lease, claim);
    claim.device.leases.add(lease);
    onChanged(claim.device);
  }

  function send(owner: string): void {
    const batch = passing.get(owner);
    if (batch === undefined) return;
    passing.delete(owner);
    bus.publish(`rep.${owner}.ans`, write(batch.frames));
  }

  /** Sealing a message costs as much as all else that is done for a token: those of one moment go together. */
  function pass(owner: string, lease: string, frame: Uint8Array): void {
    const batch = passing.get(owner) ?? { frames: [], bytes: 0 };
    passing.set(owner, batch);
    batch.frames.push([lease, frame]);
    batch.bytes += frame.length;
    if (batch.bytes > FLEET_LIMITS.passedBytesMax) send(owner);
    else passed.ask();
  }

  function refusal(device: LocalDevice): Replied | undefined {
    const state = stateOf(device);
    if (state === 'ready') return undefined;
    return REFUSED('device_full', `the device ${device.name} is ${state}`);
  }

  function onOrder(device: LocalDevice, order: Order): Replied {
    switch (order.k) {
      case 'sealed': {
        // The one that an offer keeps a place for needs none.
        const refused = device.leases.has(order.lease) && !claims.has(order.lease) ? undefined : refusal(device);
        if (refused !== undefined) return refused;
        const { k: _k, from: owner, ...sealed } = order;
        take(order.lease, { device, epoch: order.epoch, isResumable: false, owner, ownerEpoch: 0, expiry: undefined });
        local().sealed(device, sealed);
        return TAKEN;
      }
      case 'order':
      case 'embed': {
        const refused = refusal(device);
        if (refused !== undefined) return refused;
        const { from: owner, lease, epoch, model, deadlineMs } = order;
        const isResumable = order.k === 'order' && order.isResumable;
        const ownerEpoch = order.k === 'order' ? order.ownerEpoch : 0;
        take(lease, { device, epoch, isResumable, owner, ownerEpoch, expiry: undefined });
        const common = { lease, epoch, model, dataClass: order.dataClass, cause: order.cause, deadlineMs };
        if (order.k === 'embed') local().embed(device, { ...common, work: order.work });
        else local().order(device, { ...common, isResumable, ownerEpoch, work: order.work });
        return TAKEN;
      }
      case 'resume': {
        const { from: owner, lease, epoch, ownerEpoch, at } = order;
        const known = claims.get(lease);
        if (known !== undefined && known.ownerEpoch > ownerEpoch)
          return REFUSED('lease_unknown', 'another replica has this attempt');
        take(lease, { device, epoch, isResumable: true, owner, ownerEpoch, expiry: undefined });
        local().resume(device, { lease, epoch, ownerEpoch, from: at });
        return TAKEN;
      }
      case 'cancel': {
        const known = claims.get(order.lease);
        if (known?.owner === order.from) revoke(order.lease, known);
        return TAKEN;
      }
      case 'disown': {
        const known = claims.get(order.lease);
        if (known?.owner === order.from) keep(order.lease, known);
        return TAKEN;
      }
      case 'kept':
        local().kept(device, order.lease, order.epoch);
        return TAKEN;
      case 'hold':
        if (mayHold(order.duty)) local().hold(device, order.models, order.duty);
        onChanged(device);
        return TAKEN;
      case 'drain':
        local().drain(device.id, order.reason);
        return TAKEN;
      case 'drop':
        local().drop(device.id, order.code, order.message);
        return TAKEN;
    }
  }

  function mayHold(duty: number): boolean {
    if (duty < dutySeen) return false;
    dutySeen = duty;
    return true;
  }

  return {
    onJoin(device) {
      const onMessage = ({ bytes, respond }: BusMessage): void => {
        const order = readAs(orderSchema, bytes);
        if (order !== undefined) respond(write(onOrder(device, order)));
      };
      listening.set(device.id, bus.subscribe(`dev.${device.id}`, onMessage));
      for (const { lease, epoch } of device.status.attempts ?? []) {
        const known = claims.get(lease);
        // Of another device it is a lie, or an accident; of this one the session before may not have ended yet.
        if (known !== undefined && (known.device === device || known.device.id !== device.id)) continue;
        const claim: Claim = {
          device,
          epoch,
          isResumable: true,
          owner: undefined,
          ownerEpoch: known?.ownerEpoch ?? 0,
          expiry: undefined,
        };
        take(lease, claim);
        keep(lease, claim);
      }
    },
    onGone(device) {
      listening.get(device.id)?.stop();
      listening.delete(device.id);
      for (const [lease, claim] of claims)
        if (claim.device === device) {
          claim.expiry?.cancel();
          claims.delete(lease);
        }
    },
    forward(device, lease, frame, isEnd) {
      const claim = claims.get(lease);
      if (claim?.device !== device) return false;
      if (claim.owner !== undefined) pass(claim.owner, lease, frame);
      if (isEnd && claim.owner !== undefined) end(lease);
      else if (isEnd && device.leases.delete(lease)) onChanged(device);
      // One that nobody has stays known, for whoever comes for it.
      return true;
    },
    isTaken: (lease) => claims.has(lease),
    claim(device, lease, ownerEpoch) {
      const known = claims.get(lease);
      if (known !== undefined && known.ownerEpoch > ownerEpoch) return false;
      known?.expiry?.cancel();
      claims.delete(lease);
      device.leases.add(lease);
      return true;
    },
    disown(device, lease, epoch) {
      // Another replica may have come for it already.
      if (claims.has(lease) || !device.leases.has(lease)) return;
      const claim: Claim = { device, epoch, isResumable: true, owner: undefined, ownerEpoch: 0, expiry: undefined };
      claims.set(lease, claim);
      keep(lease, claim);
    },
    ownerGone(replica) {
      for (const [lease, claim] of [...claims]) {
        if (claim.owner !== replica) continue;
        if (claim.isResumable) keep(lease, claim);
        else revoke(lease, claim);
      }
    },
    mayHold,
    stop() {
      passed.now();
      passed.stop();
      for (const subscription of listening.values()) subscription.stop();
      for (const claim of claims.values()) claim.expiry?.cancel();
    },
  };
}

/** What a refusal says, for a frame that the device itself could have sent. */
export const codeIn = ({ code }: Replied): ErrorCode | undefined =>
  code === undefined ? undefined : isErrorCode(code) ? code : 'internal';
