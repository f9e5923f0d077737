import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startUserManager, whyNoUserManager } from '../../../../test/processes/user-manager.ts';
import { describeLending } from './description.ts';
import { systemdUnit } from './systemd-unit.ts';
import { HOSTILE_NAMES } from './testing/hostile.ts';

const why = whyNoUserManager();

/** Writes down what it was started with. */
const ECHO = `
  import { writeFileSync } from 'node:fs';
  const { NODE_EXTRA_CA_CERTS: ca } = process.env;
  writeFileSync('told.json', JSON.stringify({ words: process.argv.slice(1), cwd: process.cwd(), ca }));
`;

test.skipIf(why !== undefined)(
  `a real systemd starts exactly what was meant, whatever folders are called${why === undefined ? '' : `: ${why}`}`,
  async () => {
    const home = mkdtempSync(join(tmpdir(), 'idlewild-systemd-'));
    const units = join(home, '.config', 'systemd', 'user');
    mkdirSync(units, { recursive: true });
    const meant = HOSTILE_NAMES.map((name, index) => {
      const folder = join(home, name);
      mkdirSync(folder);
      // Node runs no module whose path has a backslash.
      const script = join(name.includes('\\') ? home : folder, 'echo.mjs');
      const [program, joined] = [join(folder, 'node'), join(folder, 'device.json')];
      symlinkSync(process.execPath, program);
      writeFileSync(script, ECHO);
      writeFileSync(joined, '');
      const ca = join(folder, 'ca.pem');
      const service = describeLending({ program, script, data: folder, joined, env: { NODE_EXTRA_CA_CERTS: ca } });
      const unit = `idlewild-${index}.service`;
      writeFileSync(join(units, unit), systemdUnit(service, { program, script, data: folder, linger: false }));
      return { unit, folder, told: { words: service.words, cwd: folder, ca } };
    });
    const manager = await startUserManager(home);
    try {
      for (const { unit, folder, told } of meant) {
        // A unit that has ended is waited for.
        const { code, err } = await manager.run(['systemctl', '--user', 'start', '--wait', unit]);
        expect({ folder, code, err }).toEqual({ folder, code: 0, err: '' });
        expect(JSON.parse(readFileSync(join(folder, 'told.json'), 'utf8'))).toEqual(told);
      }
    } finally {
      await manager.stop();
      rmSync(home, { recursive: true, force: true });
    }
  },
);
