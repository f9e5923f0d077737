/** What the kernel keeps an engine to, and that none is left when the process that started it is killed. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import { prepareModelFolder } from '../../testing/index.ts';
import { surveyIsolation } from './here.ts';

const root = mkdtempSync(join(tmpdir(), 'idlewild-orphan-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const model = prepareModelFolder({ folder: join(root, 'jacobean'), from: 'jacobean' });
const MEMORY_BYTES = 1_024_000_000;
const OVERHEAD_BYTES = 2 ** 31;

/** Starts an engine behind a wall, stops it as a pause does, tells its process id, and lives on. */
const OWNER = `
const [, folder, builders, model] = process.argv;
const { createNodeEngineHost } = await import(folder + 'engine-host.ts');
const { surveyIsolation } = await import(folder + 'isolation/here.ts');
const { wall } = await surveyIsolation({ builders: JSON.parse(builders) });
let pid = '';
const host = createNodeEngineHost({ wall, log: (text) => (pid = /in process (\\d+)/.exec(text)?.[1] ?? pid) });
const limits = { threads: 1, slotsMax: 1, memoryBytesMax: ${MEMORY_BYTES} };
const engine = await host.load(JSON.parse(model), limits, new AbortController().signal);
engine.suspend();
console.log(pid);
setInterval(() => undefined, 60_000);`;
const FOLDER = new URL('../', import.meta.url).href;

const of = (pid: number, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
};
/** Gone, or dead and not yet collected by whoever has that to do in a container. */
const isOver = (pid: number): boolean => !/^State:\s*[^ZX]/m.test(of(pid, 'status'));

for (const builder of ['bubblewrap', 'unshare', 'none'] as const) {
  const builders = builder === 'none' ? [] : [builder];
  const { wall } = await surveyIsolation({ builders });
  const canEnd = builder === 'bubblewrap' || wall.setpriv !== undefined;
  test.skipIf(process.platform !== 'linux' || wall.by !== builder || !canEnd)(
    `a stopped engine behind ${builder} ends with its killed owner, and is bounded by the kernel until then`,
    async () => {
      const words = [FOLDER, JSON.stringify(builders), JSON.stringify(model)];
      const owner = spawn(process.execPath, ['--input-type=module', '-e', OWNER, ...words]);
      let said = '';
      owner.stderr.on('data', (text: Buffer) => (said += text.toString()));
      const pid = await new Promise<number>((resolve, reject) => {
        owner.stdout.on('data', (text: Buffer) => resolve(Number(text)));
        owner.once('close', () => reject(new Error(`no engine was started: ${said}`)));
      });
      const limit = (name: string): string =>
        new RegExp(`^${name} +(\\S+ +\\S+)`, 'm').exec(of(pid, 'limits'))?.[1] ?? '';
      expect(limit('Max core file size')).toMatch(/^0 +0$/);
      expect(limit('Max data size').split(/ +/).map(Number)).toEqual(Array(2).fill(MEMORY_BYTES + OVERHEAD_BYTES));
      expect(of(pid, 'oom_score_adj').trim()).toBe('1000');
      expect(isOver(pid)).toBe(false);
      owner.kill('SIGKILL');
      while (!isOver(pid)) await pause(20);
    },
  );
}
