/**
 * A decoder made of arithmetic, as a `GraphSession`: the logits of a row are a hash of all tokens up to it, read back
 * from its cache.
 *
 * A caller that feeds a wrong token, position or cache gets other tokens, however it cuts the work; so equal answers
 * mean equal work. It refuses what the engine must never do: a run of one row, and rows whose positions do not follow
 * the cache.
 */
import { PAST_KEEP, type DecoderShape } from '@idlewild/graph';
import { IdlewildError } from '@idlewild/protocol';
import type { GraphSession, GraphTensor } from '../core/session.ts';
import { mix } from './memory-decoder.ts';

export interface MemorySessionOptions {
  readonly vocabulary: number;
  /** Waited for in each run: lets a test spend time on its clock. */
  readonly spend?: ((rows: number) => Promise<void>) | undefined;
}

export interface MemorySession extends GraphSession {
  readonly shape: DecoderShape;
  /** Rows of each run so far. */
  readonly runs: readonly number[];
}

export function createMemorySession({ vocabulary, spend }: MemorySessionOptions): MemorySession {
  const runs: number[] = [];
  const shape: DecoderShape = {
    layers: 1,
    kvHeads: 1,
    headDim: 1,
    kvDtype: 1,
    vocab: vocabulary,
    hasPositionIds: true,
    pastNames: ['past_key_values.0.key', 'past_key_values.0.value'],
    presentNames: ['present.0.key', 'present.0.value'],
  };
  const tensor = (data: Float32Array, dims: readonly number[]): GraphTensor => ({ type: 'float32', data, dims });
  return {
    shape,
    runs,
    tensor: (type, data, dims) => ({ type, data, dims }),
    async run(feeds, wanted) {
      const numbers = (name: string): number[] =>
        Array.from((feeds[name] as GraphTensor).data as ArrayLike<number | bigint>, Number);
      const ids = numbers('input_ids');
      const keep = numbers(PAST_KEEP)[0] as number;
      const past = numbers('past_key_values.0.key').slice(0, keep);
      check(ids, keep, past, numbers('position_ids'), numbers('attention_mask'));
      runs.push(ids.length);
      await spend?.(ids.length);
      const all = Float32Array.from([...past, ...ids]);
      const logits = new Float32Array(ids.length * vocabulary);
      let state = 0x9e3779b9;
      for (const [position, id] of all.entries()) {
        state = mix(state ^ (id + 1));
        if (position < keep) continue;
        for (let token = 0; token < vocabulary; token++)
          logits[(position - keep) * vocabulary + token] = (mix(state + token) / 2 ** 32) * 8;
      }
      const outputs = {
        'present.0.key': tensor(all, [1, 1, all.length, 1]),
        'present.0.value': tensor(all, [1, 1, all.length, 1]),
        logits: tensor(logits, [1, ids.length, vocabulary]),
      };
      return Object.fromEntries(Object.entries(outputs).filter(([name]) => wanted.includes(name)));
    },
    close: () => undefined,
  };
}

function check(
  ids: readonly number[],
  keep: number,
  past: readonly number[],
  positions: readonly number[],
  mask: readonly number[],
): void {
  const fault = (what: string): never => {
    throw new IdlewildError('internal', `the memory session was run wrongly: ${what}`);
  };
  if (ids.length < 2) fault(`with ${ids.length} row`);
  if (past.length !== keep) fault(`keeping ${keep} of ${past.length} positions`);
  if (positions.length !== ids.length || positions.some((position, row) => position !== keep + row))
    fault(`at positions ${positions.join(', ')} after ${keep}`);
  if (mask.length !== keep + ids.length || mask.includes(0))
    fault(`with a mask of ${mask.length} for ${keep + ids.length} positions`);
}
