/**
 * How a steward of the simulation acts: authenticated and authorised as her key is, and told as what was done, where
 * the hub acknowledged it.
 */
import type { Hub, KeyPrincipal } from '@idlewild/hub';
import type { HubProcess } from './machines/hub-process.ts';

export type Action = Parameters<Hub['policy']['check']>[1];
export type Act = <Result>(
  action: Action,
  run: (hub: Hub, territory: string, by: KeyPrincipal) => Promise<Done<Result>>,
  acting?: HubProcess,
) => Promise<Result>;

export interface Done<Result> {
  /** As the audit log calls it; absent: as the policy does. */
  readonly action?: string;
  readonly subject: string;
  readonly result: Result;
  /** It was so already, and nothing was done. */
  readonly isVain?: boolean;
}
