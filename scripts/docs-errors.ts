// `npm run docs:errors`: writes docs/errors.md anew after a change of the table of errors.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ERRORS } from '@idlewild/protocol';

import { errorsDocument } from './errors-document.ts';

const path = join(import.meta.dirname, '..', 'docs', 'errors.md');
writeFileSync(path, errorsDocument(ERRORS));
console.log(`wrote ${path}`);
