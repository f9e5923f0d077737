/** From what a person typed to the member, group or key that is meant: its id, the beginning of its id, or its name. */
import type { Client, Group, Key, ListedMember } from '@idlewild/client';
import { pick } from './pick.ts';

/** Whole names are asked for one by one: a community may have more members than anybody wants to list. */
export async function memberMeant({ people: { members } }: Client, wanted: string): Promise<ListedMember> {
  return (await members.named(wanted)) ?? pick(await members.list(), wanted, 'member');
}

export const groupMeant = async ({ people }: Client, wanted: string): Promise<Group> =>
  pick(await people.groups.list(), wanted, 'group');

/** Id of a project. */
export async function projectMeant(client: Client, wanted: string): Promise<string> {
  return pick(await client.projects.list(), wanted, 'project').id;
}

export async function keyMeant(client: Client, wanted: string): Promise<Key> {
  const live = (await client.keys.list()).filter((key) => key.revokedAt === null);
  return pick(live, wanted, 'key');
}
