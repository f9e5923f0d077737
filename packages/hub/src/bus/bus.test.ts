/** All buses against one suite; NATS with a real server, where there is one. */
import { nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll } from 'vitest';
import { silentLog } from '../log.ts';
import { startNats, type NatsServer } from '../testing/nats.ts';
import { createLocalBusHub } from './local-bus.ts';
import { createNatsBus } from './nats-bus.ts';
import { testBus, type BusUnderTest } from './testing/bus-conformance.ts';

const deps = { clock: systemClock, random: nodeRandom, log: silentLog };

function local(): Promise<BusUnderTest> {
  const hub = createLocalBusHub(deps);
  return Promise.resolve({
    bytesMax: 4_194_304,
    connect: () => Promise.resolve(hub.connect()),
    down: () => Promise.resolve(hub.setUp(false)),
    up: () => Promise.resolve(hub.setUp(true)),
  });
}

let server: Promise<NatsServer | undefined> | undefined;

afterAll(async () => {
  await (await server)?.stop();
});

async function nats(): Promise<BusUnderTest | undefined> {
  const running = await (server ??= startNats());
  if (running === undefined) return undefined;
  return {
    bytesMax: 1_048_576,
    connect: () => createNatsBus({ ...deps, urls: [running.url] }),
    down: () => running.kill(),
    up: () => running.restart(),
  };
}

testBus('local', local);
testBus('nats', nats);
