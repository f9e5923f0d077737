/**
 * What lies where: no device is ever asked to hold more than its lender lends, and at rest every model that has a place
 * anywhere is held by a device that lives, and ready where there is memory to spare for it.
 */
import type { CreateChecker } from './checker.ts';

export const createPlacement: CreateChecker = (blame, facts) => ({
  see(event) {
    if (event.e !== 'placed') return;
    const { device, models } = event;
    const bytes = models.reduce((sum, model) => sum + model.bytes, 0);
    const { diskBytes = 0 } = facts.deviceOf(device)?.traits ?? {};
    if (bytes > diskBytes) blame(`${device} is asked to hold ${bytes} bytes, and lends ${diskBytes}`);
    if (new Set(models.map(({ cid }) => cid)).size < models.length) blame(`${device} is asked for a model twice`);
  },
  inspect({ when, homeless }) {
    if (when === 'rest') for (const model of homeless) blame(model);
  },
});
