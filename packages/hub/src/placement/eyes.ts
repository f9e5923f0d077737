/** Who may serve what, for placement: as texts are sent and prompts are sealed, by what holds when it is asked. */
import type { MaybePromise } from '@idlewild/protocol';
import type { Vouched } from '../sealed/vouched.ts';
import type { Trust } from '../trust/trust.ts';
import type { Eyes } from './circle.ts';

export interface FreshEyes extends Eyes {
  /** `sealed`: also for whom stewards vouch. Rejects where the database does not answer. */
  refresh(sealed: boolean): MaybePromise<void>;
}

export const createEyes = (trust: Pick<Trust, 'refresh' | 'demandOf'>, vouched: Vouched): FreshEyes => ({
  demandOf: (text, permit) => trust.demandOf(text, permit),
  isVouched: (device) => device.agreementKey.length > 0 && vouched.chainOf(device) !== undefined,
  refresh(sealed) {
    const fresh = trust.refresh();
    return sealed ? Promise.all([fresh, vouched.refresh()]).then(() => {}) : fresh;
  },
});
