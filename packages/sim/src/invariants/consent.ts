/**
 * Invariant 5: no work is sent to a device that the hub knows to refuse it, and no engine runs what its lender's consent
 * refuses or what arrives while the lender has paused the device, whatever the hub says.
 */
import type { CreateChecker } from './checker.ts';

export const createConsent: CreateChecker = (blame) => ({
  see(event) {
    if (event.e === 'ordered' && event.forbidden !== undefined) {
      blame(`request ${event.request} was sent to ${event.device}, which the hub knew to refuse it (${event.forbidden})`);
    }
    if (event.e === 'ran' && event.forbidden !== undefined) {
      blame(`${event.device} ran request ${event.request}, which its lender refuses (${event.forbidden})`);
    }
  },
});
