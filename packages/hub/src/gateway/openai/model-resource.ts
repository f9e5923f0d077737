/** A model as /v1/models tells of it: OpenAI's fields, and what people must know before they use it. */
import type { Model } from '../../models/registry.ts';
import { stateOf, type ConnectedDevice } from '../../session/connected-device.ts';

export function modelResource(
  { name, cid, manifest, bytes, addedAtMs }: Model,
  territory: { readonly id: string; readonly name: string },
  devices: readonly ConnectedDevice[],
): object {
  const isReady = (device: ConnectedDevice): boolean =>
    device.territory === territory.id &&
    ['ready', 'busy'].includes(stateOf(device)) &&
    device.status.models.some((held) => held.cid === cid && held.state === 'warm');
  return {
    id: name,
    object: 'model',
    created: Math.floor(addedAtMs / 1000),
    owned_by: territory.name,
    kind: manifest.kind,
    context_window: manifest.contextTokens,
    ...(manifest.dimensions === undefined ? {} : { dimensions: manifest.dimensions }),
    ...(manifest.labels === undefined ? {} : { labels: manifest.labels }),
    bytes,
    licence: manifest.card.licence ?? null,
    card: manifest.card,
    /** Connected devices that would answer now. */
    devices_ready: devices.filter(isReady).length,
  };
}
