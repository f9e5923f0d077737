/** Commands called in this process beside a hub of a test's own: what they print is heard, no file of the user read. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startHub, type RunningHub } from '@idlewild/hub';
import { afterAll, afterEach, beforeAll, beforeEach, vi } from 'vitest';
import { run } from '../run.ts';

export interface Called {
  readonly code: number;
  readonly out: string;
  readonly said: string;
}

export interface BesideHub {
  /** A file in a folder that goes with the tests. */
  file(name: string): string;
  /** The hub as it runs at the moment, and the key of its steward. */
  readonly hub: RunningHub;
  readonly key: string;
  call(...words: string[]): Promise<Called>;
  /** Ends the hub, and starts one over the same folder once `meanwhile` is done. Its address is another. */
  restart(meanwhile?: (data: string) => void): Promise<void>;
}

/** To be called at the top of a test file: a hub before all tests of it, and its address and key in the environment. */
export function besideHub(): BesideHub {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-cli-'));
  const data = join(folder, 'hub');
  let hub: RunningHub;
  let key = '';
  let out = '';
  let said = '';
  async function start(): Promise<void> {
    hub = await startHub({ data, host: '127.0.0.1', port: 0 });
    key = readFileSync(hub.stewardKeyFile, 'utf8').trim();
    vi.stubEnv('IDLEWILD_HUB', hub.url);
  }

  beforeAll(start);
  afterAll(async () => {
    await hub.stop();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    vi.stubEnv('XDG_DATA_HOME', folder);
    vi.stubEnv('IDLEWILD_HUB', hub.url);
    vi.stubEnv('IDLEWILD_KEY', key);
    const into = (add: (text: string) => void) => (text: string | Uint8Array) => {
      add(String(text));
      return true;
    };
    vi.spyOn(process.stdout, 'write').mockImplementation(into((text) => (out += text)));
    vi.spyOn(process.stderr, 'write').mockImplementation(into((text) => (said += text)));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
  });

  return {
    file: (name) => join(folder, name),
    get hub() {
      return hub;
    },
    get key() {
      return key;
    },
    async call(...words) {
      [out, said] = ['', ''];
      return { code: await run(words), out, said };
    },
    async restart(meanwhile) {
      await hub.stop();
      meanwhile?.(data);
      await start();
    },
  };
}
