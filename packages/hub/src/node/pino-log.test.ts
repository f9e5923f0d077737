import { expect, test } from 'vitest';
import { createPinoLog } from './pino-log.ts';

const HOSTILE = 'x\n{"level":50,"msg":"forged"}\r\u001b[2J\u0007\u007f\u0085\u009b31m\u2028\u2029\u202e\u2066y';

test('a line of the log is one line, whatever stands in its fields, their names and its sentence', () => {
  const lines: string[] = [];
  const log = createPinoLog({ level: 'debug', destination: { write: (line) => void lines.push(line) } });
  log.warn({ name: HOSTILE, inner: { why: [HOSTILE] }, [HOSTILE]: 1 }, `no device ${HOSTILE}`);
  log.error({ err: new Error(HOSTILE) }, 'failed');
  expect(lines).toHaveLength(2);
  for (const line of lines) {
    // oxlint-disable-next-line no-control-regex
    expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/);
    expect(line.endsWith('\n')).toBe(true);
  }
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ name: HOSTILE, inner: { why: [HOSTILE] }, level: 40 });
});

test('what is named like a secret is left out', () => {
  const lines: string[] = [];
  const log = createPinoLog({ level: 'debug', destination: { write: (line) => void lines.push(line) } });
  log.info({ key: 'iw_1', authorization: 'iw_2', token: 'iw_3', secret: 'iw_4', id: 'key_5' }, 'seen');
  expect(lines.join('')).toContain('key_5');
  expect(lines.join('')).not.toContain('iw_');
});
