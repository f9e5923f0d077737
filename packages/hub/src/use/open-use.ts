/** The rules of use of one territory with all that belongs to them, wired to its people and to its classifiers. */
import { IdlewildError, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import type { Embeddings } from '../embeddings/port.ts';
import { actorOf } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import type { Models } from '../models/registry.ts';
import type { Directory } from '../people/directory.ts';
import type { PeopleVersions } from '../people/versions.ts';
import type { Vouches } from '../trust/vouches.ts';
import { createAppeals, type Appeals } from './appeals.ts';
import { USE_LIMITS } from './limits.ts';
import { createRefusals, type Refusals } from './refusals.ts';
import { createSigning } from './sealed-use.ts';
import { createUse, type Classify, type Use } from './use.ts';

export interface UseRooms {
  readonly use: Use;
  readonly refusals: Refusals;
  readonly appeals: Appeals;
}

export interface UseRoomsDeps {
  readonly db: Database;
  /** The database's time. */
  readonly clock: Clock;
  readonly random: Random;
  readonly audit: Audit;
  readonly versions: PeopleVersions;
  readonly directory: Pick<Directory, 'standingOf'>;
  readonly models: Pick<Models, 'resolve'>;
  readonly embeddings: Pick<Embeddings, 'submit'>;
  readonly crypto: Crypto;
  readonly territory: { readonly publicKey: Uint8Array };
  readonly vouches: Pick<Vouches, 'stewards'>;
  readonly log: Log;
}

export function openUse(deps: UseRoomsDeps, territory: string): UseRooms {
  const { versions, directory, models, embeddings, clock } = deps;
  const refusals = createRefusals(deps, territory);
  const classify: Classify = async (rule, texts, { asker, text, permit }, signal) => {
    const { cid, manifest } = await models.resolve(territory, rule.model);
    const labels = labelsOf(rule, manifest.kind === 'classifier' ? (manifest.labels ?? []) : []);
    const model = { cid, name: rule.model, dimensions: manifest.labels?.length ?? 0 };
    const within = new AbortController();
    const onAbort = (): void => within.abort();
    signal.addEventListener('abort', onAbort);
    const deadline = clock.after(USE_LIMITS.classifyMsMax, onAbort);
    try {
      const order = { territory, key: actorOf(asker), kind: 'classify', model, inputs: texts, text, permit } as const;
      const { vectors } = await embeddings.submit(order, within.signal);
      return vectors.map((vector) => {
        const probabilities = new Float32Array(vector.slice().buffer);
        return labels.reduce((sum, label) => sum + (probabilities[label] ?? 0), 0);
      });
    } finally {
      deadline.cancel();
      signal.removeEventListener('abort', onAbort);
    }
  };
  return {
    refusals,
    appeals: createAppeals(deps, territory),
    use: createUse(
      {
        ...deps,
        refusals,
        classify,
        signing: createSigning({
          crypto: deps.crypto,
          territory: deps.territory.publicKey,
          async stewards() {
            const all = await deps.vouches.stewards(territory);
            return all.flatMap(({ publicKey, removedAtMs }) => (removedAtMs === undefined ? [publicKey] : []));
          },
        }),
        async groupsOf(asker) {
          const { actors } = await directory.standingOf(asker, await versions.fresh());
          return [...new Set(actors.flatMap(({ groups }) => groups))];
        },
      },
      territory,
    ),
  };
}

/** Places of a rule's labels among the model's. */
function labelsOf(
  { model, labels }: { readonly model: string; readonly labels: readonly string[] },
  all: readonly string[],
): number[] {
  const missing = labels.find((label) => !all.includes(label));
  if (missing === undefined) return labels.map((label) => all.indexOf(label));
  const has = all.length === 0 ? 'is no classifier' : `has ${all.join(', ')}`;
  throw new IdlewildError('conflict', `"${model}" ${has}, and the rule asks for the label "${missing}"`);
}
