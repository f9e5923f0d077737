/** A real engine behind each kind of wall that can be built here: what it is shut off from, and what it still can. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Engine } from '../../core/port.ts';
import { collect, prepareModelFolder, tokensOf, work } from '../../testing/index.ts';
import { createNodeEngineHost } from '../engine-host.ts';
import { surveyIsolation } from './here.ts';
import { NO_WALL, type Wall } from './walls.ts';
import { yieldToNode } from '@idlewild/protocol/testing';

const root = mkdtempSync(join(tmpdir(), 'idlewild-walled-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const model = prepareModelFolder({ folder: join(root, 'jacobean'), from: 'jacobean' });

/** Processes as they were told of: whatever is done to them then has to hold for the engine. */
const starts: number[] = [];

async function loaded(wall: Wall): Promise<{ engine: Engine; pid: number }> {
  let pid = 0;
  const log = (message: string): void => {
    pid = Number(/in process (\d+)/.exec(message)?.[1] ?? pid);
  };
  const host = createNodeEngineHost({ wall, log, niceness: 19, onStarted: (started) => starts.push(started) });
  const engine = await host.load(model, { threads: 1, slotsMax: 1 }, new AbortController().signal);
  return { engine, pid };
}

async function answer(engine: Engine): Promise<number[]> {
  const asked = collect(engine, work({ tokensMax: 20 }));
  await asked.over;
  return tokensOf(asked.events);
}

const statusOf = (pid: number): Map<string, string> =>
  new Map(
    readFileSync(`/proc/${pid}/status`, 'utf8')
      .split('\n')
      .map((line) => [line.split(':')[0] ?? '', line.split(':')[1]?.trim() ?? '']),
  );

/** Files below a folder, links not followed. */
const filesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

const open = await (async () => {
  const { engine } = await loaded(NO_WALL);
  const tokens = await answer(engine);
  await engine.close();
  return { fingerprint: engine.fingerprint, tokens };
})();

for (const builder of ['bubblewrap', 'unshare'] as const) {
  const { wall, missing } = await surveyIsolation({ builders: [builder] });
  test.skipIf(wall.by !== builder)(
    `an engine behind ${builder} answers as without, and is alone${missing === '' ? '' : ` (here: ${missing})`}`,
    async () => {
      const { engine, pid } = await loaded(wall);
      expect(engine.fingerprint).toBe(open.fingerprint);
      expect(await answer(engine)).toEqual(open.tokens);

      const namespaces = ['net', 'pid', 'mnt', 'ipc', 'uts', 'user'];
      const namespaceOf = (of: string): string[] => namespaces.map((name) => readlinkSync(`/proc/${of}/ns/${name}`));
      const ours = namespaceOf('self');
      expect(namespaceOf(String(pid)).filter((each, i) => each === ours[i])).toEqual([]);

      const status = statusOf(pid);
      expect(status.get('NSpid')?.split(/\s+/)).toEqual(expect.arrayContaining([String(pid), '1']));
      expect([status.get('CapEff'), status.get('NoNewPrivs')]).toEqual(['0000000000000000', '1']);
      if (wall.filter !== undefined) expect(status.get('Seccomp')).toBe('2');

      // What it sees from its root, and what its weights are mapped from: the very file, so memory is shared.
      const seen = `/proc/${pid}/root`;
      expect(filesIn(join(seen, 'etc')).filter((name) => name !== 'ld.so.cache')).toEqual([]);
      expect(filesIn(join(seen, 'dev')).toSorted()).toEqual(['null', 'urandom', 'zero']);
      expect(filesIn(join(seen, model.folder)).toSorted()).toEqual(filesIn(model.folder).toSorted());
      expect(filesIn(join(seen, root))).toEqual(['jacobean']);
      expect(readFileSync(`/proc/${pid}/maps`, 'utf8')).toContain('weights.bin');

      // Nothing of it can be written, not even what it may set of itself.
      const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n');
      const writable = mounts.filter((line) => !/^(\S+ ){5}ro[, ]/.test(line)).map((line) => line.split(' ')[4] ?? '');
      expect(writable.filter((path) => !path.startsWith('/dev/'))).toEqual([]);

      // What was set for the first process, before there was an engine, went over to the engine.
      expect([starts.at(-1), getPriority(pid)]).toEqual([Number(status.get('PPid')), 19]);
      if (existsSync('/proc/self/autogroup'))
        expect(readFileSync(`/proc/${pid}/autogroup`, 'utf8')).toMatch(/nice 19$/m);

      expect(engine.suspend?.()).toBe(true);
      while (!statusOf(pid).get('State')?.startsWith('T')) await yieldToNode();
      engine.resume?.();
      expect(await answer(engine)).toEqual(open.tokens);
      await engine.close();
      expect(existsSync(`/proc/${pid}`)).toBe(false);
    },
  );
}
