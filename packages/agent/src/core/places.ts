/**
 * Where this device's hub is: the place that it knows, and one that a hub of its territory has told it of.
 *
 * A hub that has proved itself may name another place, with the pin that belongs there. The device tries it in turn
 * with the one it knows, and keeps it only when a hub there has proved the same territory and welcomed it: a wrong word
 * costs some dials and never the way back. A place with weaker protection than the known one is not tried at all.
 */
export interface Place {
  /** `https://host:port`, or `http://` on loopback. */
  readonly url: string;
  /** SHA-256 of the SubjectPublicKeyInfo of the TLS key there. */
  readonly spkiPin?: Uint8Array | undefined;
  /** Something between ends TLS: only a hub that seals the session gets a proof of this device. */
  readonly session?: boolean | undefined;
}

export interface Places {
  /** Where to dial now; asked once for each dial. */
  next(): Place;
  /** Whether the place of the last dial is only being tried. */
  isTrial(): boolean;
  /** Returns false for a place that is not to be tried. */
  tell(place: Place): boolean;
  /** A hub of the territory welcomed the device at the place of the last dial. Returns it if it is a new one. */
  settle(): Place | undefined;
}

export function createPlaces(known: Place): Places {
  let home = known;
  let told: Place | undefined;
  let current = known;
  return {
    next() {
      current = told === undefined || current === told ? home : told;
      return current;
    },
    isTrial: () => current === told,
    tell(place) {
      if (!isUrl(place.url) || (isTls(home.url) && !isTls(place.url))) return false;
      told = place;
      return true;
    },
    settle() {
      const settled = current === told ? told : undefined;
      home = current;
      told = undefined;
      return settled;
    },
  };
}

const isTls = (url: string): boolean => /^https:/i.test(url);
const isUrl = (url: string): boolean => /^https?:\/\/[^/?#\s]+\/?$/i.test(url);
