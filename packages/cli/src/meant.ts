/**
 * From what a person typed to the member, group, key or device that is meant: its id, the beginning of its id, or its
 * name. A whole id is taken as it is: who may do something to it need not be allowed to look it up. Where a name may
 * not be looked up, what is said is whether that for which it was to be is allowed.
 */
import type { Client } from '@idlewild/client';
import { IdlewildError, codeOf, isId, messageOf, type IdPrefix } from '@idlewild/protocol';
import { pick } from './pick.ts';

export interface Meant {
  readonly id: string;
  /** Its id where nothing was looked up. */
  readonly name: string | null;
}

interface Search<Found> {
  readonly client: Client;
  readonly wanted: string;
  readonly prefix: IdPrefix;
  /** What is to be done to it. */
  readonly action: string;
  readonly look: () => Promise<Found>;
}

/** Whole names are asked for one by one: a community may have more members than anybody wants to list. */
export function memberMeant(client: Client, wanted: string, action: string): Promise<Meant> {
  const { members } = client.people;
  const look = async (): Promise<Meant> =>
    (await members.named(wanted)) ?? pick(await members.list(), wanted, 'member');
  return find({ client, wanted, prefix: 'per', action, look });
}

export function groupMeant(
  client: Client,
  wanted: string,
  action: string,
): Promise<Meant & { readonly members?: number }> {
  const look = async () => pick(await client.people.groups.list(), wanted, 'group');
  return find<Meant & { readonly members?: number }>({ client, wanted, prefix: 'grp', action, look });
}

/** Id of a project. */
export async function projectMeant(client: Client, wanted: string): Promise<string> {
  return pick(await client.projects.list(), wanted, 'project').id;
}

/** `own`: of whoever asks. */
export function keyMeant(client: Client, wanted: string, action: string, own = false): Promise<Meant> {
  const look = async () => {
    const all = own ? await client.people.own.keys() : await client.keys.list();
    return pick(
      all.filter((key) => key.revokedAt === null),
      wanted,
      'key',
    );
  };
  return find<Meant>({ client, wanted, prefix: 'key', action, look });
}

export function deviceMeant(client: Client, wanted: string, action: string): Promise<Meant> {
  const look = async () => pick(await client.devices.list(), wanted, 'device');
  return find<Meant>({ client, wanted, prefix: 'dev', action, look });
}

async function find<Found extends Meant>({
  client,
  wanted,
  prefix,
  action,
  look,
}: Search<Found>): Promise<Found | Meant> {
  if (isId(wanted, prefix)) return { id: wanted, name: wanted };
  try {
    return await look();
  } catch (error) {
    if (codeOf(error) !== 'forbidden') throw error;
    const { isAllowed, message } = await client.policy.explain({ action });
    const way = `${messageOf(error)}; what is named by its whole id, ${prefix}_…, is not looked up`;
    throw new IdlewildError('forbidden', isAllowed ? way : message, { cause: error });
  }
}
