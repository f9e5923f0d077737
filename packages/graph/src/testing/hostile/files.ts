/** Files that are graphs only in part, or carry what we do not know. */
import { LIMITS } from '../../limits.ts';
import { decodeMessage, encodeMessage } from '../../protobuf.ts';
import type { Message } from '../../schema.ts';
import { writeGraph } from '../../write.ts';
import { FILES, harmlessGraph, type Hostile } from './base.ts';

const raw = (change: (model: Message<'Model'>) => void): Uint8Array => {
  const model = decodeMessage('Model', writeGraph(harmlessGraph()));
  change(model);
  return joined(encodeMessage('Model', model).chunks);
};

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** A field of no bytes. */
const empty = (number: number): Uint8Array => {
  const tag = number * 8 + 2;
  return tag < 128 ? Uint8Array.of(tag, 0) : Uint8Array.of((tag & 127) | 128, tag >> 7, 0);
};
const graphOf = (model: Message<'Model'>): Message<'Graph'> => model.graph as Message<'Graph'>;

const strange = (name: string, tries: string, change: (model: Message<'Model'>) => void): Hostile => {
  return { name, tries, bytes: raw(change), files: FILES, code: 'model_refused', says: /which is not known/ };
};

const invalid = (name: string, tries: string, says: RegExp, bytes: Uint8Array): Hostile => {
  return { name, tries, bytes, files: FILES, code: 'model_invalid', says };
};

/** Graphs that carry what we do not know, and files that are graphs only in part. */
export const files = (): Hostile[] => [...unknown(), ...broken()];

function unknown(): Hostile[] {
  return [
    strange('model-field', 'a field of a newer ONNX', (model) => void (model.unknown = [empty(26)])),
    strange(
      'graph-field',
      'a part of a graph that we do not know',
      (model) => void (graphOf(model).unknown = [empty(30)]),
    ),
    strange('node-field', 'a function by another name (overload)', (model) => {
      const node = graphOf(model).node[0] as Message<'Node'>;
      node.unknown = [empty(8)];
    }),
    strange('tensor-field', 'a tensor in segments', (model) => {
      const tensor = graphOf(model).initializer[0] as Message<'Tensor'>;
      tensor.unknown = [empty(3)];
    }),
    strange('value-field', 'a value of more than a type', (model) => {
      const value = graphOf(model).input[0] as Message<'ValueInfo'>;
      value.unknown = [empty(9)];
    }),
    strange('two-types', 'a tensor’s type for us and a sequence’s for the runtime', (model) => {
      const type = (graphOf(model).input[0] as Message<'ValueInfo'>).type as Message<'Type'>;
      type.unknown = [empty(4)];
    }),
    strange('attribute-tensor-field', 'an attribute’s tensor in segments', (model) => {
      const node = graphOf(model).node[0] as Message<'Node'>;
      const t = { ...(graphOf(model).initializer[0] as Message<'Tensor'>), unknown: [empty(3)] };
      node.attribute = [{ name: 'value', type: 4, t, floats: [], ints: [], strings: [], tensors: [], graphs: [] }];
    }),
  ];
}

function broken(): Hostile[] {
  return [
    invalid(
      'two-graphs',
      'one graph for us and one for the runtime',
      /a second graph/,
      joined([raw(() => undefined), empty(7)]),
    ),
    invalid(
      'two-weights',
      'two tensors of one name',
      /two initialisers are called 'w'/,
      raw((model) => {
        const all = graphOf(model).initializer;
        all.push(all[0] as Message<'Tensor'>);
      }),
    ),
    invalid(
      'location-number',
      'data in a place that ONNX does not define',
      /data location 7/,
      raw((model) => {
        (graphOf(model).initializer[0] as Message<'Tensor'>).dataLocation = 7;
      }),
    ),
    invalid(
      'two-locations',
      'one file for us and one for the runtime',
      /two external data keys?/,
      raw((model) => {
        const tensor = graphOf(model).initializer[0] as Message<'Tensor'>;
        tensor.dataLocation = 1;
        tensor.externalData = [
          { key: 'location', value: 'weights.bin' },
          { key: 'location', value: '/etc/passwd' },
        ];
      }),
    ),
    invalid(
      'offset-text',
      'an offset in other numerals',
      /where a number of bytes belongs/,
      raw((model) => {
        const tensor = graphOf(model).initializer[0] as Message<'Tensor'>;
        tensor.dataLocation = 1;
        tensor.externalData = [
          { key: 'location', value: 'weights.bin' },
          { key: 'offset', value: '0x10' },
        ];
      }),
    ),
    invalid('no-graph', 'nothing at all', /holds no graph/, new Uint8Array(0)),
    invalid(
      'promise',
      'more bytes than there are',
      /bytes promised/,
      Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x7f),
    ),
    invalid(
      'flood',
      'memory, by empty messages',
      /more than \d+ elements/,
      field(7, flood(0x0a, LIMITS.elementsMax + 10)),
    ),
    invalid(
      'flood-of-names',
      'memory, by empty names',
      /names and numbers/,
      nodeWith(flood(0x0a, LIMITS.scalarsMax + 10)),
    ),
    invalid(
      'flood-of-numbers',
      'memory, by packed numbers',
      /names and numbers/,
      field(7, field(5, field(1, new Uint8Array(LIMITS.scalarsMax + 10)))),
    ),
    {
      ...invalid(
        'text-tensor',
        'a tensor of text',
        /holds text/,
        raw((model) => {
          (graphOf(model).initializer[0] as Message<'Tensor'>).dataType = 8;
        }),
      ),
      code: 'model_unsupported',
    },
  ];
}

/** Empty fields of one number below 16. */
function flood(tag: number, count: number): Uint8Array {
  const bytes = new Uint8Array(2 * count);
  for (let i = 0; i < bytes.length; i += 2) bytes[i] = tag;
  return bytes;
}

const nodeWith = (bytes: Uint8Array): Uint8Array => field(7, field(1, bytes));

/** A field of these bytes. */
function field(number: number, content: Uint8Array): Uint8Array {
  const length: number[] = [];
  for (let rest = content.length; ; rest = Math.floor(rest / 128)) {
    length.push((rest % 128) + (rest > 127 ? 128 : 0));
    if (rest <= 127) break;
  }
  return joined([Uint8Array.of(number * 8 + 2, ...length), content]);
}
