/**
 * The roles that every territory has, as lists of what they permit. A territory's own roles are rows of `roles`; both
 * become policies in the same way. A steward may do everything, also what is added later.
 */
import type { Action } from './actions.ts';

export const BUILT_IN_ROLES = ['steward', 'member', 'caller', 'lender', 'auditor'] as const;
export type BuiltInRole = (typeof BUILT_IN_ROLES)[number];

/** To ask, and to see what became of it. Who somebody is, everybody may see (`policies.cedar`). */
const CALLER = [
  'answer',
  'readOwnRequests',
  'listModels',
  'showModel',
  'readStatus',
  'readOwnUsage',
  'listProjects',
  'readUse',
  'appeal',
] as const satisfies Action[];

/** To let devices of one's own in, and to see them. What is done to one of them, `policies.cedar` permits. */
const LENDER = ['inviteOwnDevice', 'listOwnDevices', 'controlOwnDevices'] as const satisfies Action[];

export const PERMISSIONS: Readonly<Record<Exclude<BuiltInRole, 'steward'>, readonly Action[]>> = {
  /** A person of the territory: asks, lends, and has keys and devices of her own. */
  member: [...CALLER, 'createProject', 'createOwnKey', 'listOwnKeys', ...LENDER],
  caller: CALLER,
  /** Lends devices, and controls them wherever they are used. */
  lender: ['readStatus', 'listModels', 'showModel', ...LENDER],
  /** Sees what was done and by whom, and changes nothing. */
  auditor: [
    'readStatus',
    'readMetrics',
    'readPolicy',
    'readAudit',
    'listModels',
    'showModel',
    'listDevices',
    'showDevice',
    'listStewards',
    'listKeys',
    'readPeople',
    'readUsage',
    'readOwnUsage',
    'listProjects',
    'showProject',
    'readShowback',
    'readUse',
  ],
};

export const isBuiltIn = (role: string): role is BuiltInRole => (BUILT_IN_ROLES as readonly string[]).includes(role);
