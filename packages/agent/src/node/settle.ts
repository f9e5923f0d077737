/**
 * Where a device belongs: what is kept of its hub and what a person gives, as one; and what it learns while it runs.
 *
 * The first start takes an invite; later ones need none. The invite's secret is never kept: it is sent until a hub has
 * welcomed this device, and enrolment is what is remembered. Starting again with an invite of the same territory tells
 * an address, a pin, and how to protect the session, and lets a hub enrol the device that does not know it: one of an
 * old backup. The bare address from which the device was sent away since tells nothing new, for start scripts have it;
 * with an invite or a pin it is the lender's word.
 */
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  decodeInvite,
  equalBytes,
  inviteKey,
  inviteToken,
  joinTokenOf,
  signDeviceByInvite,
  type Invite,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { Log } from '../core/agent.ts';
import type { Place } from '../core/places.ts';
import type { HubAddress } from '../core/session.ts';
import type { DataFolder, DeviceSettings, KeptPlace } from './data-folder.ts';

/** What a person gives at a start. */
export interface Joining {
  /** Needed at the first start, kept afterwards. */
  readonly name?: string | undefined;
  /** The text of an invite (`iwj1.…`); needed at the first start. */
  readonly invite?: string | undefined;
  /** Where the hub is, if not where the invite says. */
  readonly url?: string | undefined;
  /** SHA-256 of the SubjectPublicKeyInfo of the TLS key at `url`; absent: as before, or as the invite says. */
  readonly pin?: Uint8Array | undefined;
}

export interface Settled {
  readonly settings: DeviceSettings;
  readonly joinToken: string | undefined;
  /** With the token of an invite that a steward vouches for. */
  readonly byInvite: Uint8Array | undefined;
}

/** What is kept and what the person gave, as one; saved before anything is sent. */
export async function settle(folder: DataFolder, options: Joining): Promise<Settled> {
  const kept = await folder.settings();
  const invite = options.invite === undefined ? undefined : decodeInvite(options.invite);
  const territory = invite?.territory ?? kept?.territory;
  const isSame = kept !== undefined && (invite === undefined || equalBytes(kept.territory, invite.territory));
  const told = options.url ?? invite?.url;
  const isBare = invite === undefined && options.pin === undefined;
  const stays = isSame && (told === undefined || (isBare && isSameUrl(told, kept.movedFrom)));
  const url = stays ? kept.url : told;
  const name = options.name ?? kept?.name;
  if (territory === undefined || url === undefined) {
    throw new IdlewildError(
      'usage',
      `${folder.folder} has not joined a community yet; give it an invite: idlewild join URL --token TOKEN`,
    );
  }
  if (name === undefined || name.length === 0 || name.length > LIMITS.nameCharactersMax) {
    throw new IdlewildError('usage', `a device needs a name of 1 to ${LIMITS.nameCharactersMax} characters`);
  }
  const enrolled = isSame && kept.enrolled;
  const known = [kept, kept?.before].find((place) => place !== undefined && isSameUrl(url, place.url));
  const { pin, session } = invite ?? known ?? { ...kept };
  const settings: DeviceSettings = {
    url,
    territory,
    name,
    enrolled,
    pin: options.pin ?? pin,
    session: session === true ? true : undefined,
    movedFrom: stays ? kept.movedFrom : undefined,
    before: isSame && known !== kept ? keptOf(kept) : isSame ? kept.before : undefined,
  };
  await folder.saveSettings(settings);
  return { settings, ...(await shownOf(invite, folder.identity.publicKey)) };
}

/** What the hub is shown of the invite. */
async function shownOf(invite: Invite | undefined, device: Uint8Array): Promise<Omit<Settled, 'settings'>> {
  if (invite === undefined) return { joinToken: undefined, byInvite: undefined };
  const { secret, territory } = invite;
  if (invite.vouched !== true) return { joinToken: joinTokenOf(secret), byInvite: undefined };
  const key = await inviteKey(secret, nodeCrypto);
  return {
    joinToken: await inviteToken(secret, nodeCrypto),
    byInvite: await signDeviceByInvite({ territory, device }, key, nodeCrypto),
  };
}

/** For the session. */
export function addressOf(settings: DeviceSettings, joinToken: string | undefined, byInvite?: Uint8Array): HubAddress {
  const { territory, enrolled, before } = settings;
  return {
    ...placeOf(settings),
    territory,
    before: before === undefined ? undefined : placeOf(before),
    joinToken,
    byInvite,
    // Without an invite: a hub may have welcomed us just before a crash; it says so or refuses.
    enrolled: enrolled || joinToken === undefined,
  };
}

export interface Notes {
  settings(): DeviceSettings;
  change(what: Partial<DeviceSettings>): void;
  /** A hub of the territory welcomed the device at another place. */
  moved(place: Place): void;
  /** Resolves when all changes are on the disk, or in the log. */
  written(): Promise<void>;
}

/** What a running device learns, written down in order. */
export function createNotes(folder: DataFolder, before: DeviceSettings, log: Log): Notes {
  let settings = before;
  let writing = Promise.resolve();
  function change(what: Partial<DeviceSettings>): void {
    const learnt = { ...settings, ...what };
    if ((Object.keys(what) as (keyof DeviceSettings)[]).every((key) => learnt[key] === settings[key])) return;
    settings = learnt;
    writing = writing
      .then(() => folder.saveSettings(learnt))
      .catch((thrown: unknown) => log('error', asIdlewildError(thrown, 'noting where the hub is').message));
  }
  return {
    settings: () => settings,
    change,
    moved: (place) => change(afterMove(settings, place)),
    written: () => writing,
  };
}

function afterMove(was: DeviceSettings, { url, spkiPin: pin, session }: Place): Partial<DeviceSettings> {
  const { movedFrom = was.url } = was;
  return {
    url,
    pin,
    session: session === true ? true : undefined,
    movedFrom: isSameUrl(url, movedFrom) ? undefined : movedFrom,
    before: keptOf(was),
  };
}

/** However it is written: with a slash at its end, or the port that its scheme has anyway. */
function isSameUrl(url: string, other: string | undefined): boolean {
  if (other === undefined || !URL.canParse(url) || !URL.canParse(other)) return url === other;
  return new URL(url).href === new URL(other).href;
}

const keptOf = ({ url, pin, session }: KeptPlace): KeptPlace => ({ url, pin, session });
const placeOf = ({ url, pin, session }: KeptPlace): Place => ({ url, spkiPin: pin, session });
