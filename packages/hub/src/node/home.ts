/**
 * One territory of a process, opened: its hub, its own server, its own numbers. All of them stand on the same ground
 * and behind the same door; the numbers of the first are those of the whole process, for whoever runs it.
 */
import type { IdlewildError } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { AnswerMeter } from '../answers/port.ts';
import type { DefaultLimits } from '../callers/limits.ts';
import type { Connections } from '../gateway/door/connections.ts';
import type { Behind } from '../gateway/door/front.ts';
import type { Guesses } from '../gateway/door/guesses.ts';
import { createHubServer, type HubServerDeps } from '../gateway/hub-server.ts';
import { createMetrics, type Metrics, type MetricsSources } from '../gateway/metrics.ts';
import { countStates } from '../gateway/routes/api.ts';
import type { App } from '../gateway/server.ts';
import { pathOfTerritory } from '../gateway/door/territory-path.ts';
import type { Served } from '../house/house.ts';
import { createHub, type Hub } from '../hub.ts';
import type { Log } from '../log.ts';
import type { Register, ReplicaStanding } from '../replicas/register.ts';
import type { DialledChannel } from '../session/port.ts';
import type { JoinRefusal } from '../session/sessions.ts';
import type { Ground } from './ground.ts';

export interface Home extends Served, Behind {
  readonly app: App;
  readonly metrics: Metrics;
}

export interface HomeDeps {
  /** What the first is called where it is made. */
  readonly name?: string | undefined;
  /** Where OpenID providers may be in a private network; see `SignInDeps`. */
  readonly privateProviders?: readonly string[] | undefined;
  readonly ground: Ground;
  readonly limits: DefaultLimits | undefined;
  readonly log: Log;
  readonly address: HubServerDeps['address'];
  readonly isLeaving: () => boolean;
  readonly requestRefusal: (territory: string) => IdlewildError | undefined;
  readonly joinRefusal: () => JoinRefusal | undefined;
  /** Any territory of the process. */
  readonly elsewhere: HubServerDeps['elsewhere'];
  readonly otherOrigins: HubServerDeps['otherOrigins'];
  readonly connections: Connections;
  readonly guesses: Guesses;
}

/** What there is of the first territory alone. */
export interface FirstDeps
  extends Required<Pick<HubServerDeps, 'listener' | 'territories'>>, Pick<HubServerDeps, 'tls'> {
  /** All homes of the process. */
  readonly homes: () => readonly Home[];
  readonly counts: NonNullable<MetricsSources['connections']>;
}

export const openFirstHome = (deps: HomeDeps, first: FirstDeps): Promise<Home> => {
  const { register } = deps.ground;
  const hubs = (): readonly Hub[] => first.homes().map(({ hub }) => hub);
  const metrics = createMetrics(() => ({
    devicesByState: () => sumOf(hubs().map((hub) => countStates(hub.local, 0))),
    answers: () => sumOf(hubs().map((hub) => hub.answers.counts())),
    replicas: () => register.live().length,
    connections: first.counts,
  }));
  return open(deps, { metrics, meter: metrics.meter, onBlobServed: metrics.blob, first, register });
};

export function openFurtherHome(deps: HomeDeps, territory: string, ofAll: Metrics): Promise<Home> {
  const { register } = deps.ground;
  let opened: Home | undefined;
  const metrics = createMetrics(() => ({
    devicesByState: () => (opened === undefined ? {} : countStates(opened.hub.local, 0)),
    answers: () => opened?.hub.answers.counts() ?? { open: 0, queued: 0 },
    replicas: () => register.live().length,
  }));
  const standing = { list: async () => (opened === undefined ? [] : ownShare(opened.hub, await register.list())) };
  return open(
    {
      ...deps,
      address: () => {
        const address = deps.address();
        return { ...address, url: address.url + pathOfTerritory(territory) };
      },
    },
    {
      territory,
      metrics,
      meter: both(metrics.meter, ofAll.meter),
      register: standing,
      onBlobServed(origin, bytes) {
        metrics.blob(origin, bytes);
        ofAll.blob(origin, bytes);
      },
    },
  ).then((home) => (opened = home));
}

interface Particulars {
  readonly territory?: string;
  readonly metrics: Metrics;
  readonly meter: AnswerMeter;
  readonly onBlobServed: Metrics['blob'];
  readonly register: Pick<Register, 'list'>;
  readonly first?: FirstDeps;
}

async function open(
  deps: HomeDeps,
  { territory, metrics, meter, onBlobServed, register, first }: Particulars,
): Promise<Home> {
  const { ground, log, limits, address, isLeaving } = deps;
  const hub = await createHub({
    ...ground,
    territory,
    name: deps.name,
    privateProviders: deps.privateProviders,
    replica: ground,
    clock: systemClock,
    random: nodeRandom,
    crypto: nodeCrypto,
    meter,
    onBlobServed,
    refusal: deps.joinRefusal,
    limits,
    log,
  });
  try {
    const app = await createHubServer({
      hub,
      metrics,
      clock: systemClock,
      random: nodeRandom,
      log,
      tls: first?.tls,
      listener: first?.listener,
      territories: first?.territories,
      elsewhere: deps.elsewhere,
      otherOrigins: deps.otherOrigins,
      onStanding: deps.connections.stands,
      guesses: deps.guesses,
      register,
      isReady: async () => !isLeaving() && ground.register.isEntered() && (await hub.isReady()),
      isLeaving,
      refusal: () => deps.requestRefusal(hub.territory.id),
      address,
    });
    return homeOf(hub, app, metrics, first !== undefined);
  } catch (error) {
    await hub.stop();
    throw error;
  }
}

function homeOf(hub: Hub, app: App, metrics: Metrics, isFirst: boolean): Home {
  let stopping: Promise<void> | undefined;
  const stop = async (why?: string): Promise<void> => {
    await hub.stop(why);
    // The first one's server is the door, and closes when all have stopped.
    if (!isFirst) await app.close();
  };
  return {
    hub,
    app,
    metrics,
    territory: hub.territory,
    serve: app.routing,
    accept: (channel: DialledChannel) => hub.local.accept(channel),
    stop: (why) => (stopping ??= stop(why)),
  };
}

/** A community sees of the replicas what is its own. */
function ownShare(hub: Hub, replicas: readonly ReplicaStanding[]): ReplicaStanding[] {
  const devices = Map.groupBy(hub.sessions.list(), ({ home }) => home);
  return replicas.map((replica) => ({
    ...replica,
    devices: devices.get(replica.id)?.length ?? 0,
    answers: replica.isSelf ? hub.answers.counts().open : 0,
  }));
}

const both = (one: AnswerMeter, other: AnswerMeter): AnswerMeter => ({
  ended(...facts) {
    one.ended(...facts);
    other.ended(...facts);
  },
  firstToken(ms) {
    one.firstToken(ms);
    other.firstToken(ms);
  },
});

function sumOf<Name extends string>(all: readonly Readonly<Record<Name, number>>[]): Record<Name, number> {
  const sums: Partial<Record<Name, number>> = {};
  for (const each of all) {
    for (const [name, count] of Object.entries(each) as [Name, number][]) sums[name] = (sums[name] ?? 0) + count;
  }
  return sums as Record<Name, number>;
}
