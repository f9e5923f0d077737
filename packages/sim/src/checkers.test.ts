/** Every checker can fail: worlds that are broken on purpose, one way each, and the invariant that must notice. */
import type { AnswerSink, Hub } from '@idlewild/hub';
import { decodeCbor, encodeFrame, type AnswerEvent, type ToDevice } from '@idlewild/protocol';
import { sql } from 'kysely';
import { expect, test } from 'vitest';
import type { Invariant } from './invariants/all.ts';
import { CALM, type Rates } from './rates.ts';
import { simulate, type SimulationOptions } from './run.ts';
import type { Breakage, World } from './world.ts';

async function broken(
  breakage: Breakage,
  rates: Partial<Rates> = {},
  size: Partial<SimulationOptions> = {},
): Promise<Set<Invariant>> {
  const { violations } = await simulate({
    seed: 11,
    devices: 24,
    virtualMinutes: 0.5,
    rates: { ...CALM, ...rates },
    breakage,
    ...size,
  });
  return new Set(violations.map(({ invariant }) => invariant));
}
/** The database quietly does something else than it is asked to. */
const sabotage = (trigger: string): Breakage => ({
  onHub: async (hub: Hub) => void (await sql.raw(`create temp trigger sabotage ${trigger} end`).execute(hub.db)),
});
const parse = (frame: Uint8Array): AnswerEvent | undefined => {
  try {
    // Garbage may be CBOR of something else.
    const message = decodeCbor(frame, 'a frame') as Partial<AnswerEvent> | null;
    return typeof message?.t === 'string' ? (message as AnswerEvent) : undefined;
  } catch {
    return undefined;
  }
};
const later = ({ agenda, clock }: World, act: () => void | Promise<void>): void =>
  agenda.at(clock.monotonic() + 10_000, act);

test('a world in which nothing is broken and nothing goes wrong is blamed for nothing', async () => {
  expect(await broken({})).toEqual(new Set());
});

test('1: an end that is never written is noticed', async () => {
  const seen = await broken(sabotage("before update on requests when new.state = 'done' begin select raise(ignore);"));
  expect(seen).toContain('1 accepted is never lost');
});

test('1: an end that is written as another is noticed', async () => {
  const trigger = `after update on requests when new.reason is null begin
    update requests set state = 'failed', reason = 'lost' where id = new.id;`;
  expect(await broken(sabotage(trigger))).toContain('1 accepted is never lost');
});

test('1: a caller that is told of two ends is noticed', async () => {
  const wrapSink: Breakage['wrapSink'] = (sink) => ({
    ...sink,
    finished(outcome) {
      sink.finished(outcome);
      sink.finished(outcome);
    },
  });
  expect(await broken({ wrapSink })).toContain('1 accepted is never lost');
});

test('1: a caller that is told of none is noticed', async () => {
  expect(await broken({ wrapSink: (sink) => ({ ...sink, finished: () => {} }) })).toContain('1 accepted is never lost');
});

test('2: a hub that does not look at epochs is noticed', async () => {
  const epochs = new Map<string, number>();
  const rewrite = (frame: Uint8Array): Uint8Array => {
    const message = parse(frame);
    if (message?.t.startsWith('answer.') !== true) return frame;
    const epoch = epochs.get(message.lease) ?? message.epoch;
    epochs.set(message.lease, epoch);
    return encodeFrame({ ...message, epoch });
  };
  expect(await broken({ rewrite }, { lies: 400 })).toContain('2 one holder, accepted once');
});

test('2: a token that comes out of nowhere is noticed', async () => {
  const wrapSink: Breakage['wrapSink'] = (sink) => ({
    ...sink,
    token: (...token) => void Promise.resolve().then(() => sink.token(...token)),
  });
  expect(await broken({ wrapSink })).toContain('2 one holder, accepted once');
});

test('2: one lease for two devices is noticed', async () => {
  const meanwhile = (world: World): void =>
    later(world, () => {
      const order = encodeFrame({
        t: 'answer',
        lease: 'att_twice',
        epoch: 99,
        model: world.model,
        deadlineMs: 1,
        work: { prompt: { kind: 'text', text: '#0 again' }, sampling: { seed: 1 }, choice: 0, stop: [], tokens: [] },
      } satisfies ToDevice);
      for (const device of world.process()?.hub.local.list() ?? []) device.channel.send(order);
    });
  expect(await broken({ meanwhile })).toContain('2 one holder, accepted once');
});

test.each([
  ['is repeated', (i: number) => [i, i]],
  ['is lost', (i: number) => (i === 3 ? [] : [i])],
  ['moves', (i: number) => [i + 1]],
])('3: a token that %s is noticed', async (_, indices) => {
  const wrapSink: Breakage['wrapSink'] = (sink) => ({
    ...sink,
    token: (i, ...rest) => {
      for (const index of indices(i)) sink.token(index, ...rest);
    },
  });
  expect(await broken({ wrapSink })).toContain('3 no token changes');
});

test('3: a changed token, a changed text and a wrong finish are noticed', async () => {
  type Change = (sink: AnswerSink) => Partial<AnswerSink>;
  const seen = (change: Change): Promise<Set<Invariant>> =>
    broken({ wrapSink: (sink) => ({ ...sink, ...change(sink) }) });
  const changes: Change[] = [
    (sink) => ({ token: (i, id, ...rest) => sink.token(i, id + 1, ...rest) }),
    (sink) => ({ token: (i, id, s, ...rest) => sink.token(i, id, `${s}!`, ...rest) }),
    (sink) => ({
      finished: (outcome) => sink.finished({ ...outcome, finish: outcome.finish === 'stop' ? 'length' : 'stop' }),
    }),
  ];
  for (const change of changes) expect(await seen(change)).toContain('3 no token changes');
});

test('3: an answer that claims to be exact after it changed its class is noticed', async () => {
  const wrapSink: Breakage['wrapSink'] = (sink) => ({
    ...sink,
    finished: (outcome) => sink.finished({ ...outcome, exact: true }),
  });
  expect(await broken({ wrapSink }, { requests: 300, deviceDeaths: 200 })).toContain('3 no token changes');
});

test('5: work that is sent to a device that refuses it is noticed, and the device does not run it', async () => {
  const ran: string[] = [];
  const meanwhile = (world: World): void => {
    world.record.listen((event) => {
      if (event.e === 'ran' && event.forbidden !== undefined) ran.push(event.device);
    });
    later(world, () => {
      for (const { id, channel } of world.process()?.hub.local.list() ?? []) {
        if (world.deviceOf(id)?.traits.lends === 'answers') continue;
        channel.send(
          encodeFrame({
            t: 'answer',
            lease: `att_${id}`,
            epoch: 1,
            model: world.model,
            deadlineMs: 1_000,
            work: {
              prompt: { kind: 'text', text: '#0 please' },
              sampling: { seed: 1 },
              choice: 0,
              stop: [],
              tokens: [],
            },
          } satisfies ToDevice),
        );
      }
    });
  };
  expect(await broken({ meanwhile })).toContain('5 consent');
  expect(ran).toEqual([]);
});

test('5: a router that chooses whomever it likes is noticed', async () => {
  const everybody = new Set(['own', 'vetted', 'member', 'public'] as const);
  const blind: Breakage = {
    onHub: async ({ trust }) =>
      void Object.assign(trust, {
        demandOf: (...[text, { reach }]: Parameters<typeof trust.demandOf>) => ({
          ...text,
          tiers: everybody,
          reach: reach(),
        }),
      }),
  };
  expect(await broken(blind, { requests: 300 })).toContain('5 consent');
});

test('5: a replica that never hears of tiers that changed is noticed', async () => {
  const deaf: Breakage = {
    onHub: async ({ trust }) => void Object.assign(trust, { refresh: () => {}, isFresh: () => true }),
  };
  expect(await broken(deaf, { requests: 300, tierChanges: 60 })).toContain('5 consent');
});

test('5: a hub that understates texts is noticed, for devices run what their lenders refuse', async () => {
  const lying: Breakage = {
    onHub: async ({ local, trust }) => {
      const { order } = local;
      Object.assign(local, {
        order: (...[device, said]: Parameters<typeof order>) =>
          order(device, { ...said, dataClass: 'public', cause: 'climate' }),
      });
      const { demandOf } = trust;
      Object.assign(trust, {
        demandOf: (...[text, permit]: Parameters<typeof demandOf>) =>
          demandOf({ ...text, dataClass: 'public', cause: 'climate' }, permit),
      });
    },
  };
  expect(await broken(lying, { requests: 300 })).toContain('5 consent');
});

test('5: a device that runs what arrives while its lender has paused it is noticed', async () => {
  expect(await broken({ heedsLender: false }, { requests: 300, pauses: 60 })).toContain('5 consent');
});

test('6: a revoked device that stays connected is noticed', async () => {
  expect(await broken({ dropsRevoked: false }, { deviceRevocations: 10 })).toContain('6 revocation');
});

test('6: a revoked key that goes on working is noticed', async () => {
  const forgetful = sabotage('before update on keys begin select raise(ignore);');
  expect(await broken(forgetful, { requests: 300, keyRevocations: 10 })).toContain('6 revocation');
});

test('7: an act that is not in the log is noticed', async () => {
  const forgetful = sabotage("before insert on audit when new.action = 'revokeDevice' begin select raise(ignore);");
  expect(await broken(forgetful, { deviceRevocations: 10 })).toContain('7 audit');
});

test('7: a log that was changed, or cut off at its end, is noticed', async () => {
  const change = (statement: string): Promise<Set<Invariant>> =>
    broken({
      meanwhile: (world) =>
        later(world, async () => {
          const process = world.process();
          if (process !== undefined) await sql.raw(statement).execute(process.hub.db);
        }),
    });
  expect(await change("update audit set actor = 'key_x' where seq = 3")).toContain('7 audit');
  expect(await change('delete from audit where seq = (select max(seq) from audit)')).toContain('7 audit');
});

test('bounds: rows left in the journal are noticed', async () => {
  expect(await broken(sabotage('before delete on journal begin select raise(ignore);'))).toContain('bounds');
});

test('bounds: a lease that is never taken back, and a device that gives up without cause, are noticed', async () => {
  expect(
    await broken({
      meanwhile: (world) =>
        later(world, () => {
          for (const device of world.process()?.hub.sessions.list() ?? []) device.leases.add('att_forgotten');
        }),
    }),
  ).toContain('bounds');
  expect(
    await broken({
      meanwhile: (world) =>
        later(world, () => {
          const [device] = world.process()?.hub.local.list() ?? [];
          const untrue = { t: 'dropped', code: 'device_revoked', message: 'not true' } satisfies ToDevice;
          device?.channel.send(encodeFrame(untrue));
        }),
    }),
  ).toContain('bounds');
});

test('placement: a device asked for more than it lends, and a model that nobody holds, are noticed', async () => {
  const meanwhile = (world: World): void =>
    later(world, () => {
      const models = [{ cid: world.model, name: 'tiny', bytes: 2 ** 40 }];
      const frame = encodeFrame({ t: 'hold', models, sources: ['/'] } satisfies ToDevice);
      for (const device of world.process()?.hub.local.list() ?? []) device.channel.send(frame);
    });
  expect(await broken({ meanwhile })).toContain('placement');
  const onHub = async (hub: Hub): Promise<void> => void Object.assign(hub.sessions, { hold: () => {} });
  expect(await broken({ onHub })).toContain('placement');
});
