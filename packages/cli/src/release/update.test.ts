import { execFile } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromHex } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { judge, newestRelease, readPlace } from './check.ts';
import { RELEASE_BYTES_MAX, openRelease, signRelease, type Release } from './statement.ts';
import { compareVersions } from './version.ts';

const CLI = fileURLToPath(new URL('../../bin/idlewild.mjs', import.meta.url));
const SIGN = fileURLToPath(new URL('sign.ts', import.meta.url));
const { version: RUNNING } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const seed = new Uint8Array(32).fill(7);
const { publicKey } = await nodeCrypto.signingKey(seed);
const pinned = `#key=${Buffer.from(publicKey).toString('base64url')}`;
const NEWER: Release = { version: '999.0.0', date: '2026-12-01', notes: 'https://example.org/999', minimum: '0.0.1' };

let server: Server;
let url: string;
let asked: string[];
let answer: RequestListener;

beforeEach(async () => {
  asked = [];
  server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/release`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => {
    server.close(resolve);
  });
});

interface Called {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Nothing of the one who runs the tests shows through. */
const call = (words: readonly string[], env: Record<string, string> = {}): Promise<Called> =>
  new Promise((resolve) => {
    execFile(process.execPath, words as string[], { env: { PATH: process.env.PATH, ...env } }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
const update = (place?: string, ...words: string[]): Promise<Called> =>
  call([CLI, 'update', ...words], place === undefined ? {} : { IDLEWILD_RELEASES: place });

async function serve(release: Release): Promise<void> {
  const text = await signRelease(release, seed, nodeCrypto);
  answer = (_, response) => response.end(text);
}

const fetched = (limitMs?: number, place = url): Promise<Release> =>
  newestRelease(readPlace(`${place}${pinned}`), { env: {}, clock: systemClock, crypto: nodeCrypto }, limitMs);

test('a newer release is told of, with what to do, and nothing else is asked for', async () => {
  await serve({ ...NEWER, minimum: '998.0.0' });
  const told = await update(url + pinned, '--check');
  expect(told).toMatchObject({ code: 0, err: '' });
  expect(told.out).toMatch(
    new RegExp(`^there is 999\\.0\\.0, of 2026-12-01; this is ${RUNNING}.*nothing was installed\n`),
  );
  expect(told.out).toMatch(/older than 998\.0\.0/);
  expect(told.out).toMatch(/^notes +https:\/\/example\.org\/999$/m);
  expect(asked).toEqual(['GET /release']);
  const { out } = await update(url + pinned, '--check', '--json');
  expect(JSON.parse(out)).toMatchObject({
    version: RUNNING,
    release: { ...NEWER, minimum: '998.0.0' },
    relation: 'newer',
    tooOld: true,
  });
});

test('the same release is no update, and an older one is never called one', async () => {
  await serve({ ...NEWER, version: RUNNING });
  expect((await update(url + pinned, '--check')).out).toMatch(/the newest release, of 2026-12-01$/m);
  await serve({ ...NEWER, version: '0.0.1' });
  const { code, out } = await update(url + pinned, '--check');
  expect(code).toBe(0);
  expect(out).toMatch(/0\.0\.1, of 2026-12-01, and older: no update/);
  expect(out).not.toMatch(/to update/);
});

test('notes cannot steer a terminal', async () => {
  await serve({ ...NEWER, notes: 'new\u001b[2J\u202e things' });
  expect((await update(url + pinned, '--check')).out).toMatch(/^notes +new\[2J things$/m);
});

test('what another key has signed is not believed', async () => {
  const text = await signRelease(NEWER, new Uint8Array(32).fill(8), nodeCrypto);
  answer = (_, response) => response.end(text);
  const { code, out, err } = await update(url + pinned, '--check', '--json');
  expect({ code, out }).toEqual({ code: 4, out: '' });
  expect(JSON.parse(err)).toMatchObject({ error: { code: 'signature_invalid' } });
});

test('no byte of what was signed can be changed, and no other kind of statement passes for it', async () => {
  const text = await signRelease(NEWER, seed, nodeCrypto);
  expect(await openRelease(text.replaceAll('\n', '\r\n'), publicKey, nodeCrypto)).toEqual(NEWER);
  for (let at = 0; at < text.length - 1; at++) {
    const other = text[at] === 'x' ? 'y' : 'x';
    const changed = `${text.slice(0, at)}${other}${text.slice(at + 1)}`;
    await expect(openRelease(changed, publicKey, nodeCrypto)).rejects.toMatchObject({ code: 'signature_invalid' });
  }
  const [line = ''] = text.split('\n');
  const bare = Buffer.from(await nodeCrypto.sign(seed, Buffer.from(line))).toString('base64');
  await expect(openRelease(`${line}\n${bare}\n`, publicKey, nodeCrypto)).rejects.toMatchObject({
    code: 'signature_invalid',
  });
});

test.each(['', '<html>', '{}', '{}\nAAAA', 'a\nb\nc', '\u0000\n\n', `${'x'.repeat(5_000)}\n${'A'.repeat(86)}==`])(
  'garbage is not believed: %#',
  async (garbage) => {
    answer = (_, response) => response.end(garbage);
    await expect(fetched()).rejects.toMatchObject({ code: 'signature_invalid' });
  },
);

test('what is signed and no release is told of as such', async () => {
  const line = '{"version":"1"}';
  const signature = await nodeCrypto.sign(seed, Buffer.from(`idlewild/v1/release\0${line}`));
  answer = (_, response) => response.end(`${line}\n${Buffer.from(signature).toString('base64')}\n`);
  await expect(fetched()).rejects.toMatchObject({ code: 'source_unreachable' });
  await expect(signRelease({ ...NEWER, date: 'tomorrow' }, seed, nodeCrypto)).rejects.toMatchObject({ code: 'usage' });
  await expect(signRelease({ ...NEWER, minimum: '1' }, seed, nodeCrypto)).rejects.toThrow(/minimum/);
});

test('a place that is silent, stalls, pours, refuses or is not there is told of within its time', async () => {
  answer = () => undefined;
  await expect(fetched(200)).rejects.toThrow(/did not answer within 0\.2 s/);
  answer = (_, response) => void response.write('{');
  await expect(fetched(200)).rejects.toMatchObject({ code: 'source_unreachable' });
  answer = (_, response) => {
    const pour = (): void => {
      while (!response.destroyed && response.write('x'.repeat(1_024)));
    };
    response.on('drain', pour);
    pour();
  };
  await expect(fetched()).rejects.toThrow(new RegExp(`more than ${RELEASE_BYTES_MAX} bytes`));
  answer = (_, response) => void response.writeHead(404).end('nothing');
  await expect(fetched()).rejects.toThrow(/answered with 404/);
  const { code, err } = await update(`http://127.0.0.1:9/release${pinned}`, '--check');
  expect({ code, isTold: /ECONNREFUSED/.test(err) }).toEqual({ code: 6, isTold: true });
});

test('without a place nothing is asked, and it is said how a clone is updated', async () => {
  const { code, out } = await update(undefined, '--check');
  expect(code).toBe(0);
  expect(out).toMatch(/names no place .* so nothing was asked/);
  expect(JSON.parse((await update(undefined, '--check', '--json')).out)).toMatchObject({
    version: RUNNING,
    release: null,
    relation: null,
  });
  await serve(NEWER);
  const { code: unasked, err } = await update(url + pinned);
  expect({ unasked, err }).toEqual({ unasked: 2, err: expect.stringMatching(/--check/) as string });
  expect(asked).toEqual([]);
});

test.each(['', 'x', 'https://example.org/r', 'https://example.org/r#key=abc', `http://example.org/r${pinned}`])(
  '%j is no place of releases',
  (named) => {
    expect(() => readPlace(named)).toThrow(expect.objectContaining({ code: 'usage' }));
  },
);

test('no other command looks for updates', () => {
  const source = fileURLToPath(new URL('..', import.meta.url));
  const looking = globSync('**/*.ts', { cwd: source }).filter(
    (path) => !/^release[/\\]/.test(path) && /['"/]release\//.test(readFileSync(join(source, path), 'utf8')),
  );
  expect(looking.map((path) => path.replaceAll('\\', '/'))).toEqual(['commands/update.ts']);
});

test('versions are in their order', () => {
  const ordered = [
    '0.0.9',
    '0.0.10',
    '0.1.0-alpha',
    '0.1.0-alpha.1',
    '0.1.0-alpha.beta',
    '0.1.0-beta',
    '0.1.0-beta.2',
    '0.1.0-beta.11',
    '0.1.0-rc.1',
    '0.1.0',
    '0.2.0',
    '1.0.0',
    '10.0.0',
  ];
  for (const [a, one] of ordered.entries()) {
    for (const [b, other] of ordered.entries()) {
      expect({ one, other, is: Math.sign(compareVersions(one, other)) }).toEqual({ one, other, is: Math.sign(a - b) });
    }
  }
  expect(compareVersions('1.0.0+one', '1.0.0+two')).toBe(0);
  const release = { ...NEWER, version: '1.0.0', minimum: '0.5.0' };
  expect(judge('1.0.0-rc.1', release)).toEqual({ relation: 'newer', tooOld: false });
  expect(judge('0.5.0-rc.1', release)).toEqual({ relation: 'newer', tooOld: true });
  expect(judge('1.0.1', release)).toEqual({ relation: 'older', tooOld: false });
});

test('who makes releases signs them with a key that is kept to its owner', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-release-'));
  try {
    const file = join(folder, 'release.key');
    const first = await call([SIGN, file, JSON.stringify(NEWER)]);
    expect(first.code).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { publicKey: key } = await nodeCrypto.signingKey(fromHex(readFileSync(file, 'utf8').trim()));
    expect(await openRelease(first.out, key, nodeCrypto)).toEqual(NEWER);
    expect(first.err.trim()).toBe(`#key=${Buffer.from(key).toString('base64url')}`);
    // The same key and the same words give the same bytes.
    expect(await call([SIGN, file, JSON.stringify(NEWER)])).toEqual(first);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
