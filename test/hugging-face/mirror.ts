/**
 * A mirror of Hugging Face on loopback, in the hub's real layout: descriptions of repositories under /api/models, small
 * files from the hub itself behind a relative redirect, large ones from a second origin behind a signed address, with
 * the headers and error codes of the original. Tests give it its faults.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface MirrorFile {
  readonly bytes: Uint8Array;
  /** Kept in LFS, so served by the second origin. */
  readonly large?: boolean;
}

export interface MirrorRepository {
  readonly files: Readonly<Record<string, MirrorFile>>;
  readonly gated?: boolean;
}

export interface Asked {
  readonly origin: 'hub' | 'store';
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly status: number;
  /** Of its body, that were handed to the system. */
  bytes: number;
}

/** What to do with an answer instead; `undefined` lets it go as it should. */
export type Fault = (asked: {
  readonly origin: Asked['origin'];
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly response: ServerResponse;
}) => 'answered' | { readonly cutAfter?: number; readonly pace?: Pace; readonly body?: Uint8Array } | undefined;

/** Called after each piece of a body; the next is sent when it resolves. */
export type Pace = (sentBytes: number) => Promise<void>;

export interface Mirror {
  readonly url: string;
  /** Every request that was answered, in order. */
  readonly log: readonly Asked[];
  /** The newest commit of a branch. */
  commit(repository: string, content: MirrorRepository, branch?: string): string;
  fault(act: Fault | undefined): void;
  /** A token that may read what is gated; all others may not. */
  readonly token: string;
  close(): Promise<void>;
}

const PIECE_BYTES = 65_536;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const gitId = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
const pointerOf = (bytes: Uint8Array): string =>
  `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256(bytes)}\nsize ${bytes.length}\n`;

interface State {
  readonly commits: Map<string, MirrorRepository>;
  /** By `org/name@branch`. */
  readonly branches: Map<string, string>;
  readonly log: Asked[];
  readonly token: string;
  fault: Fault | undefined;
  storeUrl: string;
}

export async function startMirror(): Promise<Mirror> {
  const state: State = {
    commits: new Map(),
    branches: new Map(),
    log: [],
    token: 'hf_reader',
    fault: undefined,
    storeUrl: '',
  };
  const hub = createServer((request, response) => handle(state, 'hub', request, response));
  const store = createServer((request, response) => handle(state, 'store', request, response));
  const url = await listen(hub);
  state.storeUrl = await listen(store);
  return {
    url,
    log: state.log,
    token: state.token,
    commit(repository, content, branch = 'main') {
      const names = Object.entries(content.files).map(([path, { bytes }]) => `${path} ${sha256(bytes)}`);
      const commit = createHash('sha1')
        .update([repository, ...names].join('\n'))
        .digest('hex');
      state.commits.set(`${repository}@${commit}`, content);
      state.branches.set(`${repository}@${branch}`, commit);
      return commit;
    },
    fault(act) {
      state.fault = act;
    },
    async close() {
      for (const server of [hub, store]) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type Handled = (status: number, headers?: Record<string, string>, body?: Uint8Array | string) => void;

function handle(state: State, origin: Asked['origin'], request: IncomingMessage, response: ServerResponse): void {
  const { headers } = request;
  const url = new URL(request.url ?? '/', 'http://mirror');
  const path = decodeURIComponent(url.pathname);
  const fault = state.fault?.({ origin, path, headers, response });
  if (fault === 'answered') {
    state.log.push({ origin, path, headers, status: response.statusCode, bytes: 0 });
    return;
  }
  const answer: Handled = (status, more = {}, body = '') => {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const asked: Asked = { origin, path, headers, status, bytes: 0 };
    state.log.push(asked);
    response.writeHead(status, { 'content-length': String(bytes.length), ...more });
    void send(response, fault?.body ?? bytes, asked, fault ?? {});
  };
  if (origin === 'store') fromStore(state, path, headers, answer);
  else if (path.startsWith('/api/models/')) describe(state, path, headers, answer);
  else if (path.startsWith('/api/resolve-cache/')) fromCache(state, path, headers, answer);
  else resolve(state, path, headers, answer);
}

async function send(
  response: ServerResponse,
  bytes: Uint8Array,
  asked: Asked,
  { cutAfter, pace }: { readonly cutAfter?: number; readonly pace?: Pace },
): Promise<void> {
  const end = Math.min(bytes.length, cutAfter ?? bytes.length);
  for (let at = 0; at < end && !response.destroyed; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, Math.min(end, at + PIECE_BYTES));
    await new Promise<void>((resolve) => response.write(piece, () => resolve()));
    asked.bytes += piece.length;
    await pace?.(asked.bytes);
  }
  if (cutAfter === undefined || cutAfter >= bytes.length) response.end();
  else response.destroy();
}

type Headers = IncomingMessage['headers'];

const refusal = (answer: Handled, status: number, code: string, message: string): void =>
  answer(
    status,
    { 'x-error-code': code, 'x-error-message': message, 'content-type': 'application/json' },
    JSON.stringify({ error: message }),
  );

/** /api/models/org/name[/revision/REV] */
function describe(state: State, path: string, headers: Headers, answer: Handled): void {
  const [, repository = '', revision = 'main'] =
    /^\/api\/models\/([^/]+\/[^/]+)(?:\/revision\/(.+))?$/.exec(path) ?? [];
  const known = [...state.branches.keys()].some((key) => key.startsWith(`${repository}@`));
  // The hub does not tell strangers what there is.
  if (!known) return refusal(answer, headers.authorization ? 404 : 401, 'RepoNotFound', 'Repository not found');
  const found = contentOf(state, repository, revision);
  if (found === undefined) return refusal(answer, 404, 'RevisionNotFound', `Invalid rev id: ${revision}`);
  const siblings = Object.entries(found.content.files).map(([rfilename, { bytes, large = false }]) => ({
    rfilename,
    size: bytes.length,
    blobId: gitId(large ? Buffer.from(pointerOf(bytes)) : bytes),
    ...(large ? { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: pointerOf(bytes).length } } : {}),
  }));
  const description = {
    _id: '0',
    id: repository,
    modelId: repository,
    sha: found.commit,
    private: false,
    gated: found.content.gated === true ? 'manual' : false,
    tags: ['onnx'],
    pipeline_tag: 'text-generation',
    siblings,
  };
  answer(200, { 'content-type': 'application/json; charset=utf-8' }, JSON.stringify(description));
}

/** /org/name/resolve/REV/PATH and, for the text in Git, /org/name/raw/REV/PATH. */
function resolve(state: State, path: string, headers: Headers, answer: Handled): void {
  const [, repository = '', way, revision = '', file = ''] =
    /^\/([^/]+\/[^/]+)\/(resolve|raw)\/([^/]+)\/(.+)$/.exec(path) ?? [];
  const found = contentOf(state, repository, revision);
  if (found === undefined) return refusal(answer, 404, 'RevisionNotFound', `Invalid rev id: ${revision}`);
  if (found.content.gated === true && headers.authorization !== `Bearer ${state.token}`) {
    const status = headers.authorization === undefined ? 401 : 403;
    return refusal(answer, status, 'GatedRepo', `Access to model ${repository} is restricted.`);
  }
  const entry = found.content.files[file];
  const commit = { 'x-repo-commit': found.commit };
  if (entry === undefined) return refusal(answer, 404, 'EntryNotFound', 'Entry not found');
  const { bytes, large = false } = entry;
  if (way === 'raw') return answer(200, commit, large ? pointerOf(bytes) : bytes);
  const etag = `"${large ? sha256(bytes) : gitId(bytes)}"`;
  const linked = { ...commit, 'x-linked-etag': etag, 'x-linked-size': String(bytes.length) };
  const query = `${encodeURIComponent(path)}=&etag=${encodeURIComponent(etag)}`;
  const location = large
    ? `${state.storeUrl}/repos/${sha256(bytes)}?X-Amz-Signature=abc&response-content-disposition=inline`
    : `/api/resolve-cache/models/${repository}/${found.commit}/${encodeURIComponent(file)}?${query}`;
  answer(large ? 302 : 307, { ...linked, location }, `Found. Redirecting to ${location}`);
}

function fromCache(state: State, path: string, headers: Headers, answer: Handled): void {
  const [, repository = '', commit = '', file = ''] =
    /^\/api\/resolve-cache\/models\/([^/]+\/[^/]+)\/([^/]+)\/(.+)$/.exec(path) ?? [];
  const bytes = contentOf(state, repository, commit)?.content.files[file]?.bytes;
  if (bytes === undefined) return refusal(answer, 404, 'EntryNotFound', 'Entry not found');
  part(bytes, `"${gitId(bytes)}"`, headers, answer);
}

/** A content network refuses what carries somebody else's credentials. */
function fromStore(state: State, path: string, headers: Headers, answer: Handled): void {
  if (headers.authorization !== undefined) return answer(400, {}, 'Only one auth mechanism allowed');
  const wanted = path.replace('/repos/', '');
  for (const { files } of state.commits.values()) {
    for (const { bytes, large = false } of Object.values(files)) {
      if (large && sha256(bytes) === wanted) return part(bytes, `"${wanted.slice(0, 32)}-2"`, headers, answer);
    }
  }
  answer(404);
}

/** RFC 9110, 14: a range as long as the file is the same one. */
function part(bytes: Uint8Array, etag: string, headers: Headers, answer: Handled): void {
  const common = { etag, 'accept-ranges': 'bytes' };
  const [, text] = /^bytes=(\d+)-$/.exec(headers.range ?? '') ?? [];
  const condition = headers['if-range'];
  if (text === undefined || (condition !== undefined && condition !== etag)) return answer(200, common, bytes);
  const from = Number(text);
  if (from >= bytes.length) return answer(416, { ...common, 'content-range': `bytes */${bytes.length}` });
  const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  answer(206, { ...common, ...range }, bytes.subarray(from));
}

function contentOf(
  state: State,
  repository: string,
  revision: string,
): { readonly commit: string; readonly content: MirrorRepository } | undefined {
  const commit = state.branches.get(`${repository}@${revision}`) ?? revision;
  const content = state.commits.get(`${repository}@${commit}`);
  return content === undefined ? undefined : { commit, content };
}
