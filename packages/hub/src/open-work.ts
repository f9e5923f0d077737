/**
 * What devices are asked for: answers, vectors, sealed answers; and which models lie where, with the bytes for that.
 */
import { createAnswers } from './answers/answers.ts';
import { checkReceipt } from './answers/check-receipt.ts';
import type { Answers } from './answers/port.ts';
import { accountIn } from './embeddings/account.ts';
import { createEmbeddings } from './embeddings/embeddings.ts';
import type { Embeddings } from './embeddings/port.ts';
import type { HubDeps, ReplicaDeps } from './hub-deps.ts';
import type { Model } from './models/registry.ts';
import type { Books } from './open-books.ts';
import type { Connected } from './open-devices.ts';
import type { People } from './open-people.ts';
import { createEyes, type FreshEyes } from './placement/eyes.ts';
import { createPlacement, type Placement } from './placement/placement.ts';
import { createBlobDesk, type BlobDesk, type BlobOrigin } from './relay/blob-desk.ts';
import type { Duty } from './replicas/port.ts';
import type { SealedAnswers } from './sealed/port.ts';
import { createSealedReceipts } from './sealed/receipts.ts';
import { createSealed } from './sealed/sealed.ts';
import { createVouched } from './sealed/vouched.ts';
import type { Sessions } from './session/port.ts';
import type { LocalSessions } from './session/sessions.ts';
import { createHeldBlobs, type HeldBlobs } from './storage/held-blobs.ts';

export function openWork(
  deps: HubDeps,
  people: People,
  books: Books,
  { id }: ReplicaDeps,
  { fleet, local, trust }: Connected,
) {
  const { clock, random, crypto, log, meter } = deps;
  const { models, territory, vouches } = people;
  const { journal, duties } = books;
  const { clock: wallClock } = deps.database;
  const vouched = createVouched({
    clock,
    trust,
    vouches,
    territory: territory.id,
    devices: () => fleet.list(),
    wallClock,
  });
  const { blobs, held, placement, readModels } = createPlaces(deps, {
    territory: territory.id,
    sessions: fleet,
    local,
    duty: duties.duty('placement'),
    models: () => models.list(territory.id),
    queued: () => answers.queuedByModel(),
    eyes: createEyes(trust, vouched),
  });
  const common = { clock, random, replica: id, sessions: fleet, placement, trust, meter, log };
  const answers: Answers = createAnswers({
    ...common,
    journal,
    checkReceipt: (device, receipt, seen) => checkReceipt(device, receipt, seen, crypto, log),
  });
  const embeddings: Embeddings = createEmbeddings({
    ...common,
    account: accountIn(journal),
    onFree: () => answers.pump(),
  });
  const sealed: SealedAnswers = createSealed({
    ...common,
    crypto,
    key: people.offerKey,
    wallClock,
    journal,
    receipts: createSealedReceipts({
      territory: territory.publicKey,
      hub: people.opened.hub.key,
      certificate: people.certificate,
      crypto,
      clock: wallClock,
      log,
    }),
    vouched,
    onFree: () => answers.pump(),
  });
  return { answers, embeddings, sealed, blobs, held, placement, readModels };
}

/** Which models lie where, and where their bytes come from. */
function createPlaces(
  { clock, crypto, store, log, onBlobServed, database: { db } }: HubDeps,
  { territory, sessions, local, duty, models, queued, eyes }: PlacesDeps,
): { blobs: BlobDesk; held: HeldBlobs; placement: Placement; readModels(): Promise<void> } {
  const onServed = (origin: BlobOrigin, bytes: number): void => onBlobServed?.(origin, bytes);
  // Bulk does not go over the bus: a device gives to others of its own replica.
  const blobs: BlobDesk = createBlobDesk({
    clock,
    crypto,
    store,
    sessions: local,
    log,
    onServed,
    reread: async () => blobs.update(await models()),
  });
  const placement = createPlacement({ clock, sessions, log, duty, models, queued, eyes });
  const isOfModel = (cid: string): boolean | Promise<boolean> => blobs.isOfModel(cid);
  return {
    blobs,
    held: createHeldBlobs({ db, territory, store, crypto, isOfModel }),
    placement,
    async readModels() {
      await blobs.update(await models());
      await placement.refresh();
    },
  };
}

interface PlacesDeps {
  readonly territory: string;
  readonly sessions: Sessions;
  readonly local: LocalSessions;
  readonly duty: Duty;
  readonly models: () => Promise<Model[]>;
  readonly queued: () => ReadonlyMap<string, number>;
  readonly eyes: FreshEyes;
}
