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

const TRUSTED_MS = 1_000;
/** How long an order may be on its way between replicas before it is given up (`FLEET_LIMITS.orderMs`). */
const ON_ITS_WAY_MS = 2_000;

interface Past {
  readonly tier: DeviceTier;
  /** Absent: it may hold yet. */
  readonly untilMs: number | undefined;
}

export const createConsent: CreateChecker = (blame, facts) => {
  const pasts = new Map<string, Past[]>();
  let wokenAtMs = Number.NEGATIVE_INFINITY;
  const graceMs = TRUSTED_MS + (facts.isAlone ? 0 : ON_ITS_WAY_MS);

  const pastOf = (device: string): Past[] => {
    const known = pasts.get(device);
    if (known !== undefined) return known;
    const tier = facts.deviceOf(device)?.traits.tier ?? 'public';
    const fresh: Past[] = [{ tier, untilMs: undefined }];
    pasts.set(device, fresh);
    return fresh;
  };
  /** All tiers by which somebody may act now. */
  const tiersOf = (device: string, atMs: number): DeviceTier[] =>
    pastOf(device)
      .filter(({ untilMs }) => untilMs === undefined || atMs <= Math.max(untilMs, wokenAtMs) + graceMs)
      .map(({ tier }) => tier);

  return {
    see(event) {
      if (event.e === 'hub' && event.what === 'woken') wokenAtMs = event.atMs;
      if (event.e === 'trusting')
        pasts.set(event.device, [...pastOf(event.device), { tier: event.tier, untilMs: undefined }]);
      if (event.e === 'trusted') {
        const ended = pastOf(event.device).map((past) => ({ ...past, untilMs: past.untilMs ?? event.atMs }));
        pasts.set(event.device, [...ended, { tier: event.tier, untilMs: undefined }]);
      }
      if (event.e === 'ordered') {
        const { request, device, forbidden } = event;
        if (forbidden !== undefined)
          blame(`request ${request} was sent to ${device}, which the hub knew to refuse it (${forbidden})`);
        const text = textOf(request);
        const tiers = tiersOf(device, event.atMs);
        if (!tiers.some((tier) => mayTier(tier, text)))
          blame(`request ${request} is ${text.dataClass} and was sent to ${device}, which is ${tiers.join(' or ')}`);
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
