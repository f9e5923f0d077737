/** A second community in the hub of a world, made as whoever runs the hub does, and the replicas as it sees them. */
import { createHosting, type Secrets } from '@idlewild/hub';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { FakeClock } from '@idlewild/protocol/testing';
import type { Chance } from '../chance.ts';
import type { Cluster } from './cluster.ts';
import type { HubProcess } from './hub-process.ts';
import type { Record } from '../record.ts';

/** The same replicas, as the second community has them. */
export function neighboursIn(cluster: Cluster): Cluster {
  const view = (process: HubProcess | undefined): HubProcess | undefined => process?.neighbour();
  return {
    ...cluster,
    shared: undefined,
    running: () => cluster.running().flatMap((process) => view(process) ?? []),
    pick: () => view(cluster.pick()),
    awake: () => view(cluster.awake()),
    close: async () => {},
  };
}

/** What happens to a process happens to both communities. */
export const toldToBoth = (record: Record, next: Record): Record => ({
  ...record,
  note(event) {
    record.note(event);
    next.note(event);
  },
});

/** Makes the second community, as whoever runs the hub does, and waits until all replicas serve it. */
export async function hostNeighbours(
  cluster: Cluster,
  secrets: Secrets,
  clock: FakeClock,
  random: Chance,
): Promise<void> {
  const [process] = cluster.running();
  const { hub, house } = process as HubProcess;
  if (house === undefined) throw new Error('this world has no place for a second community');
  const { db, audit } = hub;
  const hosting = createHosting({ db, house, secrets, crypto: nodeCrypto, random, clock, audit });
  await hosting.create({ name: 'the neighbours', actor: hub.id });
  for (let wait = 0; wait < 100 && neighboursIn(cluster).running().length < cluster.size; wait++)
    await clock.advance(50);
}
