/** Against a mirror in the real layout: real sockets, and clocks that the tests move. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeGraph } from '@idlewild/graph';
import { buildEncoder, encoderFolderTexts } from '@idlewild/graph/testing';
import type { Clock } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startMirror, type Fault, type Mirror, type MirrorFile } from '../../../../test/hugging-face/mirror.ts';
import { tinyRepository } from '../../../../test/hugging-face/tiny-repository.ts';
import { readModelFolder } from '../models/model-folder.ts';
import { fetchModel, type FetchModelOptions, type FetchedModel } from './fetch-model.ts';
import { parseReference } from './repository.ts';
import { createWeb } from './web.ts';

const NAME = 'acme/tiny';
const TINY = tinyRepository();
const Q4 = 'onnx/model_q4.onnx';
const lengthOf = (path: string): number => TINY[path]?.bytes.length ?? 0;

let mirror: Mirror;
let downloads: string;
beforeEach(async () => {
  mirror = await startMirror();
  downloads = mkdtempSync(join(tmpdir(), 'idlewild-downloads-'));
});
afterEach(async () => {
  await mirror.close();
  rmSync(downloads, { recursive: true, force: true });
});

/** Pauses are over at once, and noted. */
const hasty = (pauses: number[]): Clock => ({
  ...systemClock,
  after(ms, act) {
    pauses.push(ms);
    return systemClock.after(0, act);
  },
});

interface Fetching {
  readonly reference?: string;
  readonly token?: string;
  readonly webClock?: Clock;
  readonly signal?: AbortSignal;
}

type Given = Fetching & Pick<Partial<FetchModelOptions>, 'quant' | 'freeBytes' | 'onProgress'>;

const said: string[] = [];
const pauses: number[] = [];

async function fetchTiny(given: Given = {}): Promise<FetchedModel> {
  said.length = 0;
  pauses.length = 0;
  const { reference = `hf:${NAME}`, token, webClock = systemClock, signal = new AbortController().signal } = given;
  const web = createWeb({ settings: { endpoint: mirror.url, token }, env: {}, clock: webClock });
  try {
    return await fetchModel(parseReference(reference), {
      downloads,
      web,
      clock: hasty(pauses),
      random: createSeededRandom(1),
      signal,
      say: (line) => said.push(line),
      onProgress: () => undefined,
      ...given,
    });
  } finally {
    web.close();
  }
}

/** Bytes of weights that the mirror sent. */
const sentBytes = (path = '/repos/'): number =>
  mirror.log.filter((asked) => asked.path.startsWith(path)).reduce((sum, { bytes }) => sum + bytes, 0);

/** Spoils the first answers of the second origin. */
function firstAnswers(count: number, fault: Fault): void {
  let left = count;
  mirror.fault((asked) => (asked.origin === 'store' && left-- > 0 ? fault(asked) : undefined));
}

test('what is needed of a repository is fetched, verified, and read like any folder', async () => {
  const commit = mirror.commit(NAME, { files: TINY });
  const fetched = await fetchTiny({ quant: 'f32' });
  expect(fetched).toMatchObject({ quant: 'f32', source: `hf:${NAME}@${commit}` });
  const files = readdirSync(fetched.folder, { recursive: true }).map(String).sort();
  expect(files).toEqual([
    'README.md',
    'config.json',
    'generation_config.json',
    'onnx',
    'onnx/model.onnx',
    'onnx/model.onnx_data',
    'onnx/model.onnx_data_1',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  const { signal } = new AbortController();
  const model = await readModelFolder(fetched.folder, { signal, onProgress: () => undefined });
  expect(model.card).toMatchObject({ licence: 'cc0-1.0', parameters: 3_148_246 });
  expect(said).toEqual([
    `hf:${NAME} is at ${commit.slice(0, 12)} (main)`,
    'f32 of q4, f32: onnx/model.onnx, as asked',
    expect.stringMatching(/^12\.7 MB to fetch; the disk has/),
    `licence cc0-1.0, see ${mirror.url}/${NAME}`,
  ]);
  await fetched.close(false);
  expect(readdirSync(downloads)).toEqual([]);
});

test('the token goes to the hub alone, and to no store that it redirects to', async () => {
  mirror.commit(NAME, { files: TINY });
  await (await fetchTiny({ token: 'hf_mine', quant: 'q4' })).close(false);
  const carrying = (origin: string): (string | undefined)[] => [
    ...new Set(mirror.log.filter((asked) => asked.origin === origin).map(({ headers }) => headers.authorization)),
  ];
  expect(carrying('hub')).toEqual(['Bearer hf_mine']);
  expect(carrying('store')).toEqual([undefined]);
});

test('a connection that breaks goes on where it broke, on the condition that the file is the same', async () => {
  mirror.commit(NAME, { files: TINY });
  firstAnswers(3, () => ({ cutAfter: 400_000 }));
  await (await fetchTiny({ quant: 'q4' })).close(true);
  expect(pauses).toHaveLength(3);
  // Of a connection that breaks, the piece that was on its way to us is lost.
  expect(sentBytes() - lengthOf(Q4)).toBeLessThan(3 * 131_072);
  const ranges = mirror.log.filter(({ origin }) => origin === 'store').map(({ headers }) => headers.range);
  expect(ranges).toEqual([
    undefined,
    ...Array.from({ length: 3 }, () => expect.stringMatching(/^bytes=\d{6,7}-$/) as string),
  ]);
  expect(mirror.log.at(-1)?.headers['if-range']).toMatch(/^"[0-9a-f]{32}-2"$/);
});

test('what does not get on is given up after a bounded number of attempts, and what is here stays', async () => {
  mirror.commit(NAME, { files: TINY });
  firstAnswers(100, ({ response }) => {
    response.writeHead(503).end();
    return 'answered';
  });
  await expect(fetchTiny({ quant: 'q4' })).rejects.toMatchObject({
    code: 'source_unreachable',
    message: expect.stringMatching(/answered 503 .*given up after 6 attempts/) as string,
  });
  expect(pauses.map((ms) => Math.round(ms / 1_250))).toEqual(
    [1, 2, 3, 6, 13].map((n) => expect.closeTo(n, -1) as number),
  );
  expect(said.at(-1)).toMatch(/stay in .*acme--tiny; the same command goes on there$/);
  mirror.fault(undefined);
  const before = mirror.log.length;
  await (await fetchTiny({ quant: 'q4' })).close(true);
  // The description again, and of the files only the one that was missing.
  expect(mirror.log.slice(before).filter(({ path }) => path.includes('/resolve/'))).toHaveLength(1);
});

test('too many questions are asked again when the hub says, unless that is too far away', async () => {
  mirror.commit(NAME, { files: TINY });
  const busy =
    (headers: Record<string, string>): Fault =>
    ({ response }) => {
      response.writeHead(429, headers).end();
      return 'answered';
    };
  firstAnswers(1, busy({ 'retry-after': '20' }));
  await (await fetchTiny({ quant: 'q4' })).close(false);
  expect(pauses).toEqual([expect.closeTo(22_500, -4) as number]);
  firstAnswers(1, busy({ ratelimit: '"resolvers";r=0;t=42' }));
  await (await fetchTiny({ quant: 'q4' })).close(false);
  expect(pauses[0]).toBeGreaterThanOrEqual(42_000);
  firstAnswers(1, busy({ 'retry-after': '3600' }));
  await expect(fetchTiny({ quant: 'q4' })).rejects.toMatchObject({
    code: 'too_busy',
    message: expect.stringMatching(/it asks to wait 60 min/) as string,
  });
});

test('wrong bytes are thrown away and fetched once more, and then refused', async () => {
  mirror.commit(NAME, { files: TINY });
  const wrong = Buffer.alloc(lengthOf(Q4), 1);
  firstAnswers(1, () => ({ body: wrong }));
  await (await fetchTiny({ quant: 'q4' })).close(false);
  firstAnswers(2, () => ({ body: wrong }));
  await expect(fetchTiny({ quant: 'q4' })).rejects.toMatchObject({
    code: 'blob_mismatch',
    message: expect.stringMatching(/^onnx\/model_q4\.onnx hashes to .* fetched 2 times/) as string,
  });
  expect(readdirSync(join(downloads, 'acme--tiny/blobs')).filter((name) => name.endsWith('.part'))).toEqual([]);
  // Of a small file too, whose hash is Git's.
  mirror.fault(({ path }) =>
    path.endsWith('/config.json') ? { body: Buffer.alloc(lengthOf('config.json')) } : undefined,
  );
  rmSync(downloads, { recursive: true });
  await expect(fetchTiny({ quant: 'q4' })).rejects.toMatchObject({ code: 'blob_mismatch' });
});

test('a pointer of LFS in place of its file, and a longer body than stated, are named', async () => {
  const plain: Record<string, MirrorFile> = { ...TINY };
  mirror.commit(NAME, { files: plain });
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n';
  firstAnswers(100, ({ response }) => {
    response.writeHead(200, { 'content-length': pointer.length }).end(pointer);
    return 'answered';
  });
  await expect(fetchTiny({ quant: 'q4' })).rejects.toThrow(/has 64 bytes where \d+ were stated \(a pointer of Git LFS/);
  firstAnswers(100, ({ response }) => {
    response.writeHead(200).end(Buffer.alloc(lengthOf(Q4) + 1));
    return 'answered';
  });
  await expect(fetchTiny({ quant: 'q4' })).rejects.toThrow(/sends more than the \d+ bytes it stated/);
});

test('a source without ranges, or whose file is another by now, begins anew', async () => {
  mirror.commit(NAME, { files: TINY });
  const whole = TINY[Q4]?.bytes ?? new Uint8Array();
  let ignored: string | undefined;
  const answers: Fault[] = [
    () => ({ cutAfter: 300_000 }),
    ({ response }) => {
      response.writeHead(416).end();
      return 'answered';
    },
    () => ({ cutAfter: 300_000 }),
    ({ response }) => {
      response.writeHead(206, { 'content-range': 'bytes 0-9/10' }).end(Buffer.alloc(10));
      return 'answered';
    },
    () => ({ cutAfter: 300_000 }),
    ({ response, headers }) => {
      ignored = headers.range;
      response.writeHead(200, { 'content-length': whole.length }).end(whole);
      return 'answered';
    },
  ];
  firstAnswers(answers.length, (asked) => answers.shift()?.(asked));
  const { folder, close } = await fetchTiny({ quant: 'q4' });
  expect(readFileSync(join(folder, Q4)).equals(whole)).toBe(true);
  expect(ignored).toMatch(/^bytes=\d{6}-$/);
  await close(false);
});

test('a connection from which nothing comes is given up after 30 s, and the rest asked for again', async () => {
  mirror.commit(NAME, { files: TINY });
  const clock = createFakeClock(yieldToNode);
  let hanging: () => void = () => undefined;
  const hangs = new Promise<void>((resolve) => (hanging = resolve));
  let arrived = 0;
  firstAnswers(1, () => ({
    pace: (sent) => {
      if (sent < 200_000) return Promise.resolve();
      hanging();
      return new Promise(() => undefined);
    },
  }));
  const fetching = fetchTiny({ quant: 'q4', webClock: clock, onProgress: (done) => (arrived = done) });
  await hangs;
  // Whatever of it still comes starts the silence anew.
  const isOver = (): boolean => said.some((line) => line.includes('no byte in 30 s'));
  const texts = Object.keys(TINY).filter((path) => /\.(json|md)$/.test(path));
  const textBytes = texts.reduce((sum, path) => sum + lengthOf(path), 0);
  while (arrived <= textBytes) await yieldToNode();
  while (!isOver()) {
    await clock.advance(30_000);
    await yieldToNode();
  }
  await (await fetching).close(false);
  expect(said.join('\n')).toMatch(/no byte in 30 s from 127\.0\.0\.1:\d+; trying again in 1 s/);
  expect(mirror.log.at(-1)?.headers.range).toMatch(/^bytes=\d+-$/);
});

test('a push in mid-download changes nothing; the next one fetches only what the push changed', async () => {
  const commit = mirror.commit(NAME, { files: TINY });
  const changed = { ...TINY, 'README.md': { bytes: Buffer.from('---\nlicense: mit\n---\n# Other\n') } };
  firstAnswers(1, () => {
    mirror.commit(NAME, { files: changed });
    return { cutAfter: 500_000 };
  });
  const first = await fetchTiny({ quant: 'q4' });
  expect(first.source).toBe(`hf:${NAME}@${commit}`);
  expect(readFileSync(join(first.folder, 'README.md'), 'utf8')).toMatch(/cc0-1\.0/);
  await first.close(true);
  const before = mirror.log.length;
  const second = await fetchTiny({ quant: 'q4' });
  expect(readFileSync(join(second.folder, 'README.md'), 'utf8')).toMatch(/mit/);
  const resolved = mirror.log.slice(before).filter(({ path }) => path.includes('/resolve/'));
  expect(resolved.map(({ path }) => path.split('/').at(-1))).toEqual(['README.md']);
  await second.close(false);
});

test('a revision is a branch, a tag or a commit, with slashes in it too', async () => {
  const old = mirror.commit(NAME, { files: TINY }, 'refs/pr/1');
  mirror.commit(NAME, { files: { ...TINY, 'README.md': { bytes: Buffer.from('# new') } } });
  for (const revision of ['refs/pr/1', old]) {
    const { source, close } = await fetchTiny({ reference: `hf:${NAME}@${revision}`, quant: 'q4' });
    expect(source).toBe(`hf:${NAME}@${old}`);
    await close(false);
  }
});

test('what may not be had is refused with what to do about it, before anything is fetched', async () => {
  mirror.commit(NAME, { files: TINY });
  mirror.commit('acme/gated', { files: TINY, gated: true });
  const refusal = async (given: Given): Promise<unknown> => {
    const error = (await fetchTiny(given).catch((thrown: unknown) => thrown)) as { code: string; message: string };
    return `${error.code}: ${error.message.replace(mirror.url, 'URL').replace(/127[.\d:]+/, 'HOST')}`;
  };
  expect(await refusal({ reference: 'hf:acme/none' })).toBe(
    'not_found: there is no repository acme/none on HOST; if it is private, set HF_TOKEN',
  );
  expect(await refusal({ reference: 'hf:acme/none', token: 'hf_x' })).toMatch(/or this token may not see it$/);
  expect(await refusal({ reference: `hf:${NAME}@v9` })).toBe('not_found: acme/tiny on HOST has no revision "v9"');
  const gated = { reference: 'hf:acme/gated', quant: 'q4' } as const;
  expect(await refusal(gated)).toBe(
    'forbidden: acme/gated is gated: accept its licence at URL/acme/gated and set HF_TOKEN to a token of that account',
  );
  expect(await refusal({ ...gated, token: 'hf_x' })).toMatch(
    /accept its licence at .* with the account of this token$/,
  );
  expect(sentBytes()).toBe(0);
  await (await fetchTiny({ ...gated, token: mirror.token })).close(false);
});

test('a disk without room refuses with the figures, counting what is here already', async () => {
  mirror.commit(NAME, { files: TINY });
  firstAnswers(1, () => ({ cutAfter: 1_000_000 }));
  const first = new AbortController();
  const onProgress = (done: number): void => void (done > 900_000 && first.abort());
  await expect(fetchTiny({ quant: 'q4', signal: first.signal, onProgress })).rejects.toMatchObject({
    code: 'cancelled',
  });
  await expect(fetchTiny({ quant: 'q4', freeBytes: () => Promise.resolve(1_000_000) })).rejects.toMatchObject({
    code: 'disk_full',
    message: expect.stringMatching(
      /^2\.\d MB are to be fetched \([.\d]+ [kM]B of 3\.\d MB are here\), and .* has 1\.0 MB left/,
    ) as string,
  });
});

test('what nobody here runs is refused before its weights are fetched', async () => {
  const config = JSON.parse(Buffer.from(TINY['config.json']?.bytes ?? []).toString()) as object;
  const withConfig = (more: object): Record<string, MirrorFile> => ({
    ...TINY,
    'config.json': { bytes: Buffer.from(JSON.stringify({ ...config, ...more })) },
  });
  const attempt = async (files: Record<string, MirrorFile>, quant: 'q4' | 'f32' = 'q4'): Promise<FetchedModel> => {
    mirror.commit(NAME, { files });
    return fetchTiny({ quant });
  };
  await expect(attempt(withConfig({ architectures: ['T5ForConditionalGeneration'] }))).rejects.toMatchObject({
    code: 'model_unsupported',
    message: expect.stringMatching(/"T5ForConditionalGeneration", which is for an encoder and a decoder/) as string,
  });
  await expect(attempt(withConfig({ vision_config: {} }))).rejects.toThrow(/"vision_config", more than text/);
  await expect(attempt(withConfig({ architectures: [], is_encoder_decoder: true }))).rejects.toThrow(/is_encoder_dec/);
  expect(sentBytes()).toBe(0);
  // A bare graph is read before the weights beside it are asked for.
  const bare = Buffer.from(TINY['onnx/model.onnx']?.bytes ?? []).toString('latin1');
  const spoilt = Buffer.from(bare.replaceAll('Softmax', 'Softmix'), 'latin1');
  await expect(attempt({ ...TINY, 'onnx/model.onnx': { bytes: spoilt, large: true } }, 'f32')).rejects.toMatchObject({
    code: 'model_refused',
    message: expect.stringMatching(/^onnx\/model\.onnx: .*Softmix/) as string,
  });
  expect(sentBytes()).toBe(spoilt.length);
});

test('an encoder comes with the files that say how its rows become a vector', async () => {
  const shape = { vocab: 200, width: 32, layers: 1, heads: 2, feedForward: 64, context: 64 };
  const texts = Object.entries(encoderFolderTexts({ shape, seed: 1, pooling: 'mean' }));
  const files = Object.fromEntries(texts.map(([path, text]) => [path, { bytes: Buffer.from(text) }]));
  const graph = { bytes: writeGraph(buildEncoder(shape, 1)), large: true };
  mirror.commit('acme/encoder', { files: { ...files, 'onnx/model.onnx': graph } });
  const fetched = await fetchTiny({ reference: 'hf:acme/encoder' });
  const names = readdirSync(fetched.folder, { recursive: true }).map(String);
  expect(names).toEqual(expect.arrayContaining(['modules.json', '1_Pooling/config.json', 'onnx/model.onnx']));
  await fetched.close(false);
});

test('a repository without a graph is refused with how to get one, and where there is one', async () => {
  const files = { 'config.json': TINY['config.json'] as MirrorFile, 'model.safetensors': { bytes: Buffer.alloc(9) } };
  mirror.commit('acme/plain', { files });
  const plain = { reference: 'hf:acme/plain' };
  await expect(fetchTiny(plain)).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringMatching(/^hf:acme\/plain holds no onnx\/model\.onnx .*optimum-cli export onnx/) as string,
  });
  mirror.commit('onnx-community/plain-ONNX', { files: TINY });
  await expect(fetchTiny(plain)).rejects.toThrow(/; or try hf:onnx-community\/plain-ONNX$/);
  const merged = { ...files, 'onnx/decoder_model_merged.onnx': { bytes: Buffer.alloc(9) } };
  mirror.commit('acme/plain', { files: merged });
  await expect(fetchTiny({ quant: 'f16', reference: 'hf:onnx-community/plain-ONNX' })).rejects.toThrow(
    /^hf:onnx-community\/plain-ONNX holds no f16 graph; it has q4, f32$/,
  );
  await expect(fetchTiny(plain)).rejects.toThrow(/decoder_model_merged\.onnx is of an older layout/);
});

test('files that a repository lists elsewhere, by whatever name, are put nowhere', async () => {
  const bytes = Buffer.from('owned');
  const names = [
    '../owned',
    '../../owned',
    '/tmp/owned',
    'onnx/../../owned',
    'onnx\\..\\owned',
    'onnx/model.onnx_data/../owned',
  ];
  const hostile = Object.fromEntries(names.map((name) => [name, { bytes }]));
  mirror.commit('acme/hostile', { files: { ...TINY, ...hostile } });
  const fetched = await fetchTiny({ reference: 'hf:acme/hostile', quant: 'f32' });
  const all = readdirSync(downloads, { recursive: true }).map(String);
  expect(all.filter((path) => path.includes('owned'))).toEqual([]);
  for (const place of [join(downloads, '../owned'), '/tmp/owned']) expect(existsSync(place)).toBe(false);
  await fetched.close(false);
});

test('two downloads of the same model do not write over each other', async () => {
  mirror.commit(NAME, { files: TINY });
  const first = await fetchTiny({ quant: 'q4' });
  await expect(fetchTiny({ quant: 'q4' })).rejects.toMatchObject({ code: 'data_locked' });
  await first.close(true);
  expect(existsSync(first.folder)).toBe(true);
});

test.each([
  'hf:',
  'hf:tiny',
  'hf:a/b/c',
  'hf:a/../b',
  'hf:a/b@',
  'hf:a/b@x/../y',
  'hf:a b/c',
  'hf:http://169.254.169.254/latest',
  'hf:a/b@http://10.0.0.1',
  'hf:me@10.0.0.1/b',
  'hf:a/b?c',
  'hf:a/b#c',
  'hf:%2e%2e/b',
  'hf:a/b\r\nhost: x',
])('"%s" names no model', (text) => {
  expect(() => parseReference(text)).toThrow(/names no model; write it like hf:org\/name/);
});
