/**
 * Who shows a ticket: a device that is connected to some replica, or was just now, and that nobody revoked.
 *
 * A device that this replica knows of is believed by its session; of another the database is asked whether it is
 * revoked, and the answer is good for half of the second within which a revoked device must get nothing more.
 */
import type { Clock } from '@idlewild/protocol';
import type { Sessions } from '../session/port.ts';
import type { Devices } from './devices.ts';
import type { TicketHolder, Tickets } from './tickets.ts';

export interface TicketHolders {
  /** `undefined` for what is no ticket, has expired, or belongs to a device that was revoked. */
  holderOf(ticket: string): Promise<TicketHolder | undefined>;
}

const FRESH_MS = 500;
const REMEMBERED_MAX = 4_096;

export function createTicketHolders({
  tickets,
  fleet,
  devices,
  clock,
}: {
  readonly tickets: Tickets;
  readonly fleet: Pick<Sessions, 'get'>;
  readonly devices: Pick<Devices, 'get'>;
  readonly clock: Pick<Clock, 'monotonic'>;
}): TicketHolders {
  const remembered = new Map<string, { readonly isWelcome: boolean; readonly atMs: number }>();

  async function isWelcome({ territory, device }: TicketHolder): Promise<boolean> {
    const known = remembered.get(device);
    const nowMs = clock.monotonic();
    if (known !== undefined && nowMs - known.atMs < FRESH_MS) return known.isWelcome;
    const row = await devices.get(territory, device);
    const answer = { isWelcome: row !== undefined && row.revokedAtMs === undefined, atMs: nowMs };
    remembered.delete(device);
    remembered.set(device, answer);
    if (remembered.size > REMEMBERED_MAX) remembered.delete(remembered.keys().next().value as string);
    return answer.isWelcome;
  }

  return {
    async holderOf(ticket) {
      const holder = await tickets.read(ticket);
      if (holder === undefined) return undefined;
      if (fleet.get(holder.device)?.session === holder.session) return holder;
      return (await isWelcome(holder)) ? holder : undefined;
    },
  };
}
