/**
 * Writes docs/errors.md from the table in packages/protocol/src/errors.ts, so that the document cannot drift: a test
 * compares the two. Pure; scripts/docs-errors.ts puts the text where it belongs.
 */

interface ErrorEntry {
  readonly status: number;
  readonly retryable: boolean;
  readonly meaning: string;
}

export const errorsDocument = (errors: Readonly<Record<string, ErrorEntry>>): string => {
  const rows = Object.entries(errors).map(([code, { status, retryable, meaning }]) => {
    return `| \`${code}\` | ${status} | ${retryable ? 'yes' : 'no'} | ${meaning} |`;
  });
  return [
    '# Errors',
    '',
    'Every failure carries one of these codes, over HTTP as `error.code` in the body and in the frames between hub and',
    'device. Test the code, never the message: messages say what happened to which thing, and change. A code keeps its',
    'meaning and its status for ever.',
    '',
    '*Retry* says whether the same request, unchanged, may succeed later.',
    '',
    '| Code | Status | Retry | Meaning |',
    '|---|---|---|---|',
    ...rows,
    '',
    'This page is generated from `packages/protocol/src/errors.ts` by `npm run docs:errors`.',
    '',
  ].join('\n');
};
