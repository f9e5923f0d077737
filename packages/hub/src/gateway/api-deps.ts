/** What the routes under /api work with. */
import type { Invite } from '@idlewild/protocol';
import type { Answers } from '../answers/port.ts';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import type { Devices } from '../identity/devices.ts';
import type { Invites } from '../identity/invites.ts';
import type { Keys } from '../identity/keys.ts';
import type { Models } from '../models/registry.ts';
import type { People } from '../people/people.ts';
import type { TerritoryPolicy } from '../policy/policy.ts';
import type { ReplicaStanding } from '../replicas/register.ts';
import type { HeldBlobs } from '../storage/held-blobs.ts';
import type { Sessions } from '../session/port.ts';
import type { DeviceTrust } from '../trust/device-trust.ts';
import type { Vouches } from '../trust/vouches.ts';
import type { Use } from '../use/use.ts';

export interface ApiDeps {
  readonly territory: { readonly id: string; readonly name: string };
  readonly hub: string;
  readonly version: string;
  readonly replica: { readonly id: string };
  readonly replicas: () => Promise<readonly ReplicaStanding[]>;
  readonly startedAtMs: number;
  readonly nowMs: () => number;
  readonly db: Database;
  readonly keys: Keys;
  readonly people: People;
  readonly policy: Pick<TerritoryPolicy, 'allows' | 'check' | 'state'>;
  readonly devices: Devices;
  readonly invites: Invites;
  readonly deviceTrust: Pick<DeviceTrust, 'pools'>;
  readonly vouches: Pick<Vouches, 'of'>;
  readonly models: Models;
  readonly held: HeldBlobs;
  readonly sessions: Sessions;
  /** Of any territory that this process serves. */
  readonly sessionsIn: (territory: string) => Sessions | undefined;
  readonly answers: Answers;
  readonly use: Pick<Use, 'signature'>;
  readonly audit: Audit;
  /** Models were added or removed: devices are told. */
  readonly onModelsChanged: () => Promise<void>;
  /** The token of an invite, with the address that devices are to dial. */
  /** Where devices reach the hub, and whom they trust there: for invites whose secret the hub does not have. */
  readonly invitePlace: () => Omit<Invite, 'secret'>;
  readonly inviteToken: (secret: Uint8Array) => { readonly url: string; readonly token: string };
}
