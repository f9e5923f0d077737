/** Claims about communities of one process, over one database: what is asked of one holds up no other. */
import { createMemoryBlobStore, digestTokens, joinTokenOf, type AnswerWork, type ErrorCode } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { expect, onTestFinished, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { openDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets, secretsOf } from '../identity/secrets.ts';
import { insertTerritory, makeTerritoryKey } from '../identity/territory.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { OWN_LEAVE } from '../policy/permit.ts';
import { answerAs, joinScriptedDevice, warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { publishTestModel } from '../testing/test-model.ts';
import { PLAIN_TEXT } from '../testing/texts.ts';

interface Community {
  readonly hub: Hub;
  readonly device: ScriptedDevice;
  /** Resolves with what it failed by, or with nothing where it was answered. */
  ask(key: string): Promise<ErrorCode | undefined>;
}

/** Two, each with a device of its own that does four things at once. */
async function openCommunities(): Promise<[Community, Community]> {
  const database = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  const { db, clock } = database;
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
  const secrets = createMemorySecrets();
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto, log: silentLog };
  const meter = { ended: () => {}, firstToken: () => {} };
  const open = async (territory?: string): Promise<Community> => {
    const hub = await createHub({ ...ports, database, store, secrets, meter, territory });
    onTestFinished(() => hub.stop());
    const model = { cid: await publishTestModel(hub, store, 'jacobean'), name: 'jacobean' };
    const order = { territory: hub.territory.id, uses: 1, expiresInMs: 60_000, createdBy: 'test' };
    const invite = await hub.invites.create(order);
    const device = await joinScriptedDevice({
      ...ports,
      accept: (channel) => hub.local.accept(channel),
      territory: hub.territory.publicKey,
      joinToken: joinTokenOf(invite.secret),
      status: { models: [warmModel(model.cid)], slots: 4 },
    });
    await device.joined;
    const work: AnswerWork = {
      prompt: { kind: 'text', text: 'once' },
      sampling: { seed: 1 },
      choice: 0,
      stop: [],
      tokens: [],
    };
    return {
      hub,
      device,
      async ask(key) {
        const { promise, resolve } = Promise.withResolvers<ErrorCode | undefined>();
        const asked = { territory: hub.territory.id, key, model, work, text: PLAIN_TEXT, permit: OWN_LEAVE };
        const sink = { started: () => {}, token: () => {}, finished: () => resolve(undefined) };
        const failed = ({ code }: { readonly code: ErrorCode }): void => resolve(code);
        await hub.answers.submit(asked, { ...sink, failed }).catch(failed);
        return promise;
      },
    };
  };
  const first = await open();
  const made = await makeTerritoryKey(ports, (id) => secretsOf(secrets, id));
  const audit = createAudit({ db, clock, crypto: nodeCrypto });
  await db.transaction().execute((tx) => insertTerritory(tx, { clock, audit }, { ...made, name: 'second' }, 'test'));
  return [first, await open(made.id)];
}

test('ten thousand requests at once in one community leave the other its device, its line and its pace', async () => {
  const [flooded, calm] = await openCommunities();
  answerAs(
    calm.device,
    () => ({ tokens: ['well', ' met'] }),
    nodeCrypto,
    (ids) => digestTokens(ids, nodeCrypto),
  );
  // Of the flooded one the device takes what it gets and says nothing, so that its line is full.
  const flood = Array.from({ length: 10_000 }, (_, index) => flooded.ask(`key_${index % 100}`));
  const tookMs: number[] = [];
  for (let i = 0; i < 20; i++) {
    const askedAtMs = systemClock.monotonic();
    expect(await calm.ask('key_calm')).toBeUndefined();
    tookMs.push(systemClock.monotonic() - askedAtMs);
  }
  const { open, queued } = flooded.hub.answers.counts();
  expect([open, queued]).toEqual([HUB_LIMITS.queuedAnswersMax + 4, HUB_LIMITS.queuedAnswersMax]);
  expect(calm.hub.answers.counts()).toEqual({ open: 0, queued: 0 });
  // The first waits until ten thousand were looked at, once; those after it for nobody.
  expect(Math.max(...tookMs)).toBeLessThan(10_000);
  expect(tookMs.toSorted((a, b) => a - b)[10]).toBeLessThan(250);
  await flooded.hub.stop();
  const codes = await Promise.all(flood);
  expect(codes.filter((code) => code === 'too_busy')).toHaveLength(10_000 - open);
}, 60_000);
