/**
 * The OpenID providers that a territory trusts, as a steward wrote them down, and whom each of them knows here.
 *
 * A provider's word counts for its own subjects only: a person is found by (provider, `sub`), never by an e-mail
 * address, for whoever can write an address into a profile somewhere would else become its owner here. A secret is
 * sealed with the hub's key. Who joins by themselves is what `Admission` says, and nobody where it says nothing.
 */
import {
  IdlewildError,
  codeOf,
  concat,
  fromUtf8,
  newId,
  utf8,
  type Clock,
  type Crypto,
  type Random,
} from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../../db/schema.ts';
import type { OidcProviders } from '../../db/schema/sign-in.ts';
import { SIGN_IN_LIMITS } from '../limits.ts';

/** Who may join by themselves. */
export interface Admission {
  /** Of verified e-mail addresses. */
  readonly domains: readonly string[];
  /** Claims that all must be there, each with one of its values. */
  readonly claims: readonly { readonly name: string; readonly value: string }[];
}

export interface ProviderOrder {
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret?: string | undefined;
  readonly admission: Admission;
  /** Of those who join so. */
  readonly role: string;
  readonly actor: string;
}

export interface Provider {
  readonly id: string;
  readonly name: string;
  readonly issuer: string;
  readonly clientId: string;
  readonly hasSecret: boolean;
  readonly admission: Admission;
  readonly role: string;
  readonly createdAtMs: number;
}

export interface Identity {
  readonly provider: string;
  readonly providerName: string;
  readonly subject: string;
  readonly createdAtMs: number;
}

export interface Providers {
  /** Throws `conflict` for a name that is taken, or too many. */
  add(order: ProviderOrder): Promise<Provider>;
  list(): Promise<Provider[]>;
  /** Throws `not_found`. */
  get(id: string): Promise<Provider>;
  /** Throws `data_corrupt` where it was sealed by another hub. */
  secretOf(id: string): Promise<string | undefined>;
  /** With whom it knows; nobody is signed out by it. Throws `not_found`. */
  remove(order: { readonly id: string; readonly actor: string }): Promise<void>;
  /** Whom this subject is here, and whether that goes back to herself. */
  personOf(
    transaction: Database,
    provider: string,
    subject: string,
  ): Promise<{ readonly person: string; readonly isOwn: boolean } | undefined>;
  /** Throws `conflict` where it is somebody else's, or the person has too many. */
  link(
    transaction: DatabaseTransaction,
    who: { provider: string; subject: string; person: string; isOwn: boolean },
  ): Promise<void>;
  noteUse(transaction: DatabaseTransaction, provider: string, subject: string): Promise<void>;
  identities(person: string): Promise<Identity[]>;
  /** Throws `not_found`. */
  unlink(order: { readonly person: string; readonly provider: string; readonly actor: string }): Promise<void>;
}

export interface ProvidersDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly audit: Audit;
  /** Seals secrets; 32 bytes. */
  readonly key: Uint8Array;
}

type Row = Selectable<OidcProviders>;

const NONCE_BYTES = 12;

export function createProviders(deps: ProvidersDeps, territory: string): Providers {
  const { db, crypto, random, clock, audit, key } = deps;
  const boundTo = (id: string): Uint8Array => utf8(`idlewild/v1/provider secret\n${territory}\n${id}`);
  const unknown = (id: string): IdlewildError =>
    new IdlewildError('not_found', `there is no provider ${id} in this territory`);

  const rows = (): Promise<Row[]> =>
    db.selectFrom('oidc_providers').selectAll().where('territory_id', '=', territory).orderBy('name').execute();

  async function rowOf(id: string): Promise<Row> {
    const row = await db
      .selectFrom('oidc_providers')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .executeTakeFirst();
    if (row === undefined) throw unknown(id);
    return row;
  }

  async function seal(id: string, secret: string | undefined): Promise<Uint8Array | null> {
    if (secret === undefined) return null;
    const nonce = random.bytes(NONCE_BYTES);
    return concat([nonce, await crypto.seal(key, nonce, utf8(secret), boundTo(id))]);
  }

  return {
    async add({ name, issuer, clientId, clientSecret, admission, role, actor }) {
      const id = newId('idp', random);
      const row: Row = {
        id,
        territory_id: territory,
        name,
        issuer,
        client_id: clientId,
        client_secret: await seal(id, clientSecret),
        admission_json: JSON.stringify(admission),
        role,
        created_at_ms: clock.now(),
        created_by: actor,
      };
      await db.transaction().execute(async (transaction) => {
        const { count } = await transaction
          .selectFrom('oidc_providers')
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .where('territory_id', '=', territory)
          .executeTakeFirstOrThrow();
        if (count >= SIGN_IN_LIMITS.providersMax)
          throw new IdlewildError('conflict', `there are ${count} providers already; remove one first`);
        const added = await transaction
          .insertInto('oidc_providers')
          .values(row)
          .onConflict((conflict) => conflict.columns(['territory_id', 'name']).doNothing())
          .returning('id')
          .execute();
        if (added.length === 0)
          throw new IdlewildError(
            'conflict',
            `there is a provider called ${name} already; remove it, or choose another name`,
          );
        const { origin } = new URL(issuer);
        const details = { name, issuer: origin, role, domains: admission.domains.join(' ').slice(0, 200) };
        await audit.append(transaction, { territory, actor, action: 'addSignInProvider', subject: id, details });
      });
      return factsOf(row);
    },
    list: async () => (await rows()).map(factsOf),
    get: async (id) => factsOf(await rowOf(id)),
    async secretOf(id) {
      const { client_secret: sealed, name } = await rowOf(id);
      if (sealed === null) return undefined;
      try {
        return fromUtf8(
          await crypto.open(key, sealed.subarray(0, NONCE_BYTES), sealed.subarray(NONCE_BYTES), boundTo(id)),
        );
      } catch (error) {
        if (codeOf(error) !== 'signature_invalid') throw error;
        throw new IdlewildError(
          'data_corrupt',
          `the secret of the provider ${name} was sealed by another hub; remove the provider and add it again`,
          { cause: error },
        );
      }
    },
    async remove({ id, actor }) {
      await db.transaction().execute(async (transaction) => {
        await transaction
          .deleteFrom('oidc_identities')
          .where('territory_id', '=', territory)
          .where('provider_id', '=', id)
          .execute();
        const removed = await transaction
          .deleteFrom('oidc_providers')
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .returning('name')
          .executeTakeFirst();
        if (removed === undefined) throw unknown(id);
        const details = { name: removed.name };
        await audit.append(transaction, { territory, actor, action: 'removeSignInProvider', subject: id, details });
      });
    },
    async personOf(from, provider, subject) {
      const row = await from
        .selectFrom('oidc_identities')
        .select(['person_id', 'is_own'])
        .where('territory_id', '=', territory)
        .where('provider_id', '=', provider)
        .where('subject', '=', subject)
        .executeTakeFirst();
      return row === undefined ? undefined : { person: row.person_id, isOwn: row.is_own === 1 };
    },
    async link(transaction, { provider, subject, person, isOwn }) {
      const { count } = await transaction
        .selectFrom('oidc_identities')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .where('territory_id', '=', territory)
        .where('person_id', '=', person)
        .executeTakeFirstOrThrow();
      if (count >= SIGN_IN_LIMITS.identitiesPerPerson)
        throw new IdlewildError('conflict', `${count} accounts are linked already; unlink one first`);
      const linked = await transaction
        .insertInto('oidc_identities')
        .values({
          territory_id: territory,
          provider_id: provider,
          subject,
          person_id: person,
          is_own: isOwn ? 1 : 0,
          created_at_ms: clock.now(),
          used_at_ms: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .returning('subject')
        .execute();
      if (linked.length === 0) throw new IdlewildError('conflict', 'this account is linked to a member here already');
      const details = { provider, person };
      await audit.append(transaction, { territory, actor: person, action: 'linkAccount', subject: person, details });
    },
    async noteUse(transaction, provider, subject) {
      await transaction
        .updateTable('oidc_identities')
        .set({ used_at_ms: clock.now() })
        .where('territory_id', '=', territory)
        .where('provider_id', '=', provider)
        .where('subject', '=', subject)
        .execute();
    },
    async identities(person) {
      const found = await db
        .selectFrom('oidc_identities as identity')
        .innerJoin('oidc_providers as provider', 'provider.id', 'identity.provider_id')
        .select(['provider.id', 'provider.name', 'identity.subject', 'identity.created_at_ms'])
        .where('identity.territory_id', '=', territory)
        .where('provider.territory_id', '=', territory)
        .where('identity.person_id', '=', person)
        .orderBy('provider.name')
        .execute();
      return found.map((row) => ({
        provider: row.id,
        providerName: row.name,
        subject: row.subject,
        createdAtMs: row.created_at_ms,
      }));
    },
    async unlink({ person, provider, actor }) {
      await db.transaction().execute(async (transaction) => {
        const removed = await transaction
          .deleteFrom('oidc_identities')
          .where('territory_id', '=', territory)
          .where('provider_id', '=', provider)
          .where('person_id', '=', person)
          .returning('subject')
          .execute();
        if (removed.length === 0)
          throw new IdlewildError('not_found', `no account of the provider ${provider} is linked to this person`);
        const details = { provider, person };
        await audit.append(transaction, { territory, actor, action: 'unlinkAccount', subject: person, details });
      });
    },
  };
}

const factsOf = (row: Row): Provider => ({
  id: row.id,
  name: row.name,
  issuer: row.issuer,
  clientId: row.client_id,
  hasSecret: row.client_secret !== null,
  admission: JSON.parse(row.admission_json) as Admission,
  role: row.role,
  createdAtMs: row.created_at_ms,
});
