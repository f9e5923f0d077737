/**
 * `GraphSession` over onnxruntime-node.
 *
 * The graph comes as bytes, its weights from files in one folder, which the runtime maps itself. Threads do not spin: a
 * device is lent, and a spinning thread takes a core from its owner while it waits.
 */
import { IdlewildError } from '@idlewild/protocol';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { GraphSession, GraphTensor } from '../core/session.ts';

export type Provider = 'cpu' | 'webgpu';

export interface OrtOptions {
  readonly threads: number;
  readonly provider?: Provider;
  /** Where the side files of the graph lie. */
  readonly sideFolder?: string;
}

/** Throws `model_unsupported` when the runtime does not take the graph. */
export async function openOrtSession(graph: Uint8Array, options: OrtOptions): Promise<GraphSession> {
  const session = await create(graph, options);
  return {
    tensor: (type, data, dims) => new Tensor(type, data as never, dims) as unknown as GraphTensor,
    async run(feeds, wanted) {
      try {
        // The binding waits for a turn of the event loop before it computes, which is what the port asks for.
        return (await session.run(feeds as unknown as Record<string, Tensor>, wanted)) as unknown as Record<
          string,
          GraphTensor
        >;
      } catch (cause) {
        throw new IdlewildError('engine_failed', `the runtime failed: ${(cause as Error).message}`.slice(0, 1_000), {
          cause,
        });
      }
    },
    close: () => session.release(),
  };
}

async function create(
  graph: Uint8Array,
  { threads, provider = 'cpu', sideFolder }: OrtOptions,
): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(graph, {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      extra: {
        session: {
          intra_op: { allow_spinning: '0' },
          inter_op: { allow_spinning: '0' },
          ...(sideFolder === undefined ? {} : { model_external_initializers_file_folder_path: sideFolder }),
        },
      },
    });
  } catch (cause) {
    throw new IdlewildError(
      'model_unsupported',
      `the runtime does not take this graph: ${(cause as Error).message}`.slice(0, 1_000),
      { cause },
    );
  }
}
