/**
 * Invariant 5: no work is sent to a device that the hub knows to refuse it, no text to one whose tier or whose lender's
 * consent does not allow it, and no engine runs what its lender's consent refuses or what arrives while the lender has
 * paused the device, whatever the hub says.
 *
 * A change of tiers holds everywhere a second after it was acknowledged, or after a replica that stood still goes on;
 * an order that was sent by then may be on its way to another replica. As long as nobody knows whether a change
 * happened, either tier may hold.
 */
import type { DeviceTier } from '@idlewild/protocol';
import { isLentFor, mayTier, textOf } from '../callers/texts.ts';
import type { CreateChecker } from './checker.ts';
import { HOLDS_MS, ON_ITS_WAY_MS, createPasts } from './pasts.ts';

export const createConsent: CreateChecker = (blame, facts) => {
  const tiers = createPasts<DeviceTier>((device) => facts.deviceOf(device)?.traits.tier ?? 'public');
  const graceMs = HOLDS_MS + (facts.isAlone ? 0 : ON_ITS_WAY_MS);

  return {
    see(event) {
      if (event.e === 'hub' && event.what === 'woken') tiers.woken(event.atMs);
      if (event.e === 'trusting') tiers.changing(event.device, event.tier);
      if (event.e === 'trusted') tiers.changed(event.device, event.tier, event.atMs);
      if (event.e === 'ordered') {
        const { request, device, forbidden } = event;
        if (forbidden !== undefined)
          blame(`request ${request} was sent to ${device}, which the hub knew to refuse it (${forbidden})`);
        const text = textOf(request);
        const held = tiers.holding(device, event.atMs, graceMs);
        if (!held.some((tier) => mayTier(tier, text)))
          blame(`request ${request} is ${text.dataClass} and was sent to ${device}, which is ${held.join(' or ')}`);
        const traits = facts.deviceOf(device)?.traits;
        if (traits !== undefined && !isLentFor(traits, text))
          blame(`request ${request} was sent to ${device}, whose lender lends for no such text`);
      }
      if (event.e === 'ran') {
        const { request, device, forbidden } = event;
        if (forbidden !== undefined) blame(`${device} ran request ${request}, which its lender refuses (${forbidden})`);
        const traits = facts.deviceOf(device)?.traits;
        if (traits !== undefined && !isLentFor(traits, textOf(request)))
          blame(`${device} ran request ${request}, for whose text its lender does not lend`);
      }
    },
  };
};
