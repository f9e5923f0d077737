/**
 * A hub is destroyed with its folder, and what is left is an export. A new hub takes the territory from it, at the same
 * address, with a key of its own: every device of the old one has to find it, believe it and answer there.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@idlewild/client';
import { decodeInvite, joinTokenOf } from '@idlewild/protocol';
import { destroyAndImport } from '../../test/move-territory.ts';
import { startChild, until, type Child } from '../../test/processes/child.ts';
import { ask } from '../../test/replicas/caller.ts';
import { freePort } from '../../test/replicas/replica.ts';
import { MODEL, publishTinyModel } from '../../test/replicas/world.ts';
import type { BenchRun } from '../bench.ts';
import { startLight } from './light.ts';

const DEVICES = 500;
const QUESTIONS = 20;
const CONNECTED_MS_MAX = 60_000;
const CLI = join(import.meta.dirname, '../../packages/cli/bin/idlewild.mjs');

type Up = Child<{ readonly url: string }>;

export async function measureMoved(run: BenchRun): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-moved-'));
  const [old, next] = [join(folder, 'old'), join(folder, 'new')];
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const ends: (() => Promise<unknown>)[] = [];
  const up = async (data: string): Promise<Up> => {
    mkdirSync(data, { recursive: true });
    const child: Up = startChild(CLI, ['up', '--data', data, '--port', String(port), '--json', '--stop-with-stdin']);
    ends.push(() => child.kill());
    await child.line((line) => 'url' in line, 'the hub starting');
    return child;
  };
  try {
    const hub = await up(old);
    const steward = createClient({ hub: url, key: readFileSync(join(old, 'steward.key'), 'utf8').trim() });
    await publishTinyModel(steward);
    const { key } = await steward.keys.create({ role: 'caller', name: 'bench' });
    const { token } = await steward.invites.create({ uses: DEVICES, expiresInSeconds: 600 });
    const joinToken = joinTokenOf(decodeInvite(token).secret);
    const light = await startLight({ name: 'moved', count: DEVICES, joinToken }, [url]);
    ends.push(() => light.stop());
    await until(() => light.connected() === DEVICES, `${DEVICES} devices joining`, CONNECTED_MS_MAX);
    run.signal.throwIfAborted();
    await destroyAndImport({ data: old, kill: () => hub.kill() }, join(folder, 'home.idlewild'), next);
    const startedMs = performance.now();
    await up(next);
    await until(() => light.connected() === DEVICES, 'all being back', CONNECTED_MS_MAX).catch(() => undefined);
    const back = light.connected();
    const tookMs = performance.now() - startedMs;
    const never = new AbortController().signal;
    const asked = Array.from({ length: QUESTIONS }, (_, seed) =>
      ask({ url, key }, { model: MODEL, prompt: 'And now?', seed, tokensMax: 40, resumes: false }, never),
    );
    const bad = (await Promise.all(asked)).filter(({ outcome, wrong }) => outcome !== 'done' || wrong > 0).length;
    run.record(
      'replicas.hub_destroyed_devices_moved',
      back / DEVICES,
      `${back} of ${DEVICES} light devices, ${(tookMs / 1_000).toFixed(1)} s after the new hub started; callers keep ` +
        `their keys, ${QUESTIONS - bad} of ${QUESTIONS} answers as before`,
      bad === 0 ? [] : [`${bad} answers failed or were others`],
    );
  } finally {
    for (const end of ends.toReversed()) await end();
    rmSync(folder, { recursive: true, force: true });
  }
}
