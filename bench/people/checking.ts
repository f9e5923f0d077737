/**
 * What it costs to have an end-to-end encrypted answer checked by a second device.
 *
 * The same answers, scored and made again by turns in one run: the time from the answer's last token to its end, which
 * comes when the second device is there. `people.verify_cost_ratio` is scored over made again, decoys, both round trips
 * and the second device's reading of the prompt included. None may differ; one for which no second device was
 * free does not count.
 */
import { createClient, createSealedClient, type Verify } from '@idlewild/client';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { addSteward, steward, territoryOf, vouchFor } from '../../test/sealed-world.ts';
import type { BenchRun } from '../bench.ts';
import { median, percentile, rangeOf } from '../statistics.ts';
import { inWorld } from '../world.ts';

export interface CheckedModel {
  readonly name: string;
  readonly folder: string;
  readonly tokens: number;
  readonly pairs: number;
}

const PROMPT = 'First Citizen:\nBefore we proceed any further, hear me speak.\n\n';
const WARM_PAIRS = 1;
const PAIRS_MIN = 5;
/** On a machine that others keep busy there are fewer pairs, or none. */
const PAIRS_MS_MAX = 90_000;
const ANSWER_MS_MAX = 30_000;

export const measureChecking = (run: BenchRun, metric: string, model: CheckedModel): Promise<void> =>
  inWorld({ run, devices: 2, slots: 4, models: { [model.name]: model.folder } }, async (world) => {
    const admin = createClient({ hub: world.url, key: world.stewardKey });
    await addSteward(admin);
    for (const { name } of world.devices) await vouchFor(admin, name);
    const ports = { fetch, clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
    const trusted = { territory: await territoryOf(admin), stewards: [steward.publicKey] };
    const client = createSealedClient({ hub: world.url, key: world.key, ...trusted, ...ports });

    const pairs: Record<Verify, number>[] = [];
    let why = 'none was refused';
    const late = AbortSignal.timeout(PAIRS_MS_MAX);
    const signal = AbortSignal.any([run.signal, AbortSignal.timeout(PAIRS_MS_MAX + ANSWER_MS_MAX)]);

    /** Milliseconds of the second device; `undefined` without one, or when the model ends of its own accord. */
    async function checked(seed: number, verify: Verify): Promise<number | undefined> {
      const work = { prompt: { kind: 'text' as const, text: PROMPT }, choice: 0, stop: [], tokensMax: model.tokens };
      const asked = { model: model.name, work: { ...work, sampling: { seed } }, verify };
      let saidAtMs = 0;
      for await (const event of client.answer(asked, { signal })) {
        if (event.t === 'token') saidAtMs = performance.now();
        if (event.t !== 'finished') continue;
        const { verification, answerTokens } = event;
        if (verification?.result === 'differs') throw new Error(`an answer differs at token ${verification.at}`);
        why = verification?.why ?? why;
        const counts = verification?.result === 'verified' && answerTokens === model.tokens;
        return counts ? performance.now() - saidAtMs : undefined;
      }
      throw new Error('a sealed answer has no end');
    }

    for (let seed = 1, taken = -WARM_PAIRS; taken < model.pairs; seed++) {
      run.signal.throwIfAborted();
      if (late.aborted && pairs.length >= PAIRS_MIN) break;
      if (late.aborted) throw new Error(`only ${pairs.length} pairs within ${PAIRS_MS_MAX / 1_000} s`);
      if (seed > 4 * model.pairs)
        throw new Error(`most answers end before ${model.tokens} tokens, or nobody checks them: ${why}`);
      const took: Partial<Record<Verify, number>> = {};
      // No way is always first: a device keeps prompts.
      for (const way of taken % 2 === 0 ? (['score', 'again'] as const) : (['again', 'score'] as const)) {
        const ms = await checked(seed, way);
        if (ms !== undefined) took[way] = ms;
      }
      const { score, again } = took;
      if (score === undefined || again === undefined) continue;
      if (taken >= 0) pairs.push({ score, again });
      taken++;
    }
    const ratios = pairs.map(({ score, again }) => score / again);
    const middle = [percentile(ratios, 0.25), percentile(ratios, 0.75)];
    const of = (way: Verify): string => median(pairs.map((took) => took[way])).toFixed(0);
    run.record(
      metric,
      median(ratios),
      `median of ${pairs.length} pairs, half of them ${rangeOf(middle)}; ${of('score')} against ${of('again')} ms of ` +
        `the second device, answers of ${model.tokens} tokens of ${model.name}, decoys and round trips included`,
    );
  });
