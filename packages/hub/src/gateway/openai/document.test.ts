/** Holds docs/openai.md to the schemas, and both to the types of the official client. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { chatMessageSchemas, chatRequestSchema } from './chat-request.ts';
import { completionRequestSchema } from './completion-request.ts';
import { classifyRequestSchema, embeddingsRequestSchema } from './embeddings-request.ts';
import { responseItemSchemas, responseRequestSchema } from './response-request.ts';

type Shape = Readonly<Record<string, z.ZodType>>;
type Status = 'supported' | 'ignored' | 'refused' | 'ours';

const root = join(import.meta.dirname, '../../../../..');
const document = readFileSync(join(root, 'docs/openai.md'), 'utf8');

/** Field → status, in the first table under a heading. */
function rowsUnder(heading: string): Map<string, Status> {
  const from = document.indexOf(`\n${heading}\n`);
  expect(from, heading).toBeGreaterThan(0);
  const section = document.slice(from + heading.length + 2).split(/\n##+ /)[0] ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| (\w+) \|/gm)];
  expect(new Set(rows.map(([, field]) => field)).size).toBe(rows.length);
  return new Map(rows.map(([, field = '', status]) => [field, status as Status]));
}

function statusOf(schema: z.ZodType): Status {
  if (schema.description?.startsWith('Refused: ') === true) return 'refused';
  return schema.description?.startsWith('Ignored: ') === true ? 'ignored' : 'supported';
}
const ours = (status: Status | undefined): Status | undefined => (status === 'ours' ? 'supported' : status);
const statuses = (shape: Shape): Record<string, Status> =>
  Object.fromEntries(Object.entries(shape).map(([field, schema]) => [field, statusOf(schema)]));

/** The fields of an interface in the official client's declarations. */
function officialFields(file: string, name: string): string[] {
  const text = readFileSync(join(root, 'node_modules/openai/resources', file), 'utf8');
  const from = text.indexOf(`export interface ${name} {`);
  expect(from, name).toBeGreaterThan(0);
  const body = text.slice(from, text.indexOf('\n}', from));
  return [...body.matchAll(/^ {4}(\w+)\??:/gm)].map(([, field = '']) => field);
}

test.each<[string, Shape, string, string]>([
  [
    'POST /v1/chat/completions',
    chatRequestSchema.shape,
    'chat/completions/completions.d.ts',
    'ChatCompletionCreateParamsBase',
  ],
  ['POST /v1/completions', completionRequestSchema.shape, 'completions.d.ts', 'CompletionCreateParamsBase'],
  ['POST /v1/responses', responseRequestSchema.shape, 'responses/responses.d.ts', 'ResponseCreateParamsBase'],
])(
  'the table of %s is what its schema says, and has every field of the official client',
  (title, shape, file, name) => {
    const rows = rowsUnder(`## ${title}`);
    const told = Object.fromEntries([...rows].map(([field, status]) => [field, ours(status)]));
    expect(told).toEqual(statuses(shape));
    const official = officialFields(file, name);
    expect(official.length).toBeGreaterThan(15);
    const theirs = [...rows].filter(([, status]) => status !== 'ours');
    expect(theirs.map(([field]) => field).sort()).toEqual(official.sort());
  },
);

test.each<[string, Shape]>([
  ['POST /v1/embeddings', embeddingsRequestSchema.shape],
  ['POST /v1/classify', classifyRequestSchema.shape],
])('the table of %s is what its schema says', (title, shape) => {
  expect(Object.fromEntries(rowsUnder(`## ${title}`))).toEqual(statuses(shape));
});

test('the table of embeddings has every field of the official client', () => {
  const official = officialFields('embeddings.d.ts', 'EmbeddingCreateParams');
  expect([...rowsUnder('## POST /v1/embeddings').keys()].sort()).toEqual(official.sort());
});

test.each<[string, readonly { readonly shape: Shape }[]]>([
  ['### `messages[]`', Object.values(chatMessageSchemas)],
  ['### `input[]`', Object.values(responseItemSchemas)],
])('the table of %s is what its schemas say', (heading, schemas) => {
  const shape = Object.assign({}, ...schemas.map((schema) => schema.shape)) as Shape;
  expect(Object.fromEntries(rowsUnder(heading))).toEqual(statuses(shape));
});
