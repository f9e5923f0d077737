/**
 * Bytes in and out, block by block: what enters is verified against its CID before it is kept, so a broken upload is
 * resumed by asking which leaves are missing, and a device fetches exactly the leaves it lacks. Whether they come from
 * the store or from another device is decided in `relay/`, and what a territory may have of them in
 * `storage/held-blobs.ts`.
 */
import { IdlewildError, readLayout, type FileAssembly, type FileLayout } from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import { z } from 'zod';
import { HUB_LIMITS } from '../../limits.ts';
import type { BlobDesk } from '../../relay/blob-desk.ts';
import type { HeldBlobs } from '../../storage/held-blobs.ts';
import { principal, typed, type App } from '../server.ts';

const RAW = 0x55;
const bytesBody = z.custom<Buffer>((value) => Buffer.isBuffer(value), 'the body must be application/octet-stream');

function parseCid(text: string): CID {
  try {
    return CID.parse(text);
  } catch (cause) {
    throw new IdlewildError('invalid_request', `"${text.slice(0, 80)}" is not a CID`, { cause });
  }
}

export const blobRoutes =
  ({ store, blobs }: { readonly store: HeldBlobs; readonly blobs: BlobDesk }) =>
  (app: App): void => {
    /** Uploads under way here, oldest first; the store knows of them, so one that is not here is opened again. */
    const uploads = new Map<string, FileAssembly>();
    const remember = (root: string, upload: FileAssembly): void => {
      uploads.delete(root);
      uploads.set(root, upload);
      const [oldest] = uploads.keys();
      if (uploads.size > HUB_LIMITS.uploadsMax && oldest !== undefined) uploads.delete(oldest);
    };

    async function layoutOf(root: CID, bytes: number | undefined): Promise<FileLayout> {
      if (root.code !== RAW) {
        return readLayout(root, async (cid) => {
          const block = await store.get(cid);
          if (block !== undefined) return block;
          throw new IdlewildError(
            'blob_not_found',
            `the node ${cid.toString()} of ${root.toString()} is not here yet; PUT it to /api/blobs first`,
          );
        });
      }
      if (bytes === undefined)
        throw new IdlewildError(
          'invalid_request',
          `the size of the single leaf ${root.toString()} must be given as "bytes"`,
        );
      return { root, bytes, leaves: [{ cid: root, bytes }] };
    }
    /** It may have begun at another replica, or before this one was started. `leafBytes`: of the leaf that came. */
    async function uploadOf(text: string, leafBytes = 0): Promise<FileAssembly> {
      const known = uploads.get(text);
      if (known !== undefined) return known;
      const root = parseCid(text);
      const bytes = await store.takenBy(root);
      // An empty file takes nothing, whether it has begun or not.
      if (bytes === 0 && (root.code !== RAW || leafBytes > 0))
        throw new IdlewildError('not_found', `no upload of ${text} is under way; POST /api/files with its root first`);
      const upload = await store.assemble(await layoutOf(root, bytes));
      remember(text, upload);
      return upload;
    }

    typed(app).route({
      method: 'GET',
      url: '/blobs/:cid',
      config: { action: 'fetchBlob' },
      schema: { params: z.object({ cid: z.string() }), summary: 'One block by its CID', tags: ['bytes'] },
      handler: async (request, reply) => {
        const asker = principal(request);
        const cid = parseCid(request.params.cid);
        const served = await blobs.fetch(cid, asker.kind === 'device' ? asker.deviceId : undefined);
        // What was brought here and is no model's yet is of no use to a device.
        const bytes = served?.bytes ?? (asker.kind === 'device' ? undefined : await store.get(cid));
        if (bytes === undefined)
          throw new IdlewildError('blob_not_found', `this hub does not hold ${request.params.cid}`);
        reply.raw.once('close', () => served?.ended(reply.raw.writableFinished));
        return reply
          .header('content-type', 'application/octet-stream')
          .header('cache-control', 'private, max-age=31536000, immutable')
          .send(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      },
    });
    typed(app).route({
      method: 'PUT',
      url: '/api/blobs/:cid',
      config: { action: 'uploadBlob' },
      bodyLimit: HUB_LIMITS.blobBodyBytesMax,
      schema: { params: z.object({ cid: z.string() }), body: bytesBody, hide: true },
      handler: async (request, reply) => {
        await store.put(parseCid(request.params.cid), new Uint8Array(request.body));
        return reply.status(204).send();
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/api/files',
      config: { action: 'uploadBlob' },
      schema: {
        body: z.strictObject({ root: z.string(), bytes: z.int().min(0).optional() }),
        summary: 'Begins or resumes a file',
        tags: ['bytes'],
      },
      handler: async (request) => {
        const root = parseCid(request.body.root);
        if (await store.hasFile(root)) return { missing: [] };
        const upload = await store.assemble(await layoutOf(root, request.body.bytes));
        remember(root.toString(), upload);
        return { missing: upload.missing() };
      },
    });
    typed(app).route({
      method: 'PUT',
      url: '/api/files/:root/leaves/:index',
      config: { action: 'uploadBlob' },
      bodyLimit: HUB_LIMITS.blobBodyBytesMax,
      schema: {
        params: z.object({ root: z.string(), index: z.coerce.number().int().min(0) }),
        body: bytesBody,
        hide: true,
      },
      handler: async (request, reply) => {
        const leaf = new Uint8Array(request.body);
        const upload = await uploadOf(request.params.root, leaf.length);
        await upload.write(request.params.index, leaf);
        return reply.status(204).send();
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/api/files/:root/finish',
      config: { action: 'uploadBlob' },
      schema: { params: z.object({ root: z.string() }), summary: 'Makes a complete file durable', tags: ['bytes'] },
      handler: async (request, reply) => {
        if (!(await store.hasFile(parseCid(request.params.root)))) {
          const upload = await uploadOf(request.params.root);
          await upload.finish();
        }
        uploads.delete(request.params.root);
        return reply.status(204).send();
      },
    });
  };
