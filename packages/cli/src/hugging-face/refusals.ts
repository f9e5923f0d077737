/**
 * What can be told of a model before its weights are fetched: that it is of a kind that nobody here runs, and where
 * else to look for one that is not in ONNX.
 */
import { IdlewildError } from '@idlewild/protocol';
import { isThere, type Repository } from './repository.ts';
import type { Web } from './web.ts';

/** Who exports other people's models to ONNX, under the same name or one that says so. */
const EXPORTER = 'onnx-community';

/** Ends of architecture names, for what works on more than one text or on no text at all. */
const OTHER_KINDS: readonly (readonly [RegExp, string])[] = [
  [/ForConditionalGeneration$|ForSpeechSeq2Seq$|MTModel$/, 'an encoder and a decoder together'],
  [/ForImage\w+$|ForObjectDetection$|ForDepthEstimation$|ForVision\w+$|ForMaskGeneration$/, 'images'],
  [/ForCTC$|ForAudio\w+$|ForTextToSpeech$|ForTextToWaveform$/, 'sound'],
];

/** Throws `model_unsupported`, naming what config.json says. Silent where it says nothing that decides. */
export function refuseKind(config: Readonly<Record<string, unknown>>, where: string): void {
  const refuse = (says: string, what: string): never => {
    throw new IdlewildError(
      'model_unsupported',
      `${where} is not a model that devices run: config.json says ${says}, ${what}; ` +
        'decoders that continue a text, and encoders of a text, are run',
    );
  };
  const architectures = Array.isArray(config.architectures) ? config.architectures : [];
  for (const name of architectures) {
    if (typeof name !== 'string') continue;
    const kind = OTHER_KINDS.find(([pattern]) => pattern.test(name));
    if (kind !== undefined) refuse(`"${name}"`, `which is for ${kind[1]}`);
  }
  if (config.is_encoder_decoder === true) refuse('"is_encoder_decoder": true', 'an encoder and a decoder together');
  for (const part of ['vision_config', 'audio_config']) {
    if (typeof config[part] === 'object' && config[part] !== null) refuse(`"${part}"`, 'more than text');
  }
}

/** A sentence to end a refusal with, for a repository without a graph that is read; '' where nothing is to be said. */
export async function suggestion({ repository, files }: Repository, web: Web, signal: AbortSignal): Promise<string> {
  const graphs = files.filter(({ path }) => path.endsWith('.onnx')).map(({ path }) => path);
  if (graphs.some((path) => /(^|\/)decoder_model_merged\w*\.onnx$/.test(path)))
    return `; its ${graphs.find((path) => path.includes('merged')) ?? ''} is of an older layout that is not read`;
  const [owner = '', name = ''] = repository.split('/');
  if (owner !== EXPORTER) {
    for (const candidate of [`${EXPORTER}/${name}`, `${EXPORTER}/${name}-ONNX`]) {
      if (await isThere(candidate, web, signal)) return `; or try hf:${candidate}`;
    }
  }
  return graphs.length === 0 ? '' : `; what it has is ${graphs.slice(0, 5).join(', ')}`;
}
