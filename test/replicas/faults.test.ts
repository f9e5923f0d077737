/**
 * Claims about a hub of three replicas when something fails under 50 streams over 12 devices: nothing that was accepted
 * is lost, no answer is wrong, the books agree, and whoever retries and resumes gets every answer.
 *
 * The table that it prints is the one of `docs/reliability.md`. Processes are killed, paused and restarted in earnest;
 * networks fail in the balancers between them.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { until } from '../processes/child.ts';
import { examine } from './examine.ts';
import { startLoad } from './load.ts';
import type { Replica } from './replica.ts';
import { reasonsOf, tableOf, type Reported } from './report.ts';
import { createReplicaWorld, MODEL, type ReplicaWorld } from './world.ts';

const REPLICAS = 3;
const DEVICES = 12;
const STREAMS = 50;
/** 50 streams over 12 devices get some 38 tokens a second each, and an answer takes two seconds. */
const TOKENS_PER_SECOND = 160;
const TOKENS_MAX = 80;
/** Longer than any lease on a duty, and than the silence after which a replica counts as gone. */
const PAUSE_MS = Number(process.env.IDLEWILD_PAUSE_MS ?? 12_000);
const OUTAGE_MS = 3_000;
/** Answers that have to come before a fault, so that all streams are under way, and after it. */
const ANSWERS_AROUND = 60;
/** What a replica may take to end after SIGTERM. */
const DRAIN_MS_MAX = 30_000;

let world: ReplicaWorld | undefined;
const rows: Reported[] = [];

beforeAll(async () => {
  world = await createReplicaWorld({ replicas: REPLICAS });
  await world?.addDevices(DEVICES / 2, { slots: 8, tokensPerSecond: TOKENS_PER_SECOND });
  await world?.addDevices(DEVICES / 2, { slots: 8, tokensPerSecond: TOKENS_PER_SECOND });
});
beforeEach(({ skip }) => skip(world === undefined, 'PostgreSQL or NATS is missing'));
afterAll(async () => {
  if (rows.length > 0) console.log(`\n${tableOf(rows)}\n\n${rows.map(reasonsOf).join('\n')}`);
  await world?.end();
});

const there = (): ReplicaWorld => {
  if (world === undefined) throw new Error('there is no world');
  return world;
};
const replica = (number: number): Replica => there().replicas[number] as Replica;

type Both = Omit<Reported, 'fault'>;

/** What callers hear while `act` happens, and until everything is whole again. */
async function during(fault: string, act: (world: ReplicaWorld) => Promise<void>): Promise<Both> {
  const all = there();
  await all.whole();
  const start = async (name: string, resuming: number) => {
    const { keyId, ...door } = await all.newCaller();
    const options = { door, model: MODEL, streams: STREAMS / 2, resuming, tokensMax: TOKENS_MAX };
    return { keyId, load: startLoad({ ...options, name: `${fault}-${name}` }) };
  };
  const resuming = await start('resuming', STREAMS / 2);
  const plain = await start('plain', 0);
  const heard = (): number => resuming.load.heard.length + plain.load.heard.length;
  const more = (what: string): Promise<void> => {
    const before = heard();
    return until(() => heard() >= before + ANSWERS_AROUND, `answers ${what} the fault`);
  };
  await more('before');
  await act(all);
  await all.whole();
  await more('after');
  await Promise.all([resuming.load.stop(), plain.load.stop()]);
  const both = {
    resuming: await examine(all, resuming.keyId, resuming.load.heard),
    plain: await examine(all, plain.keyId, plain.load.heard),
  };
  rows.push({ fault, ...both });
  return both;
}

/** Nobody who resumes lost anything, and the books are right about everybody. */
const UNHARMED = { resuming: { failed: 0, lost: 0, wrong: [] }, plain: { lost: 0, wrong: [] } };
/** Not even those who do not resume noticed. */
const UNNOTICED = { resuming: UNHARMED.resuming, plain: { ...UNHARMED.plain, failed: 0 } };

test('nothing fails while nothing is disturbed', async () => {
  const findings = await during('nothing', async () => undefined);
  expect(findings).toMatchObject(UNNOTICED);
  expect(findings.resuming.gapMsMax).toBeLessThan(5_000);
});

test('a replica that is killed takes no answer with it', async () => {
  const findings = await during('kill -9 of a replica', async () => {
    await replica(1).kill();
    await pause(OUTAGE_MS);
    await replica(1).start();
  });
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(15_000);
});

test('a replica that stands still takes no answer with it, nor when it goes on', async () => {
  const findings = await during(`SIGSTOP of a replica for ${PAUSE_MS / 1_000} s`, async () => {
    replica(2).pause();
    await pause(PAUSE_MS);
    replica(2).resume();
  });
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(30_000);
});

test('NATS is killed and comes back', async () => {
  const findings = await during('NATS killed, back after 3 s', async ({ nats }) => {
    await nats.kill();
    await pause(OUTAGE_MS);
    await nats.restart();
  });
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(15_000);
});

test('a replica that is cut off from NATS, without a word, and joined to it again', async () => {
  const findings = await during(`one replica and NATS apart for ${PAUSE_MS / 1_000} s`, async () => {
    replica(0).bus.silence();
    await pause(PAUSE_MS);
    replica(0).bus.restore();
  });
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(30_000);
});

test('PostgreSQL is restarted in an orderly way', async () => {
  const findings = await during('PostgreSQL restarted (fast)', ({ postgres }) => postgres.restart('fast'));
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(15_000);
});

test('PostgreSQL crashes and recovers', async () => {
  const findings = await during('PostgreSQL crashed (immediate)', ({ postgres }) => postgres.restart('immediate'));
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(15_000);
});

test('devices move to other replicas in mid-answer, and the answers go on', async () => {
  const findings = await during('devices moved between replicas', async ({ side, replicas }) => {
    for (const { name } of replicas) {
      side.takeOut(name);
      side.cut(name);
      await until(() => side.connections().get(name) === 0, `the devices of ${name} having moved`);
      side.set(name, Number(new URL(replicas.find((one) => one.name === name)?.url() ?? '').port));
      await until(() => side.ready().includes(name), `${name} taking devices again`);
      await there().whole();
    }
  });
  expect(findings).toMatchObject(UNHARMED);
  expect(findings.resuming.gapMsMax).toBeLessThan(5_000);
});

test('in a rolling restart no request fails, not even of callers who never ask twice', async () => {
  const ends: { code: number | null; tookMs: number }[] = [];
  const findings = await during('rolling restart by SIGTERM', async ({ replicas, front }) => {
    for (const one of replicas) {
      ends.push(await one.terminate());
      await one.start();
      await until(() => front.ready().includes(one.name), `${one.name} being ready again`);
    }
  });
  expect(ends.map(({ code }) => code)).toEqual([0, 0, 0]);
  for (const { tookMs } of ends) expect(tookMs).toBeLessThan(DRAIN_MS_MAX);
  expect(findings).toMatchObject(UNNOTICED);
  expect(findings.resuming.gapMsMax).toBeLessThan(5_000);
});

interface DutyRow {
  readonly name: string;
  readonly holder: string;
  readonly epoch: string;
  readonly address: string | null;
}

test('a holder of duties that was paused for longer than its lease changes nothing', async () => {
  const client = new Client({ connectionString: there().database });
  await client.connect();
  const duties = async (): Promise<DutyRow[]> =>
    (
      await client.query<DutyRow>(
        'select duties.name, holder, epoch, address from duties left join replicas on replicas.id = holder order by 1',
      )
    ).rows;
  try {
    const findings = await during(`the holder of duties paused for ${PAUSE_MS / 1_000} s`, async ({ replicas }) => {
      const before = await duties();
      expect(before.length).toBeGreaterThan(0);
      const { holder, address } = before[0] as DutyRow;
      const paused = replicas.find((one) => one.url() === address);
      if (paused === undefined) throw new Error(`no replica is at ${address}, which holds ${before[0]?.name}`);
      const held = before.filter((duty) => duty.holder === holder);
      paused.pause();
      await pause(PAUSE_MS);
      const meanwhile = await duties();
      for (const { name, epoch } of held) {
        const now = meanwhile.find((duty) => duty.name === name) as DutyRow;
        expect(now.holder, `${name} has another holder`).not.toBe(holder);
        expect(Number(now.epoch)).toBeGreaterThan(Number(epoch));
      }
      paused.resume();
      await there().whole();
      for (const { name, holder, epoch } of await duties()) {
        const then = meanwhile.find((duty) => duty.name === name) as DutyRow;
        // Taken anew it has a new epoch; kept, it is still of whoever took over.
        if (epoch === then.epoch) expect(holder).toBe(then.holder);
        else expect(Number(epoch)).toBeGreaterThan(Number(then.epoch));
      }
    });
    expect(findings).toMatchObject(UNHARMED);
    expect(findings.resuming.gapMsMax).toBeLessThan(30_000);
  } finally {
    await client.end();
  }
});
