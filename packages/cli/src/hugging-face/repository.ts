/**
 * A model's repository on Hugging Face: which commit a revision is, which files there are, how long they are and what
 * they hash to. From then on everything is asked for by that commit, so a push in between changes nothing.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { z } from 'zod';
import { patiently, retryAfterMs, type Patience } from './retry.ts';
import type { Answer, Web } from './web.ts';

/** The description of a repository of 10,000 files has about 4 MB. */
const DESCRIPTION_BYTES_MAX = 33_554_432;
const SIBLINGS_MAX = 100_000;

export interface Reference {
  /** `org/name`. */
  readonly repository: string;
  readonly revision: string;
}

export interface RemoteFile {
  readonly path: string;
  readonly bytes: number;
  /** Hexadecimal: SHA-256 of the bytes, or for a small file its id in Git (SHA-1 over a head and the bytes). */
  readonly hash: string;
  readonly hashKind: 'sha256' | 'git';
}

export interface Repository extends Reference {
  readonly commit: string;
  readonly files: readonly RemoteFile[];
  /** Whether its makers ask for consent to their terms first. */
  readonly gated: boolean;
  /** For people. */
  readonly page: string;
}

const REFERENCE = /^hf:([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:@([\w][\w./-]{0,255}))?$/;

export const isReference = (text: string): boolean => text.startsWith('hf:');

/** `hf:org/name[@revision]`. Throws `usage`. */
export function parseReference(text: string): Reference {
  const [, repository, revision = 'main'] = REFERENCE.exec(text) ?? [];
  if (repository === undefined || repository.includes('..') || revision.includes('..')) {
    throw new IdlewildError(
      'usage',
      `"${text.slice(0, 128)}" names no model; write it like hf:org/name or hf:org/name@v1.0`,
    );
  }
  return { repository, revision };
}

const hex = (length: number): z.ZodString => z.string().regex(new RegExp(`^[0-9a-f]{${length}}$`));
const descriptionSchema = z.object({
  sha: hex(40),
  gated: z.union([z.boolean(), z.string().max(32)]).optional(),
  siblings: z
    .array(
      z.object({
        rfilename: z.string().max(4_096),
        size: z.int().min(0).optional(),
        blobId: hex(40).optional(),
        lfs: z.object({ sha256: hex(64), size: z.int().min(0) }).nullish(),
      }),
    )
    .max(SIBLINGS_MAX),
});

/** Throws `not_found`, `forbidden`, `too_busy`, `source_unreachable` or `cancelled`. */
export async function readRepository(reference: Reference, web: Web, patience: Patience): Promise<Repository> {
  const { repository, revision } = reference;
  const path = `/api/models/${repository}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const text = await patiently(async () => {
    const answer = await web.get(path, { signal: patience.signal, headers: { accept: 'application/json' } });
    if (answer.status !== 200) throw await refusalOf(answer, { web, reference, clock: patience.clock });
    return readText(answer, DESCRIPTION_BYTES_MAX);
  }, patience);
  const page = `${web.settings.endpoint}/${repository}`;
  const { sha, gated = false, siblings } = parseDescription(text, web.settings.endpoint);
  const files = siblings.flatMap(({ rfilename, size, blobId, lfs }): RemoteFile[] => {
    if (lfs) return [{ path: rfilename, bytes: lfs.size, hash: lfs.sha256, hashKind: 'sha256' }];
    // Without a length and a hash nothing could be verified, so such a file is none.
    if (size === undefined || blobId === undefined) return [];
    return [{ path: rfilename, bytes: size, hash: blobId, hashKind: 'git' }];
  });
  if (files.length === 0 && siblings.length > 0) {
    const message = `${web.settings.endpoint} states neither length nor hash of any file of ${repository}`;
    throw new IdlewildError('source_unreachable', `${message}; what it sends could not be verified`);
  }
  return { ...reference, commit: sha, files, gated: gated !== false, page };
}

/** Whether there is such a repository that we may see. Asked once, for a hint: no answer counts as no. */
export async function isThere(repository: string, web: Web, signal: AbortSignal): Promise<boolean> {
  try {
    const answer = await web.get(`/api/models/${repository}`, { signal });
    answer.drop();
    return answer.status === 200;
  } catch (error) {
    if (signal.aborted) throw error;
    return false;
  }
}

function parseDescription(text: string, endpoint: string): z.infer<typeof descriptionSchema> {
  const wrong = (why: string, cause?: unknown): IdlewildError =>
    new IdlewildError('source_unreachable', `${endpoint} does not answer as Hugging Face does: ${why}`, { cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw wrong('its description of the repository is not JSON', cause);
  }
  const parsed = descriptionSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw wrong(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

async function readText(answer: Answer, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body) {
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw new IdlewildError('not_found', `the description of the repository is over ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

interface Asked {
  readonly web: Web;
  readonly reference: Reference;
  readonly clock: Clock;
  /** When a file was asked for. */
  readonly path?: string;
}

/** What an answer other than the wanted one means, in a sentence. Reads nothing of its body. */
export async function refusalOf(answer: Answer, asked: Asked): Promise<IdlewildError> {
  answer.drop();
  const { web, reference, clock, path } = asked;
  const { repository, revision } = reference;
  const { endpoint, token } = web.settings;
  const [host, page] = [new URL(endpoint).host, `${endpoint}/${repository}`];
  const { status, headers } = answer;
  const code = headers['x-error-code'] ?? '';
  if (code === 'GatedRepo') {
    const how = token === undefined ? 'and set HF_TOKEN to a token of that account' : 'with the account of this token';
    return new IdlewildError('forbidden', `${repository} is gated: accept its licence at ${page} ${how}`);
  }
  if (code === 'RevisionNotFound')
    return new IdlewildError('not_found', `${repository} on ${host} has no revision "${revision}"`);
  if (code === 'RepoNotFound' || (status === 404 && path === undefined)) {
    const hidden = token === undefined ? '; if it is private, set HF_TOKEN' : ', or this token may not see it';
    return new IdlewildError('not_found', `there is no repository ${repository} on ${host}${hidden}`);
  }
  if (status === 404)
    return new IdlewildError('not_found', `${repository} on ${host} has no file ${path ?? ''} any more`);
  const said = headers['x-error-message'] === undefined ? '' : `: ${headers['x-error-message'].slice(0, 300)}`;
  if (status === 401 || status === 403) {
    const way = token === undefined ? 'set HF_TOKEN to a token that may read it' : 'the token may not read it';
    return new IdlewildError('forbidden', `${host} does not show ${repository} (${status}${said}); ${way}`);
  }
  const retryAfter = retryAfterMs(headers, clock.now());
  const details = retryAfter === undefined ? {} : { retryAfterMs: retryAfter };
  if (status === 429) return new IdlewildError('too_busy', `${host} limits how often it is asked${said}`, { details });
  const passing = status >= 500 || status === 408;
  return new IdlewildError(
    passing ? 'source_unreachable' : 'forbidden',
    `${host} answered ${status} to a question about ${path ?? repository}${said}`,
    { details },
  );
}
