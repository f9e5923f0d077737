/** Vectors and labels of texts: one call, one answer, in the order of the texts. */
import type { CallOptions, HubConnection } from './http.ts';
import type { Classification, Classifications, Embeddings, EmbeddingsRequest, TextsRequest } from './shapes/answers.ts';

interface Listed<Item> {
  readonly data: readonly (Item & { readonly index: number })[];
}

/** Throws what the hub refuses with; `hub_unreachable`; `cancelled`. */
export async function embed(
  connection: HubConnection,
  request: EmbeddingsRequest,
  options?: CallOptions,
): Promise<Embeddings> {
  const { data, usage, idlewild } = await connection.json<
    Listed<{ readonly embedding: readonly number[] }> & Pick<Embeddings, 'usage' | 'idlewild'>
  >('POST', '/v1/embeddings', request, options);
  return { vectors: inOrder(data).map(({ embedding }) => embedding), usage, idlewild };
}

/** Throws as `embed` does. */
export async function classify(
  connection: HubConnection,
  request: TextsRequest,
  options?: CallOptions,
): Promise<Classifications> {
  const { data, usage, idlewild } = await connection.json<
    Listed<Classification> & Pick<Classifications, 'usage' | 'idlewild'>
  >('POST', '/v1/classify', request, options);
  return { labels: inOrder(data).map(({ label, probs }) => ({ label, probs })), usage, idlewild };
}

const inOrder = <Item extends { readonly index: number }>(data: readonly Item[]): Item[] =>
  data.toSorted((left, right) => left.index - right.index);
