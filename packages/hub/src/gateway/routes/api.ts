/** The steward's and the CLI's endpoints under /api: the hub at a glance here, the others in files of their own. */
import type { DeviceState } from '@idlewild/protocol';
import type { ReplicaStanding } from '../../replicas/register.ts';
import { stateOf } from '../../session/connected-device.ts';
import type { Sessions } from '../../session/port.ts';
import type { ApiDeps } from '../api-deps.ts';
import { deviceRoutes } from './devices.ts';
import { keyRoutes } from './keys.ts';
import { modelRoutes } from './models.ts';
import { peopleRoutes } from './people.ts';
import { recordRoutes } from './record.ts';
import { roleRoutes } from './roles.ts';
import { selfRoutes } from './self.ts';
import { typed, type App } from '../server.ts';
import { iso, isoOrNull } from './views.ts';

export const apiRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    statusRoutes(app, deps);
    deviceRoutes(deps)(app);
    keyRoutes(deps)(app);
    peopleRoutes(deps)(app);
    roleRoutes(deps)(app);
    selfRoutes(deps)(app);
    modelRoutes(deps)(app);
    recordRoutes(deps)(app);
  };

export function countStates(sessions: Pick<Sessions, 'list'>, enrolled: number): Record<DeviceState, number> {
  const counts: Record<DeviceState, number> = { ready: 0, busy: 0, paused: 0, draining: 0, offline: 0 };
  let connected = 0;
  for (const device of sessions.list()) {
    counts[stateOf(device)]++;
    connected++;
  }
  counts.offline = Math.max(0, enrolled - connected);
  return counts;
}

function statusRoutes(app: App, deps: ApiDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/status',
    config: { action: 'readStatus' },
    schema: { summary: 'The hub at a glance', tags: ['hub'] },
    handler: async () => {
      const enrolled = (await deps.devices.list(deps.territory.id)).filter(
        (device) => device.revokedAtMs === undefined,
      ).length;
      return {
        version: deps.version,
        hub: deps.hub,
        territory: deps.territory,
        uptimeSeconds: Math.floor((deps.nowMs() - deps.startedAtMs) / 1000),
        devices: countStates(deps.sessions, enrolled),
        models: (await deps.models.list(deps.territory.id)).length,
        answers: deps.answers.counts(),
        use: await useView(deps),
        replica: deps.replica.id,
        replicas: (await deps.replicas()).map(replicaView),
      };
    },
  });
}

const useView = async ({ use }: ApiDeps): Promise<object> => {
  const { state, untilMs } = await use.signature();
  return { signature: state, signedUntil: isoOrNull(untilMs) };
};

const replicaView = (replica: ReplicaStanding): object => ({
  id: replica.id,
  address: replica.address,
  version: replica.version,
  state: replica.isLive ? replica.state : 'silent',
  devices: replica.devices,
  answers: replica.answers,
  startedAt: iso(replica.startedAtMs),
  seenSecondsAgo: Math.round(replica.seenMsAgo / 100) / 10,
});
