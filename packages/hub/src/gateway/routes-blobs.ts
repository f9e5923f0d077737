/**
 * Bytes in and out, block by block: what enters is verified against its CID before it is kept, so a broken upload is
 * resumed by asking which leaves are missing, and a device fetches exactly the leaves it lacks. Whether they come from
 * the store or from another device is decided in `relay/`.
 */
import { IdlewildError, readLayout, type BlobStore, type FileAssembly, type FileLayout } from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import { z } from 'zod';
import { HUB_LIMITS } from '../limits.ts';
import type { BlobDesk } from '../relay/blob-desk.ts';
import { principal, typed, type App } from './server.ts';

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
  ({ store, blobs }: { readonly store: BlobStore; readonly blobs: BlobDesk }) =>
  (app: App): void => {
    /** Uploads under way; dropped when finished, and rebuilt from the store if the hub restarts. */
    const uploads = new Map<string, FileAssembly>();

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
    const uploadOf = (root: string): FileAssembly => {
      const upload = uploads.get(root);
      if (upload !== undefined) return upload;
      throw new IdlewildError('not_found', `no upload of ${root} is under way; POST /api/files with its root first`);
    };

    typed(app).route({
      method: 'GET',
      url: '/blobs/:cid',
      config: { action: 'fetchBlob' },
      schema: { params: z.object({ cid: z.string() }), summary: 'One block by its CID', tags: ['bytes'] },
      handler: async (request, reply) => {
        const asker = principal(request);
        const served = await blobs.fetch(
          parseCid(request.params.cid),
          asker.kind === 'device' ? asker.deviceId : undefined,
        );
        if (served === undefined)
          throw new IdlewildError('blob_not_found', `this hub does not hold ${request.params.cid}`);
        const { bytes } = served;
        reply.raw.once('close', () => served.ended(reply.raw.writableFinished));
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
        uploads.set(root.toString(), upload);
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
        await uploadOf(request.params.root).write(request.params.index, new Uint8Array(request.body));
        return reply.status(204).send();
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/api/files/:root/finish',
      config: { action: 'uploadBlob' },
      schema: { params: z.object({ root: z.string() }), summary: 'Makes a complete file durable', tags: ['bytes'] },
      handler: async (request, reply) => {
        if (!(await store.hasFile(parseCid(request.params.root)))) await uploadOf(request.params.root).finish();
        uploads.delete(request.params.root);
        return reply.status(204).send();
      },
    });
  };
