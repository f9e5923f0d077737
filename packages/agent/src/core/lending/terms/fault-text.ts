/**
 * Where a lender's wish is wrong, to be put after "wrong at": the field, and its bound where there is one, so that
 * whoever was refused knows what would not be. It names the first fault; mending it shows the next.
 */
import type { z } from 'zod';

export function faultText({ issues }: z.ZodError): string {
  const issue = issues[0];
  if (issue === undefined) return 'its root';
  const field = issue.path.join('.') || 'its root';
  switch (issue.code) {
    case 'too_small': {
      const least = issue.inclusive === false ? 'more than' : 'at least';
      return `${field}, which has to be ${least} ${issue.minimum}${of(issue)}`;
    }
    case 'too_big': {
      const most = issue.inclusive === false ? 'less than' : 'at most';
      return `${field}, which has to be ${most} ${issue.maximum}${of(issue)}`;
    }
    default:
      return `${field}: ${issue.message}`;
  }
}

/** A bound of how many, not of how much. */
const of = ({ origin }: { readonly origin: string }): string => (origin === 'array' || origin === 'set' ? ' long' : '');
