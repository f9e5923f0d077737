/** One fault that befalls somebody. */
import type { Chance } from '../chance.ts';
import type { World } from '../world.ts';

/** What struck whom, and how it ends. */
export interface Strike {
  readonly what: string;
  readonly heal?: { readonly afterMs: number; readonly act: () => void | Promise<void> };
}

/** `undefined` when there is nobody to strike. */
export type Fault = (world: World, chance: Chance) => Strike | undefined | Promise<Strike | undefined>;
