/** What people and keys are called, for whoever may see it: an id that nothing is known of stays what it is. */
import type { Client } from '@idlewild/client';

/** Two of one name stay ids, too. Asks for nothing that the policy would deny, for a denial is noted. */
export async function namesBehind(client: Client): Promise<(id: string) => string> {
  const { may } = await client.people.self();
  const [members, keys] = await Promise.all([
    may.includes('readPeople') ? client.people.members.list() : [],
    may.includes('listKeys') ? client.keys.list() : [],
  ]);
  const names = new Map<string, string>();
  const times = new Map<string, number>();
  for (const { id, name } of [...members, ...keys]) {
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
