/**
 * Which territory a hub serves, and with what right. A database has one at its beginning, the first; further ones
 * are made and opened while it runs (`house/`).
 *
 * The first start makes a territory key, a hub key and the certificate by which the first vouches for the second; later
 * starts find them. The database and the territory key must tell of the same territory: a start where one of them is
 * missing or another's is refused, for a hub that quietly made a new territory would lose every device that pins the
 * old one. The territory's private key is used here only and leaves this file in no form.
 */
import {
  IdlewildError,
  codeOf,
  equalBytes,
  hubCertificateSchema,
  idOfKey,
  messageOf,
  openStatement,
  signStatement,
  type Clock,
  type Crypto,
  type HubCertificate,
  type KeyPair,
  type MaybePromise,
  type Random,
} from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import { inTurn } from '../db/one-at-a-time.ts';
import type { Database, DatabaseTransaction, Schema } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import type { Log } from '../log.ts';
import type { Secrets } from './secrets.ts';
import { checkTerritoryName } from './territory-name.ts';

const DAY_MS = 86_400_000;
const CERTIFICATE_MS = 365 * DAY_MS;
/** Two months in which the database or the disk may be away, and devices may have wrong clocks. */
const RENEW_BEFORE_MS = 60 * DAY_MS;
/** Until a renewal that went wrong is tried again, while the certificate still lasts. */
const RENEW_AGAIN_MS = 3_600_000;
const SEED_BYTES = 32;

export interface Territory {
  readonly id: string;
  readonly name: string;
  /** Ed25519; what devices and callers pin. */
  readonly publicKey: Uint8Array;
  readonly hub: { readonly id: string; readonly key: KeyPair };
  /** Signed `hub-certificate` statement. */
  readonly certificate: Uint8Array;
  readonly certificateExpiresAtMs: number;
  /** Whether this start made the territory: the moment to make a first steward's key. */
  readonly created: boolean;
}

export interface TerritoryDeps {
  readonly db: Database;
  readonly secrets: Secrets;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
}

/**
 * `name` counts at the first start only. Throws `invalid_request` for what is none, and `data_corrupt` when keys and
 * database do not belong together. Replicas that start at once take turns: the first makes what the others find.
 */
export const openTerritory = (
  deps: TerritoryDeps,
  options: { readonly name?: string | undefined } = {},
): Promise<Territory> => inTurn(deps.db, 'territory', () => findOrMake(deps, options.name ?? 'home'));

/**
 * One of the further territories of a database; `deps.secrets` are its own (`secretsOf`). Throws `not_found` where the
 * database does not have it, and `data_corrupt` as above.
 */
export const openFurther = (deps: TerritoryDeps, id: string): Promise<Territory> =>
  inTurn(deps.db, 'territory', async () => {
    const row = await rowOf(deps.db, id);
    if (row === undefined) throw new IdlewildError('not_found', `there is no community ${id} in this database`);
    const seed = await deps.secrets.read('territory.key');
    if (seed === undefined) throw withoutKey(id);
    return openRow(deps, row, await deps.crypto.signingKey(seed));
  });

/** The hub's certificate as it is good now. Whoever signs something that stands on it asks each time. */
export type Certificate = () => MaybePromise<Uint8Array>;

/**
 * The certificate of `opened` for as long as its hub runs: renewed when less than two months of it remain, which nobody
 * waits for until it has run out. Then it rejects where it cannot be renewed.
 */
export function keepCertified(deps: TerritoryDeps & { readonly log: Log }, opened: Territory): Certificate {
  const { clock, crypto, db, secrets, log } = deps;
  let { certificate, certificateExpiresAtMs } = opened;
  let renewing: Promise<void> | undefined;
  let notBeforeMs = Number.NEGATIVE_INFINITY;

  async function renew(): Promise<void> {
    // Of replicas the first makes what the others find.
    const next = await inTurn(db, 'territory', async () => {
      const seed = await secrets.read('territory.key');
      if (seed === undefined) throw withoutKey(opened.id);
      return certify(deps, await crypto.signingKey(seed), opened.hub.key.publicKey);
    });
    ({ certificate, certificateExpiresAtMs } = next);
    log.info({ territory: opened.id, until: certificateExpiresAtMs }, 'the certificate of this hub was renewed');
  }

  function begin(): Promise<void> {
    const mine = renew().finally(() => {
      renewing = undefined;
    });
    mine.catch((error: unknown) =>
      log.error({ territory: opened.id, why: messageOf(error) }, 'the certificate of this hub could not be renewed'),
    );
    return mine;
  }

  return () => {
    const nowMs = clock.now();
    if (certificateExpiresAtMs - nowMs >= RENEW_BEFORE_MS) return certificate;
    const isOver = nowMs >= certificateExpiresAtMs;
    if (isOver || nowMs >= notBeforeMs) {
      notBeforeMs = nowMs + RENEW_AGAIN_MS;
      renewing ??= begin();
    }
    return isOver && renewing !== undefined ? renewing.then(() => certificate) : certificate;
  };
}

/** The key of a territory that is about to be made, kept before anything refers to it; its id. */
export async function makeTerritoryKey(
  { crypto, random }: Pick<TerritoryDeps, 'crypto' | 'random'>,
  secretsFor: (id: string) => Secrets,
): Promise<{ readonly id: string; readonly publicKey: Uint8Array }> {
  const { publicKey, privateKey } = await crypto.signingKey(random.bytes(SEED_BYTES));
  const id = await idOfKey('ter', publicKey, crypto);
  await secretsFor(id).write('territory.key', privateKey, KEY_HEADER);
  return { id, publicKey };
}

async function findOrMake(deps: TerritoryDeps, name: string): Promise<Territory> {
  checkTerritoryName(name);
  const { db, secrets, crypto, random } = deps;
  const seed = await secrets.read('territory.key');
  const territoryKey = await crypto.signingKey(seed ?? random.bytes(SEED_BYTES));
  const id = await idOfKey('ter', territoryKey.publicKey, crypto);
  const row = await rowOf(db, id);
  if (row !== undefined) return openRow(deps, row, territoryKey);
  // The one query without a territory: it asks whether this database is another's.
  const other = await db.selectFrom('territories').select('id').limit(1).executeTakeFirst();
  if (other !== undefined && seed === undefined) throw withoutKey(other.id);
  if (other !== undefined) {
    throw new IdlewildError(
      'data_corrupt',
      `territory.key is of the territory ${id}, the database of ${other.id}. ` +
        'Put the two that belong together in one data directory, or start with another (--data DIR)',
    );
  }
  if (seed === undefined) await secrets.write('territory.key', territoryKey.privateKey, KEY_HEADER);
  const made = { id, name, publicKey: territoryKey.publicKey };
  await transact(db, (transaction) => insertTerritory(transaction, deps, made, 'hub'));
  const { publicKey: public_key } = made;
  return { ...(await openRow(deps, { id, name, public_key }, territoryKey)), created: true };
}

const KEY_HEADER = 'Idlewild territory key. Whoever holds it is the territory: keep it secret, and keep a copy.';

type Row = Pick<Selectable<Schema['territories']>, 'id' | 'name' | 'public_key'>;

const rowOf = (db: Database, id: string): Promise<Row | undefined> =>
  db.selectFrom('territories').select(['id', 'name', 'public_key']).where('id', '=', id).executeTakeFirst();

async function openRow(deps: TerritoryDeps, { id, name, public_key }: Row, key: KeyPair): Promise<Territory> {
  if (!equalBytes(key.publicKey, public_key)) {
    throw new IdlewildError(
      'data_corrupt',
      `the key that is kept for the community ${id} is another's; put a backup of its territory.key back`,
    );
  }
  const hub = await openHubKey(deps);
  const certified = await certify(deps, key, hub.key.publicKey);
  return { id, name, publicKey: key.publicKey, hub, created: false, ...certified };
}

const withoutKey = (id: string): IdlewildError =>
  new IdlewildError(
    'data_corrupt',
    `the database is of territory ${id}, but territory.key is missing.` +
      ' Without it no hub can prove that it belongs there: put a backup of the file back, or start a new territory ' +
      'in another data directory (--data DIR)',
  );

/** Inside the transaction of whoever makes it. */
export async function insertTerritory(
  transaction: DatabaseTransaction,
  { clock, audit }: Pick<TerritoryDeps, 'clock' | 'audit'>,
  { id, name, publicKey }: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array },
  actor: string,
): Promise<void> {
  await transaction
    .insertInto('territories')
    .values({ id, name, public_key: publicKey, created_at_ms: clock.now() })
    .execute();
  await audit.append(transaction, { territory: id, actor, action: 'createTerritory', subject: id, details: { name } });
}

async function openHubKey({ secrets, crypto, random }: TerritoryDeps): Promise<Territory['hub']> {
  const seed = await secrets.read('hub.key');
  const key = await crypto.signingKey(seed ?? random.bytes(SEED_BYTES));
  if (seed === undefined) {
    const header = 'Idlewild hub key: keep it secret. When it is lost, the next start makes another.';
    await secrets.write('hub.key', key.privateKey, header);
  }
  return { id: await idOfKey('hub', key.publicKey, crypto), key };
}

/** The certificate that is there when it fits and lasts, else a new one. */
async function certify(
  { secrets, crypto, clock }: TerritoryDeps,
  territoryKey: KeyPair,
  hub: Uint8Array,
): Promise<Pick<Territory, 'certificate' | 'certificateExpiresAtMs'>> {
  const nowMs = clock.now();
  const kept = await secrets.read('hub.certificate');
  const said = kept === undefined ? undefined : await readCertificate(kept, territoryKey.publicKey, crypto);
  if (
    kept !== undefined &&
    said !== undefined &&
    equalBytes(said.hub, hub) &&
    said.issuedAtMs <= nowMs &&
    said.expiresAtMs - nowMs >= RENEW_BEFORE_MS
  ) {
    return { certificate: kept, certificateExpiresAtMs: said.expiresAtMs };
  }
  const certificateExpiresAtMs = nowMs + CERTIFICATE_MS;
  const statement = {
    v: 1,
    territory: territoryKey.publicKey,
    hub,
    issuedAtMs: nowMs,
    expiresAtMs: certificateExpiresAtMs,
  };
  const certificate = await signStatement('hub-certificate', statement, territoryKey, crypto);
  const header = 'Idlewild hub certificate: the territory vouches for the hub key. Not secret.';
  await secrets.write('hub.certificate', certificate, header);
  return { certificate, certificateExpiresAtMs };
}

/** `undefined` for one that this territory did not sign: it is replaced, which its holder has every right to. */
async function readCertificate(
  carried: Uint8Array,
  territory: Uint8Array,
  crypto: Crypto,
): Promise<HubCertificate | undefined> {
  try {
    return (await openStatement('hub-certificate', carried, hubCertificateSchema, crypto, territory)).statement;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'signature_invalid' || code === 'frame_invalid') return undefined;
    throw error;
  }
}
