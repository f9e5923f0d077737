/**
 * What a stranger may know of this hub: what it speaks, whose it is and where its doors are. It is the same for all who
 * ask and tells nothing of what goes on here.
 */
import { VERSIONS, WELL_KNOWN_PATH, wellKnownKey, wellKnownSchema, type WellKnown } from '@idlewild/protocol';
import { DEVICE_PATH } from '../door/device-socket.ts';
import { typed, type App } from '../server.ts';

export interface WellKnownDeps {
  readonly hub: string;
  readonly version: string;
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  /** SHA-256 of the SubjectPublicKeyInfo; absent where this hub does not speak TLS itself. */
  readonly pin: () => Uint8Array | undefined;
  /** What stands before its paths, where the hub holds several territories. */
  readonly base: () => string;
}

/** It changes with an upgrade or another certificate; nobody needs to know that sooner. */
const CACHE_CONTROL = 'public, max-age=300';

export const wellKnownRoutes =
  ({ hub, version, territory, pin, base }: WellKnownDeps) =>
  (app: App): void => {
    typed(app).route({
      method: 'GET',
      url: WELL_KNOWN_PATH,
      config: { action: 'public' },
      schema: {
        summary: 'What this hub is: versions, territory, endpoints',
        tags: ['hub'],
        response: { 200: wellKnownSchema },
      },
      handler: async (_request, reply): Promise<WellKnown> => {
        const [spki, at] = [pin(), base()];
        // No page of another origin may read it: a web site is not to find out whose hub runs on its visitor's machine.
        reply.header('cache-control', CACHE_CONTROL);
        return {
          v: 1,
          hub: { id: hub, version },
          protocols: [...VERSIONS],
          territory: { id: territory.id, name: territory.name, key: wellKnownKey(territory.publicKey) },
          endpoints: {
            openai: `${at}/v1`,
            api: `${at}/api`,
            openapi: `${at}/api/openapi.json`,
            device: at + DEVICE_PATH,
            blobs: `${at}/blobs`,
            health: `${at}/healthz`,
          },
          tls: spki === undefined ? null : { spki: wellKnownKey(spki) },
        };
      },
    });
  };
