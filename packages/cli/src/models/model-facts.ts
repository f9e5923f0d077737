/** What a manifest says of a model beside its files, from its graph and the texts around it: for each kind its own. */
import { describeDecoder, describeEncoder, modelKindOf, readEncoderRecipe, type Graph } from '@idlewild/graph';
import type { Manifest } from '@idlewild/protocol';
import { readContext, readJson, readVocabulary } from './model-texts.ts';

type Facts = Pick<
  Manifest,
  'kind' | 'contextTokens' | 'vocabularyTokens' | 'layers' | 'dimensions' | 'matryoshka' | 'labels'
>;

export interface ModelFacts {
  readonly facts: Facts;
  /** For people. */
  readonly summary: string;
}

/**
 * `texts`: by path. `ofGraph` puts the graph's name before what is refused of it; texts are named by themselves. Throws
 * `model_invalid` or `model_unsupported`.
 */
export function factsOf(
  graph: Graph,
  texts: ReadonlyMap<string, Uint8Array>,
  ofGraph: <Result>(act: () => Result) => Result,
): ModelFacts {
  const read = Object.fromEntries([...texts].map(([path, text]) => [path, new TextDecoder().decode(text)]));
  const config = readJson('config.json', read['config.json'] ?? '{}');
  if (modelKindOf(graph, config) === 'decoder') {
    const { layers, vocab } = ofGraph(() => describeDecoder(graph));
    const contextTokens = readContext(config);
    const facts: Facts = { kind: 'decoder', contextTokens, vocabularyTokens: vocab ?? readVocabulary(config), layers };
    return { facts, summary: `${layers} layers, ${contextTokens} tokens of context` };
  }
  const shape = ofGraph(() => describeEncoder(graph, config));
  const { tokensMax, dimensions, matryoshka, labels } = readEncoderRecipe(shape, config, read);
  const facts: Facts = {
    kind: shape.kind,
    contextTokens: tokensMax,
    vocabularyTokens: readVocabulary(config),
    layers: layersOf(config),
    ...(labels === undefined ? { dimensions } : { labels: [...labels] }),
    ...(matryoshka === undefined ? {} : { matryoshka: [...matryoshka] }),
  };
  const made =
    labels === undefined ? `an encoder, ${dimensions} numbers a vector` : `a classifier of ${labels.length} labels`;
  return { facts, summary: `${made}, ${tokensMax} tokens a text` };
}

/** Nothing depends on it but what people are told: 1 where nobody says. */
function layersOf(config: Readonly<Record<string, unknown>>): number {
  const stated = config['num_hidden_layers'] ?? config['n_layers'] ?? config['n_layer'];
  return typeof stated === 'number' && Number.isSafeInteger(stated) && stated > 0 ? stated : 1;
}
