// `npm run docs:rbac`: writes docs/rbac.md anew after a change of routes, actions, roles or policies.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { openWholeDoor, rbacDocument, rbacOf } from '@idlewild/hub/testing';

const door = await openWholeDoor();
const path = join(import.meta.dirname, '..', 'docs', 'rbac.md');
writeFileSync(path, rbacDocument(await rbacOf(door.routes)));
await door.close();
console.log(`wrote ${path}`);
