/** Claims about what `up` is told of replicas. */
import { expect, test } from 'vitest';
import { replicaOptionsOf } from './up-replica.ts';

const PIN = 'w8ZJ'.padEnd(43, 'A');

test('a public address is one, without a slash at its end', () => {
  expect(replicaOptionsOf({ port: 1, publicUrl: 'https://hub.example/' }).publicUrl).toBe('https://hub.example');
  expect(() => replicaOptionsOf({ port: 1, publicUrl: 'https://hub.example/below' })).toThrow(/without a path/);
});

test('who gives it a pin is told where the pin belongs', () => {
  const publicUrl = `https://hub.example#pin=${PIN}`;
  expect(() => replicaOptionsOf({ port: 1, publicUrl })).toThrow(
    `write https://hub.example; who does not trust the certificate there writes the pin: idlewild join ${publicUrl}`,
  );
});
