/** Through proxies of both kinds, with names that nothing here could resolve by itself. */
import { webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { systemClock } from '@idlewild/protocol/node';
import { expect, onTestFinished, test } from 'vitest';
import { proxiesOf, readSettings, type Environment } from './settings.ts';
import { createWeb, type Answer, type Web } from './web.ts';

const { signal } = new AbortController();

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

function open(endpoint: string, env: Environment = {}, token?: string): Web {
  const web = createWeb({ settings: { endpoint, token }, env, clock: systemClock });
  onTestFinished(() => web.close());
  return web;
}

async function textOf(answer: Answer): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer.body) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
const answering: Handler = ({ headers, url }, response) =>
  response.end(`${headers.host} ${url} ${headers.authorization}`);

/** A proxy that sends every name to one port of this machine, and notes what it was asked. */
async function startProxy(port: number): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((incoming, response) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    const { pathname } = new URL(incoming.url ?? '');
    const { host, authorization } = incoming.headers;
    const headers = { host, ...(authorization === undefined ? {} : { authorization }) };
    request({ port, path: pathname, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    }).end();
  });
  server.on('connect', (incoming, socket) => {
    asked.push(`CONNECT ${incoming.url}`);
    const through = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(through).pipe(socket);
    });
    through.on('error', () => socket.destroy());
    socket.on('error', () => through.destroy());
  });
  return { url: `http://127.0.0.1:${await listen(server)}`, asked };
}

test('over HTTP a proxy is asked for the whole address', async () => {
  const proxy = await startProxy(await listen(createServer(answering)));
  const web = open('http://huggingface.test', { HTTP_PROXY: proxy.url }, 'hf_t');
  expect(await textOf(await web.get('/a', { signal }))).toBe('huggingface.test /a Bearer hf_t');
  expect(proxy.asked).toEqual(['GET http://huggingface.test/a']);
});

test('over HTTPS a proxy sees the name of the host and nothing else', async () => {
  const { key, cert } = await certificateFor('huggingface.test');
  const before = getCACertificates('default');
  setDefaultCACertificates([...before, cert]);
  onTestFinished(() => setDefaultCACertificates(before));
  const proxy = await startProxy(await listen(createTlsServer({ key, cert }, answering)));
  const web = open('https://huggingface.test', { https_proxy: proxy.url }, 'hf_t');
  expect(await textOf(await web.get('/a', { signal }))).toBe('huggingface.test /a Bearer hf_t');
  expect(proxy.asked).toEqual(['CONNECT huggingface.test:443']);
  // A server with another name's certificate is none, proxy or not.
  const other = open('https://elsewhere.test', { HTTPS_PROXY: proxy.url });
  await expect(other.get('/a', { signal })).rejects.toMatchObject({ code: 'source_unreachable' });
});

test('what NO_PROXY names is asked directly', async () => {
  const port = await listen(createServer(answering));
  const env = { HTTP_PROXY: 'http://127.0.0.1:1', NO_PROXY: 'huggingface.test,127.0.0.1' };
  const web = open(`http://127.0.0.1:${port}`, env);
  expect(await textOf(await web.get('/a', { signal }))).toBe(`127.0.0.1:${port} /a undefined`);
  await expect(open('http://other.test', env).get('/a', { signal })).rejects.toMatchObject({
    code: 'source_unreachable',
  });
});

test('a proxy that would be passed over in silence is refused, one without http:// is not', () => {
  expect(proxiesOf({ HTTPS_PROXY: 'a.test:3128', http_proxy: 'https://u:p@b.test', NO_PROXY: 'c' })).toEqual({
    HTTPS_PROXY: 'http://a.test:3128',
    HTTP_PROXY: 'https://u:p@b.test',
    NO_PROXY: 'c',
  });
  expect(proxiesOf({ all_proxy: 'a.test' })).toMatchObject({
    HTTPS_PROXY: 'http://a.test',
    HTTP_PROXY: 'http://a.test',
  });
  expect(() => proxiesOf({ ALL_PROXY: 'socks5://a.test' })).toThrow(/HTTPS_PROXY names no proxy for HTTP/);
});

test('redirects are followed so far, to no other protocol, and out of TLS never', async () => {
  const { key, cert } = await certificateFor('localhost');
  const before = getCACertificates('default');
  setDefaultCACertificates([...before, cert]);
  onTestFinished(() => setDefaultCACertificates(before));
  const to: Handler = ({ url = '' }, response) =>
    response.writeHead(302, { location: decodeURIComponent(url.slice(1)) || '/' }).end();
  const plain = open(`http://127.0.0.1:${await listen(createServer(to))}`);
  await expect(plain.get('/', { signal })).rejects.toThrow(/redirects in circles/);
  await expect(plain.get(`/${encodeURIComponent('file:///etc/passwd')}`, { signal })).rejects.toThrow(
    /redirects to where nothing is fetched from: file:/,
  );
  const secure = open(`https://localhost:${await listen(createTlsServer({ key, cert }, to))}`);
  await expect(secure.get(`/${encodeURIComponent('http://127.0.0.1/')}`, { signal })).rejects.toThrow(
    /redirects to where nothing is fetched from: http:/,
  );
});

test('a server that never answers is given up after 30 s', async () => {
  const clock = createFakeClock(yieldToNode);
  const asked = Promise.withResolvers<void>();
  const server = createServer(() => asked.resolve());
  onTestFinished(() => server.closeAllConnections());
  const settings = { endpoint: `http://127.0.0.1:${await listen(server)}`, token: undefined };
  const web = createWeb({ settings, env: {}, clock });
  onTestFinished(() => web.close());
  const answer = web.get('/', { signal }).catch((error: unknown) => error);
  await asked.promise;
  await clock.advance(30_000);
  expect(await answer).toMatchObject({
    code: 'source_unreachable',
    message: expect.stringMatching(/no byte in 30 s/) as string,
  });
});

test('who asks, and where, is read as the tools of Hugging Face read it', () => {
  const home = mkdtempSync(join(tmpdir(), 'idlewild-hf-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const none = { HOME: home, XDG_CACHE_HOME: join(home, 'cache') };
  expect(readSettings(none)).toEqual({ endpoint: 'https://huggingface.co', token: undefined });
  writeFileSync(join(home, 'token'), 'hf_file\n');
  expect(readSettings({ ...none, HF_HOME: home }).token).toBe('hf_file');
  expect(readSettings({ ...none, HF_TOKEN_PATH: join(home, 'token') }).token).toBe('hf_file');
  expect(readSettings({ ...none, HF_HOME: home, HF_TOKEN: ' hf_env ' }).token).toBe('hf_env');
  expect(readSettings({ ...none, HF_HOME: home, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token).toBeUndefined();
  const mirror = (endpoint: string): ReturnType<typeof readSettings> =>
    readSettings({ ...none, HF_ENDPOINT: endpoint, HF_TOKEN: 'hf_env' });
  expect(mirror('https://mirror.test/hf/')).toEqual({ endpoint: 'https://mirror.test/hf', token: 'hf_env' });
  expect(mirror('http://127.0.0.1:80').token).toBe('hf_env');
  // In the clear, only on this machine.
  expect(mirror('http://mirror.test').token).toBeUndefined();
  expect(() => mirror('mirror.test')).toThrow(/HF_ENDPOINT is no address/);
});

async function certificateFor(name: string): Promise<{ key: string; cert: string }> {
  // The library wants this polyfill to be there before it is loaded itself.
  await import('reflect-metadata');
  const { SubjectAlternativeNameExtension, X509CertificateGenerator } = await import('@peculiar/x509');
  const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    notBefore: new Date('2020-01-01'),
    notAfter: new Date('2120-01-01'),
    keys,
    signingAlgorithm,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
    cert: certificate.toString('pem'),
  };
}
