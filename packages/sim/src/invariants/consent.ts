/**
 * Invariant 5: no work is sent to a device that the hub knows to refuse it, and no engine runs what its lender's
 * consent refuses or what arrives while the lender has paused the device, whatever the hub says.
 */
import type { CreateChecker } from './checker.ts';

export const createConsent: CreateChecker = (blame) => ({
  see(event) {
    if (event.e === 'ordered' && event.forbidden !== undefined) {
      const { request, device, forbidden } = event;
      blame(`request ${request} was sent to ${device}, which the hub knew to refuse it (${forbidden})`);
    }
    if (event.e === 'ran' && event.forbidden !== undefined) {
      blame(`${event.device} ran request ${event.request}, which its lender refuses (${event.forbidden})`);
    }
  },
});
