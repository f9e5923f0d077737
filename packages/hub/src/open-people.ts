/**
 * Who belongs to a territory, what it has, and the secrets of its hub: all that is opened from the database before a
 * device or a caller is known.
 */
import { concat, utf8, type Crypto } from '@idlewild/protocol';
import { createAnswerReceipts } from './answers/receipts.ts';
import { createAudit } from './audit/audit.ts';
import type { HubDeps } from './hub-deps.ts';
import { createDevices } from './identity/devices.ts';
import { createInvites } from './identity/invites.ts';
import { createKeys } from './identity/keys.ts';
import { createScopes } from './identity/scope.ts';
import type { SecretName } from './identity/secrets.ts';
import { createTickets } from './identity/tickets.ts';
import { createTerritoryName } from './identity/territory-name.ts';
import { keepCertified, openFurther, openTerritory } from './identity/territory.ts';
import { createModels } from './models/registry.ts';
import { createPeople } from './people/people.ts';
import { createPeopleVersions } from './people/versions.ts';
import { createPolicyDesk } from './policy/desk.ts';
import { createPolicy } from './policy/policy.ts';
import { createDeviceTrust } from './trust/device-trust.ts';
import { createVouches } from './trust/vouches.ts';
import { createSignIn } from './sign-in/sign-in.ts';

const SECRET_BYTES = 32;
const JOURNAL_KEY = 'Idlewild journal key: seals open requests. Without it they cannot be accounted for after a crash.';
const SIGN_IN_KEY = 'Idlewild sign-in key: seals secrets of OpenID providers. Without it they have to be given again.';
const SCOPE_KEY = 'Idlewild scope key: names who may share cached prompts. Without it they are computed once more.';

async function secretOf(name: SecretName, header: string, { secrets, random }: HubDeps): Promise<Uint8Array> {
  const kept = await secrets.read(name);
  if (kept !== undefined) return kept;
  await secrets.write(name, random.bytes(SECRET_BYTES), header);
  // Of replicas that start together the first to write gives it to all.
  return (await secrets.read(name)) as Uint8Array;
}

const derive = async (crypto: Crypto, secret: Uint8Array, use: string): Promise<Uint8Array> =>
  crypto.sha256(concat([utf8(`idlewild/v1/hub/${use}\n`), secret]));

export async function openPeople(deps: HubDeps) {
  const { store, random, crypto, secrets, database } = deps;
  const { db } = database;
  // What people read later is told in the database's time, whichever machine writes it.
  const { clock } = database;
  const audit = createAudit({ db, clock, crypto });
  const opening = { db, secrets, crypto, random, clock, audit };
  const opened = await (deps.territory === undefined
    ? openTerritory(opening, deps)
    : openFurther(opening, deps.territory));
  const devices = createDevices({ db, crypto, clock, audit });
  const keys = createKeys({ db, territory: opened.id, crypto, random, clock, audit });
  const versions = createPeopleVersions({ db, clock: deps.clock }, opened.id);
  const certificate = keepCertified({ ...opening, log: deps.log }, opened);
  const naming = createTerritoryName({ db, audit }, opened);
  const vouches = createVouches({ db, crypto, clock, audit, territoryKey: opened.publicKey });
  const now = (): number => clock.now();
  const scopeKey = await secretOf('scope.key', SCOPE_KEY, deps);
  return {
    opened,
    certificate,
    naming,
    territory: {
      id: opened.id,
      publicKey: opened.publicKey,
      get name() {
        return naming.current();
      },
    },
    audit,
    devices,
    keys,
    people: createPeople({ db, clock, random, audit, keys }),
    invites: createInvites({ db, crypto, random, clock, audit, devices, vouches }),
    deviceTrust: createDeviceTrust({ db, audit, clock }),
    vouches,
    models: createModels({ db, store, clock, audit }),
    versions,
    policyDesk: createPolicyDesk({ db, clock, audit, territory: opened.id }),
    policy: await createPolicy({ db, now, territory: opened.id, versions, log: deps.log }),
    tickets: createTickets({ key: await derive(crypto, scopeKey, 'tickets'), crypto, clock }),
    scopeOf: createScopes({ crypto, secret: scopeKey }),
    signIn: await createSignIn(
      { ...deps, clock, audit, key: await secretOf('sign-in.key', SIGN_IN_KEY, deps) },
      opened.id,
    ),
    offerKey: await derive(crypto, scopeKey, 'sealed-offers'),
    receipts: createAnswerReceipts({
      territory: opened.publicKey,
      hub: opened.hub.key,
      certificate,
      crypto,
      clock,
      log: deps.log,
    }),
    journalKey: await secretOf('journal.key', JOURNAL_KEY, deps),
  };
}
export type People = Awaited<ReturnType<typeof openPeople>>;
