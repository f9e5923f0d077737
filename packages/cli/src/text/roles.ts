/** Roles, what they hold on and until when, as people read them. */
import type { HeldRole, Role, Scope } from '@idlewild/client';
import { tableLines } from './table.ts';
import { whenText } from './units.ts';

export const scopeText = ({ kind, id }: Scope): string => (kind === 'territory' ? 'everything' : `${kind} ${id}`);

export const permissionsText = ({ permissions }: Pick<Role, 'permissions'>): string =>
  permissions === 'all' ? 'everything' : permissions.join(', ') || 'nothing';

/** A table, or a line that says that there is none. */
export function heldRoleRows(roles: readonly HeldRole[], nowMs: number): string[] {
  if (roles.length === 0) return ['no role is bound: nothing is permitted'];
  return tableLines(
    ['ROLE', 'ON', 'UNTIL', 'BY'].map((title) => ({ title })),
    roles.map((held) => [
      held.role,
      scopeText(held.scope),
      held.expiresAt === null ? '–' : whenText(held.expiresAt, nowMs),
      held.group === null ? (held.binding ?? 'the key itself') : `group ${held.group}`,
    ]),
  );
}
