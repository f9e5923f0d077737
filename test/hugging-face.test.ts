/**
 * `idlewild models add hf:…` as people call it, against a mirror in the real layout: published, answered with, and
 * after a power cut in the middle of a download only the rest asked for.
 */
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startMirror, type Mirror } from './hugging-face/mirror.ts';
import { tinyRepository } from './hugging-face/tiny-repository.ts';
import { startChild, until, type Child } from './processes/child.ts';
import { createWorld, type HubProcess, type World } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const NAME = 'test/Tiny';
const Q4 = 'onnx/model_q4.onnx';
const TINY = tinyRepository();

type Line = Readonly<Record<string, unknown>>;

let world: World;
let hub: HubProcess;
let mirror: Mirror;
const started: Child<Line>[] = [];

beforeAll(async () => {
  world = await createWorld();
  mirror = await startMirror();
  hub = await world.startHub();
  mirror.commit(NAME, { files: TINY });
});
afterAll(async () => {
  await Promise.all(started.map((child) => child.kill()));
  await mirror.close();
  await world.end();
});

const home = (): string => join(world.folder, 'home');
const downloads = (): string => join(home(), 'share/idlewild/downloads');

/** Nothing of the one who runs the tests may show through. */
function idlewild(words: readonly string[], env: NodeJS.ProcessEnv = {}): Child<Line> {
  const own = { PATH: process.env.PATH, HOME: home(), XDG_DATA_HOME: join(home(), 'share'), XDG_CACHE_HOME: home() };
  const hubEnv = { HF_ENDPOINT: mirror.url, IDLEWILD_HUB: hub.url, IDLEWILD_KEY: hub.key };
  const child = startChild<Line>(CLI, words, { ...own, ...hubEnv, ...env });
  started.push(child);
  return child;
}

const storeBytes = (from = 0): number =>
  mirror.log.slice(from).reduce((sum, { origin, bytes }) => sum + (origin === 'store' ? bytes : 0), 0);

test('a model of Hugging Face is one command away from an answer', async () => {
  const adding = idlewild(['models', 'add', `hf:${NAME}`, '--quant', 'q4']);
  expect({ ...(await adding.ended), said: adding.said() }).toMatchObject({ code: 0 });
  const said = adding.said();
  expect(said).toMatch(/hf:test\/Tiny is at [0-9a-f]{12} \(main\)/);
  expect(said).toMatch(/licence cc0-1\.0, see/);
  expect(said).toMatch(/what was fetched is deleted again; --keep keeps it/);
  expect(readdirSync(downloads())).toEqual([]);

  const model = await hub.client.models.get('tiny');
  expect(model.card).toMatchObject({
    licence: 'cc0-1.0',
    languages: ['en'],
    parameters: 3_148_246,
    source: expect.stringMatching(/^hf:test\/Tiny@[0-9a-f]{40}$/) as string,
  });
  const shown = idlewild(['models', 'show', 'tiny']);
  await shown.ended;
  expect(shown.said()).toMatch(/parameters {2}3\.1 million\n[\s\S]*source +hf:test\/Tiny@/);
  expect(shown.said()).toMatch(/\nDescription\n {2}A small decoder/);

  await world.startDevice(hub, 'ada');
  const asking = idlewild(['chat', '-m', 'tiny', '--max-tokens', '8', '--json', 'What news?']);
  await asking.ended;
  expect(asking.lines.at(-1)).toMatchObject({ finish: expect.any(String) as string, usage: { completion_tokens: 8 } });
});

test('after a power cut only the rest is fetched', async () => {
  const large = TINY[Q4]?.bytes.length ?? 0;
  const reached = Promise.withResolvers<void>();
  mirror.fault(({ origin }) =>
    origin !== 'store'
      ? undefined
      : {
          pace: (sent) => {
            if (sent < large / 2) return Promise.resolve();
            reached.resolve();
            return new Promise(() => undefined);
          },
        },
  );
  const words = [
    'models',
    'add',
    `hf:${NAME}`,
    '--quant',
    'q4',
    '--name',
    'again',
    '--keep',
    '--description',
    'Again.',
  ];
  const first = idlewild(words);
  await reached.promise;
  const parts = (): number =>
    existsSync(join(downloads(), 'test--Tiny/blobs'))
      ? readdirSync(join(downloads(), 'test--Tiny/blobs'))
          .filter((name) => name.endsWith('.part'))
          .reduce((sum, name) => sum + statSync(join(downloads(), 'test--Tiny/blobs', name)).size, 0)
      : 0;
  await until(() => Promise.resolve(parts() > large / 3), 'half of the model lying on the disk');
  await first.kill();
  const here = parts();
  mirror.fault(undefined);
  const before = mirror.log.length;
  const second = idlewild(words);
  expect({ ...(await second.ended), said: second.said() }).toMatchObject({ code: 0 });
  expect(storeBytes(before)).toBe(large - here);
  expect(second.said()).toMatch(/what was fetched stays in .*test--Tiny/);
  // Kept, it is all here: another name for the same asks for no file at all.
  const third = idlewild([...words.slice(0, 6), 'thrice', '--licence', 'mine', '--keep']);
  expect(await third.ended).toMatchObject({ code: 0 });
  expect(storeBytes(before)).toBe(large - here);
});

test('interrupted, it says what stays and where', async () => {
  const reached = Promise.withResolvers<void>();
  mirror.fault(({ origin }) =>
    origin !== 'store' ? undefined : { pace: () => (reached.resolve(), new Promise(() => undefined)) },
  );
  const adding = idlewild(['models', 'add', `hf:${NAME}`, '--quant', 'f32', '--name', 'whole']);
  await reached.promise;
  process.kill(adding.pid, 'SIGINT');
  expect(await adding.ended).toMatchObject({ code: 130 });
  expect(adding.said()).toMatch(/[.\d]+ [kM]B stay in .*test--Tiny; the same command goes on there\ninterrupted\n$/);
  mirror.fault(undefined);
});

test('what cannot be is told before anything is fetched, with an exit code for scripts', async () => {
  const from = mirror.log.length;
  const told = async (words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<[number | null, string]> => {
    const child = idlewild(['models', 'add', ...words], env);
    const { code } = await child.ended;
    return [code, child.said()];
  };
  expect(await told(['hf:test/none'])).toEqual([
    5,
    expect.stringMatching(/there is no repository test\/none/) as string,
  ]);
  expect(await told([`hf:${NAME}@v9`])).toEqual([5, expect.stringMatching(/has no revision "v9"/) as string]);
  expect(await told([`hf:${NAME}`, '--quant', 'f16'])).toEqual([
    5,
    expect.stringMatching(/hf:test\/Tiny holds no f16 graph; it has q4, f32/) as string,
  ]);
  expect(await told(['hf:tiny'])).toEqual([2, expect.stringMatching(/write it like hf:org\/name/) as string]);
  expect(await told([`hf:${NAME}`, '--quant', 'q2'])).toEqual([2, expect.stringMatching(/one of q4, q4f16/) as string]);
  expect(await told([`hf:${NAME}`], { IDLEWILD_KEY: 'iw_wrong' })).toEqual([4, expect.any(String) as string]);
  expect(await told([`hf:other/Tiny`])).toEqual([
    1,
    expect.stringMatching(/another model has the name "tiny"/) as string,
  ]);
  expect(storeBytes(from)).toBe(0);
});

test('a card in a file and the words of the command go before what the folder says', async () => {
  const card = join(world.folder, 'card.md');
  writeFileSync(
    card,
    '---\nlicense: mit\nlanguage: fr\n---\n# x\n\nFrom a file.\n\n## Limitations\n\nMany.\u001b[31m\n',
  );
  const folder = join(import.meta.dirname, '../models/jacobean');
  const adding = idlewild(['models', 'add', folder, '--name', 'carded', '--card', card, '--licence', 'ours']);
  expect(await adding.ended).toMatchObject({ code: 0 });
  expect((await hub.client.models.get('carded')).card).toEqual({
    licence: 'ours',
    description: 'From a file.',
    languages: ['fr'],
    limitations: 'Many.[31m',
    parameters: 3_148_246,
  });
});
