/** Wire values as JSON that people can read: bytes as `{"/hex": "…"}`, CIDs as `{"/": "…"}` as in DAG-JSON. */
import { CID } from 'multiformats/cid';
import { fromHex, hex } from '../bytes.ts';

export function toFixture(value: unknown): unknown {
  if (value instanceof Uint8Array) return { '/hex': hex(value) };
  if (CID.asCID(value) !== null) return { '/': String(value) };
  if (Array.isArray(value)) return value.map(toFixture);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toFixture(inner)]));
}

export function fromFixture(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromFixture);
  if (typeof value !== 'object' || value === null) return value;
  const { '/hex': bytes, '/': cid } = value as { '/hex'?: string; '/'?: string };
  if (bytes !== undefined) return fromHex(bytes);
  if (cid !== undefined) return CID.parse(cid);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, fromFixture(inner)]));
}
