/**
 * Telling a LAN of a hub, by multicast DNS, from when it is asked to until it stops, which it says too.
 *
 * It answers queries and hears no answers. So nobody can contest the name; none need be able to, for the name carries
 * the hub's id, which comes from its key.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { isLoopback } from '@idlewild/hub';
import { IdlewildError } from '@idlewild/protocol';
import Bonjour from 'bonjour-service';
import { SERVICE_TYPE, hostName, instanceName, txtOf, type AnnouncedHub } from './record.ts';
import { admitsQueries, openLanSocket, ownAddresses, type LanOptions } from './socket.ts';

export interface Announcement {
  /** Of the record. */
  readonly name: string;
  /** Takes the record back: who listens drops it at once. */
  stop(): Promise<void>;
}

export interface AnnounceOptions {
  readonly hub: AnnouncedHub;
  /** Where the hub listens. */
  readonly host: string;
  readonly port: number;
  readonly lan: LanOptions;
  /** A sending that failed; the announcement goes on. */
  readonly onProblem: (error: Error) => void;
}

const WILDCARDS = ['0.0.0.0', '::'];
/** RFC 6762, section 10: records that name a host live two minutes. */
const ADDRESS_SECONDS = 120;

/** Throws `usage` where only this machine could reach what the LAN would be told of. */
export function refuseUnreachable(host: string, on: string | undefined): void {
  if (!isLoopback(host) || (on !== undefined && isLoopback(on))) return;
  throw new IdlewildError(
    'usage',
    `--announce tells other machines of a hub, and at ${host} only this one can reach it; ` +
      'add --host 0.0.0.0, or the address of a network of this machine',
  );
}

/**
 * Resolves once queries are answered; the network is told unasked about a second later. Throws `usage` where that is
 * not possible.
 */
export async function announce({ hub, host, port, lan, onProblem }: AnnounceOptions): Promise<Announcement> {
  refuseUnreachable(host, lan.interface);
  const addresses = await addressesOf(host, lan.interface);
  const admits = admitsQueries(() => performance.now());
  const { library, stop } = await openLanSocket(admits, lan);
  const bonjour = new Bonjour(library, onProblem);
  const name = instanceName(hub);
  const service = bonjour.publish({
    name,
    type: SERVICE_TYPE,
    host: hostName(hub.hub),
    port,
    txt: txtOf(hub),
    // While it probes, below, the records are not yet asked for.
    probe: true,
  });
  const all = service.records.bind(service);
  // The library would tell every address of the machine, also those on which the hub does not listen.
  service.records = () => [
    ...all().filter(({ type }) => type !== 'A' && type !== 'AAAA'),
    ...addresses.map((data) => ({
      name: hostName(hub.hub),
      type: isIP(data) === 6 ? ('AAAA' as const) : ('A' as const),
      ttl: ADDRESS_SECONDS,
      data,
    })),
  ];
  return {
    name,
    async stop() {
      stop();
      await new Promise<void>((resolve) => {
        service.stop(() => resolve());
      });
      await new Promise<void>((resolve) => {
        bonjour.destroy(() => resolve());
      });
    },
  };
}

export interface KeptAnnouncement extends Announcement {
  /** What is told is another: the record is taken back, and the new one told. */
  changed(): void;
}

/** Announces what `options` says, and what it says by then whenever that is `changed`. Throws as `announce` does. */
export async function keepAnnouncing(options: () => AnnounceOptions): Promise<KeptAnnouncement> {
  let current: Announcement | undefined = await announce(options());
  const { name } = current;
  let stopped = false;
  let turn = Promise.resolve();
  async function anew(): Promise<void> {
    if (stopped) return;
    const { onProblem } = options();
    try {
      await current?.stop();
      current = undefined;
      current = await announce(options());
    } catch (error) {
      onProblem(error as Error);
    }
  }
  return {
    name,
    changed() {
      turn = turn.then(anew);
    },
    async stop() {
      stopped = true;
      await turn;
      await current?.stop();
      current = undefined;
    },
  };
}

/** Where a hub that listens on `host` can be reached. */
async function addressesOf(host: string, on: string | undefined): Promise<string[]> {
  if (WILDCARDS.includes(host)) return on === undefined ? ownAddresses(false) : [on];
  if (isIP(host) !== 0) return [host];
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
