/** What people and keys are called, for whoever may see it: an id that nothing is known of stays what it is. */
import type { Client, Device, Key, Member } from '@idlewild/client';

export interface Known {
  readonly members: readonly Member[];
  readonly keys: readonly Key[];
  readonly devices: readonly Device[];
}

/** Asks for nothing that the policy would deny, for a denial is noted. */
export async function knownBehind(client: Client): Promise<Known> {
  const { may } = await client.people.self();
  const [members, keys, devices] = await Promise.all([
    may.includes('readPeople') ? client.people.members.list() : [],
    may.includes('listKeys') ? client.keys.list() : [],
    may.includes('listDevices') ? client.devices.list() : [],
  ]);
  return { members, keys, devices };
}

export async function namesBehind(client: Client): Promise<(id: string) => string> {
  const { members, keys } = await knownBehind(client);
  return namesOf([...members, ...keys]);
}

/** Two of one name stay ids, too. */
export function namesOf(
  things: readonly { readonly id: string; readonly name?: string | null }[],
): (id: string) => string {
  const names = new Map<string, string>();
  const times = new Map<string, number>();
  for (const { id, name } of things) {
    names.set(id, name ?? '');
    times.set(name ?? '', (times.get(name ?? '') ?? 0) + 1);
  }
  return (id) => {
    const name = names.get(id) ?? '';
    return name !== '' && times.get(name) === 1 ? name : id;
  };
}

/** Where scripts read, or there is nobody to be named. */
export const asIs = (id: string): string => id;
