/**
 * Offers that were given: how one is told to its caller, and how it comes back, once, in time and under the same rules.
 *
 * Any replica reads what any other wrote (`offer-token.ts`); that one was used is known where it was.
 */
import {
  IdlewildError,
  encodeCbor,
  hex,
  type Clock,
  type Crypto,
  type Random,
  type UseOrder,
} from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import { createOfferTokens, type Grant } from './offer-token.ts';
import type { Held } from './offering.ts';
import type { Offer, Offered } from './port.ts';
import type { Vouched } from './vouched.ts';

export interface GivenOffers {
  tell(held: Held): Promise<Offer>;
  /** What was offered. Throws `offer_expired`. */
  redeem(offered: Pick<Offered, 'token' | 'territory' | 'caller' | 'use'>): Promise<Grant>;
}

export interface GivenOffersDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  /** Of all replicas, for offers alone; 32 bytes. */
  readonly key: Uint8Array;
  /** The database's, which is the same on all replicas. */
  readonly wallClock: Pick<Clock, 'now'>;
  readonly vouched: Pick<Vouched, 'chainOf'>;
  /** The place that was kept is free. */
  letGo(lease: string): void;
}

export const expired = (why: string): IdlewildError => new IdlewildError('offer_expired', `${why}; take a new one`);

export function createGivenOffers(deps: GivenOffersDeps): GivenOffers {
  const { crypto, wallClock, vouched, letGo } = deps;
  const tokens = createOfferTokens(deps);
  /** Leases of offers that were used here, oldest first. */
  const used = new Set<string>();
  const digestOf = async (use: UseOrder | undefined): Promise<string | undefined> =>
    use === undefined ? undefined : hex(await crypto.sha256(encodeCbor(use)));

  return {
    async tell({ request, device, lease, epoch, numericClass }) {
      const { territory, caller, model } = request;
      const { dataClass, cause, person } = request.text;
      const expiresAtMs = wallClock.now() + HUB_LIMITS.offerHoldMs;
      const use = await digestOf(request.use);
      const said = { ...(cause === undefined ? {} : { cause }), ...(use === undefined ? {} : { use }) };
      const to = { territory, caller, model, dataClass, ...said, person };
      return {
        token: await tokens.write({ lease, epoch, device: device.id, expiresAtMs, ...to }),
        lease,
        epoch,
        device: { id: device.id, name: device.name, key: device.publicKey },
        agreementKey: device.agreementKey,
        vouch: vouched.chainOf(device) ?? [],
        numericClass,
        holdMs: HUB_LIMITS.offerHoldMs,
      };
    },
    async redeem(offered) {
      const grant = await tokens.read(offered.token);
      const isOwn = grant?.territory === offered.territory && grant.caller === offered.caller;
      if (grant === undefined || !isOwn) throw expired('this is no offer of this hub to this key');
      if (wallClock.now() > grant.expiresAtMs) throw expired('the offer is over');
      const use = await digestOf(offered.use);
      if (use !== grant.use) {
        letGo(grant.lease);
        throw expired('the rules of use are others now');
      }
      if (used.has(grant.lease)) throw expired('the offer was used');
      used.add(grant.lease);
      if (used.size > HUB_LIMITS.offersUsedMax) used.delete(used.values().next().value as string);
      return grant;
    },
  };
}
