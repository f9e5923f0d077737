/** The invariants of ARCHITECTURE.md by name. The fourth, conservation of credits, comes with the ledger. */
import { createAccounting } from './accounting.ts';
import { createAudit } from './audit.ts';
import { createBounds } from './bounds.ts';
import type { CreateChecker } from './checker.ts';
import { createConsent } from './consent.ts';
import { createCrossing } from './crossing.ts';
import { createLeases } from './leases.ts';
import { createDuties, createOwners } from './owners.ts';
import { createPlacement } from './placement.ts';
import { createPools } from './pools.ts';
import { createRevocation } from './revocation.ts';
import { createSealedChecker } from './sealed.ts';
import { createSpending } from './spending.ts';
import { createTokens } from './tokens.ts';
import { createUse } from './use.ts';

export const INVARIANTS = {
  '1 accepted is never lost': createAccounting,
  '2 one holder, accepted once': createLeases,
  '2 stale owners change nothing': createOwners,
  '3 no token changes': createTokens,
  '5 consent': createConsent,
  '6 revocation': createRevocation,
  pools: createPools,
  '6 nothing crosses': createCrossing,
  spending: createSpending,
  use: createUse,
  sealed: createSealedChecker,
  '7 audit': createAudit,
  placement: createPlacement,
  'one holder of a duty': createDuties,
  bounds: createBounds,
} as const satisfies { readonly [name: string]: CreateChecker };

export type Invariant = keyof typeof INVARIANTS;
