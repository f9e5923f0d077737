// `npm run docs:rbac`: writes docs/rbac.md anew after a change of routes, actions, roles or policies.

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openWholeDoor, rbacDocument, rbacOf } from './rbac.ts';

const door = await openWholeDoor();
const path = fileURLToPath(new URL('../../../../../docs/rbac.md', import.meta.url));
writeFileSync(path, rbacDocument(await rbacOf(door.routes)));
await door.close();
process.stdout.write(`wrote ${path}\n`);
