/**
 * What lies where: no device is ever asked to hold more than its lender lends, no model comes to a device and goes over
 * and over, and at rest every model that has a place anywhere is held by a device that lives, and ready where there is
 * memory to spare for it.
 */
import type { CreateChecker } from './checker.ts';

/** Whoever asks for it, and whatever befalls the others: in storms a model comes back to a device twice. */
const COMINGS_MAX = 8;
const COMINGS_MS = 600_000;

export const createPlacement: CreateChecker = (blame, facts) => {
  const lists = new Map<string, readonly string[]>();
  /** When a model came to a device that had not been asked to hold it; both in the key. */
  const comings = new Map<string, number[]>();

  function see(device: string, cids: readonly string[], atMs: number): void {
    const before = lists.get(device) ?? [];
    lists.set(device, cids);
    for (const cid of cids.filter((each) => !before.includes(each))) {
      const key = `${device} ${cid}`;
      const lately = [...(comings.get(key) ?? []).filter((each) => atMs - each < COMINGS_MS), atMs];
      comings.set(key, lately);
      if (lately.length > COMINGS_MAX)
        blame(`the model ${cid} came to ${device} ${lately.length} times in ten minutes`);
    }
  }

  return {
    see(event) {
      if (event.e !== 'placed') return;
      const { device, models } = event;
      see(
        device,
        models.map(({ cid }) => cid),
        event.atMs,
      );
      const bytes = models.reduce((sum, model) => sum + model.bytes, 0);
      const { diskBytes = 0 } = facts.deviceOf(device)?.traits ?? {};
      if (bytes > diskBytes) blame(`${device} is asked to hold ${bytes} bytes, and lends ${diskBytes}`);
      if (new Set(models.map(({ cid }) => cid)).size < models.length) blame(`${device} is asked for a model twice`);
    },
    inspect({ when, homeless }) {
      if (when === 'rest') for (const model of homeless) blame(model);
    },
  };
};
