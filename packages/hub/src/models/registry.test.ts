import { createMemoryBlobStore, encodeManifest, storeFile, type BlobStore, type Manifest } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import type { CID } from 'multiformats/cid';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import type { OpenDatabase } from '../db/open.ts';
import { testDatabases } from '../testing/databases.ts';
import { createModels } from './registry.ts';
import { addTerritories } from '../testing/territories.ts';

const territory = 'ter_a';
const actor = 'key_s';

type Change = (manifest: Manifest) => Manifest;

describe.each(await testDatabases())('with $kind', ({ open, openShared }) => {
  async function setUp(
    shared?: OpenDatabase,
    store: BlobStore = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 }),
  ) {
    const clock = createFakeClock(async () => {});
    const { db } = shared ?? (await open(clock));
    await addTerritories(db, territory, 'ter_b');
    const audit = createAudit({ db, crypto: nodeCrypto, clock });
    const models = createModels({ db, store, clock, audit });
    const put = async (text: string): Promise<CID> =>
      (await storeFile(store, () => [Buffer.from(text)], nodeCrypto)).root;

    /** Stores a model of files with the given texts, and gives its manifest's CID. */
    async function storeModel(texts: Record<string, string>, change: Change = (same) => same): Promise<string> {
      const files = [];
      for (const [path, text] of Object.entries(texts)) files.push({ path, file: await put(text), bytes: text.length });
      const [graph] = Object.keys(texts) as [string];
      const { cid, bytes } = await encodeManifest(
        change({
          v: 1,
          kind: 'decoder',
          graph,
          files,
          tensors: [],
          contextTokens: 8,
          vocabularyTokens: 8,
          layers: 1,
          card: {},
        }),
        nodeCrypto,
      );
      await store.put(cid, bytes);
      return cid.toString();
    }
    return { clock, db, audit, store, models, storeModel, put };
  }

  test('a model is found by its name with its manifest and its size', async () => {
    const { models, storeModel } = await setUp();
    const manifest = await storeModel({ 'model.onnx': 'graph', 'weights.bin': 'weights' });
    const added = await models.add({ territory, name: 'jacobean', manifest, actor });
    expect(added).toMatchObject({ name: 'jacobean', cid: manifest, bytes: 12, manifest: { graph: 'model.onnx' } });
    expect(await models.resolve(territory, 'jacobean')).toEqual(added);
    expect(await models.list(territory)).toEqual([added]);
  });

  test('an unknown name, and a name of another territory, are no models here', async () => {
    const { models, storeModel } = await setUp();
    await models.add({ territory, name: 'jacobean', manifest: await storeModel({ g: 'x' }), actor });
    await expect(models.resolve(territory, 'other')).rejects.toMatchObject({ code: 'model_not_found' });
    await expect(models.resolve('ter_b', 'jacobean')).rejects.toMatchObject({ code: 'model_not_found' });
    expect(await models.list('ter_b')).toEqual([]);
  });

  test('adding the same model under the same name again changes nothing', async () => {
    const { audit, clock, models, storeModel } = await setUp();
    const manifest = await storeModel({ g: 'x' });
    const first = await models.add({ territory, name: 'm', manifest, actor });
    await clock.advance(1_000);
    expect(await models.add({ territory, name: 'm', manifest, actor })).toEqual(first);
    expect(await audit.list({ territory })).toHaveLength(1);
  });

  test('a taken name and a taken model are conflicts that name the other', async () => {
    const { models, storeModel } = await setUp();
    const [one, two] = [await storeModel({ g: 'one' }), await storeModel({ g: 'two' })];
    await models.add({ territory, name: 'm', manifest: one, actor });
    await expect(models.add({ territory, name: 'm', manifest: two, actor })).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(one),
    });
    await expect(models.add({ territory, name: 'n', manifest: one, actor })).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('"m"'),
    });
  });

  test('replacing gives the name to the new model and deletes what only the old one used', async () => {
    const { audit, models, put, store, storeModel } = await setUp();
    const one = await storeModel({ g: 'one', shared: 'same' });
    const two = await storeModel({ g: 'two', shared: 'same' });
    await models.add({ territory, name: 'm', manifest: one, actor });
    await models.add({ territory, name: 'm', manifest: two, replace: true, actor });
    expect((await models.list(territory)).map(({ cid }) => cid)).toEqual([two]);
    const [onlyOld, both] = [await rootOf('one'), await rootOf('same')];
    expect([await store.hasFile(onlyOld), await store.hasFile(both)]).toEqual([false, true]);
    expect((await audit.list({ territory }))[0]?.details).toMatchObject({ replaced: one });
    expect(await put('one')).toEqual(onlyOld);
  });

  test('removing deletes the blobs that no other model uses, in whichever territory', async () => {
    const { models, store, storeModel } = await setUp();
    const manifest = await storeModel({ g: 'x', h: 'own' });
    await models.add({ territory, name: 'm', manifest, actor });
    await models.add({ territory: 'ter_b', name: 'm', manifest, actor });
    await models.remove({ territory, name: 'm', actor });
    expect(await store.hasFile(await rootOf('x'))).toBe(true);
    await models.remove({ territory: 'ter_b', name: 'm', actor });
    expect((await store.usage()).bytes).toBe(0);
    await expect(models.remove({ territory, name: 'm', actor })).rejects.toMatchObject({ code: 'model_not_found' });
  });

  test('a model whose manifest or files are not here is refused, and what is missing is named', async () => {
    const { models, store, storeModel } = await setUp();
    const manifest = await storeModel({ 'model.onnx': 'graph', 'weights.bin': 'weights' });
    const weights = await rootOf('weights');
    await store.remove(weights);
    await expect(models.add({ territory, name: 'm', manifest, actor })).rejects.toMatchObject({
      code: 'blob_not_found',
      message: expect.stringContaining(`weights.bin (${weights.toString()})`),
      details: { missing: [weights.toString()] },
    });
    const absent = 'bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua';
    await expect(models.add({ territory, name: 'm', manifest: absent, actor })).rejects.toMatchObject({
      code: 'blob_not_found',
      details: { missing: [absent] },
    });
  });

  test('a manifest that lies about the size of a file is refused', async () => {
    const { models, storeModel } = await setUp();
    const manifest = await storeModel({ g: 'x' }, (honest) => ({
      ...honest,
      files: honest.files.map((file) => ({ ...file, bytes: 1_000 })),
    }));
    await expect(models.add({ territory, name: 'm', manifest, actor })).rejects.toMatchObject({
      code: 'model_invalid',
      message: 'the manifest says that g has 1000 bytes; it has 1',
    });
  });

  const badNames = ['', ' m', 'a/b', '.hidden', 'a b', 'ü', 'x'.repeat(65), '-m'];

  test.each(badNames)('"%s" is no name for a model', async (name) => {
    const { models, storeModel } = await setUp();
    await expect(models.add({ territory, name, manifest: await storeModel({ g: 'x' }), actor })).rejects.toMatchObject({
      code: 'invalid_request',
    });
  });

  const badManifests = ['', 'nonsense', 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG'];

  test.each(badManifests)('"%s" is no manifest', async (manifest) => {
    const { models } = await setUp();
    const adding = models.add({ territory, name: 'm', manifest, actor });
    await expect(adding).rejects.toMatchObject({ code: 'invalid_request' });
  });

  test.each([
    ['after', ['remove', 'add'], 'blob_not_found'],
    ['before', ['add', 'remove'], undefined],
  ])('a model added just %s one that shares its files is removed is whole or refused', async (_, order, refusal) => {
    const { models, store, storeModel } = await setUp();
    const one = await storeModel({ g: 'one', shared: 'same' });
    const two = await storeModel({ g: 'two', shared: 'same' });
    await models.add({ territory, name: 'one', manifest: one, actor });
    const add = () => models.add({ territory, name: 'two', manifest: two, actor });
    const outcomes = await Promise.allSettled(
      order.map((step) => (step === 'add' ? add() : models.remove({ territory, name: 'one', actor }))),
    );
    const reasons = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []));
    expect(reasons).toEqual(refusal === undefined ? [] : [refusal]);
    expect(await store.hasFile(await rootOf('same'))).toBe(refusal === undefined);
    expect(await models.list(territory)).toHaveLength(refusal === undefined ? 1 : 0);
  });

  test('what one replica adds while another removes what shares its files is whole or refused', async () => {
    const [here, there] = await openShared(2);
    const one = await setUp(here);
    // SQLite has one process, and in it these are one.
    const other = here === there ? one : await setUp(there, one.store);
    for (let round = 0; round < 10; round++) {
      const old = await one.storeModel({ g: `old ${round}`, shared: 'same' });
      const next = await one.storeModel({ g: `next ${round}`, shared: 'same' });
      await one.models.add({ territory, name: 'old', manifest: old, actor });
      const [added] = await Promise.allSettled([
        other.models.add({ territory, name: 'next', manifest: next, actor }),
        one.models.remove({ territory, name: 'old', actor }),
      ]);
      const isThere = added.status === 'fulfilled';
      if (!isThere) expect(added.reason).toMatchObject({ code: 'blob_not_found' });
      expect(await one.store.hasFile(await rootOf('same'))).toBe(isThere);
      expect(await one.models.list(territory)).toHaveLength(isThere ? 1 : 0);
      if (isThere) await one.models.remove({ territory, name: 'next', actor });
    }
    expect(await one.audit.verify(territory)).toMatchObject({ intact: true });
  });

  async function rootOf(text: string): Promise<CID> {
    const scratch = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
    return (await storeFile(scratch, () => [Buffer.from(text)], nodeCrypto)).root;
  }

  test('a pinned model stays pinned under its name, and pinning is told to the audit log once', async () => {
    const { audit, models, storeModel } = await setUp();
    await models.add({ territory, name: 'm', manifest: await storeModel({ g: 'x' }), actor });
    const pin = { territory, name: 'm', actor };
    expect((await models.pin({ ...pin, pinned: true })).pinned).toBe(true);
    await models.pin({ ...pin, pinned: true });
    const manifest = await storeModel({ g: 'y' });
    expect((await models.add({ territory, name: 'm', manifest, replace: true, actor })).pinned).toBe(true);
    expect((await models.pin({ ...pin, pinned: false })).pinned).toBe(false);
    expect((await audit.list({ territory })).map(({ action }) => action)).toEqual([
      'unpinModel',
      'addModel',
      'pinModel',
      'addModel',
    ]);
    const elsewhere = models.pin({ ...pin, territory: 'ter_b', pinned: true });
    await expect(elsewhere).rejects.toMatchObject({ code: 'model_not_found' });
  });
});
