/** All buses against one suite; NATS with a real server, where there is one. */
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll } from 'vitest';
import { silentLog } from '../log.ts';
import { startNats, type NatsServer } from '../testing/nats.ts';
import { createLocalBusHub } from './local-bus.ts';
import { createNatsBus } from './nats-bus.ts';
import { BUS_BYTES_MAX } from './port.ts';
import { createSealedBus } from './sealed-bus.ts';
import { testBus, type BusUnderTest } from './testing/bus-conformance.ts';

const deps = { clock: systemClock, random: nodeRandom, log: silentLog };

function local(): Promise<BusUnderTest> {
  const hub = createLocalBusHub(deps);
  return Promise.resolve({
    bytesMax: BUS_BYTES_MAX,
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

const key = nodeRandom.bytes(32);

async function sealed(inner: Promise<BusUnderTest | undefined>): Promise<BusUnderTest | undefined> {
  const bus = await inner;
  if (bus === undefined) return undefined;
  const sealing = { ...deps, key, crypto: nodeCrypto, prefix: 'iw.0a1b2c3d' };
  return { ...bus, bytesMax: BUS_BYTES_MAX, connect: async () => createSealedBus(await bus.connect(), sealing) };
}

testBus('local', local);
testBus('nats', nats);
testBus('sealed over local', () => sealed(local()));
testBus('sealed over nats', () => sealed(nats()));
