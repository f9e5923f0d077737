/**
 * Where this device's hub is: the place that it knows, one that a hub of its territory has told it of, and the one
 * where it was before.
 *
 * A hub that has proved itself may name another place, with the pin that belongs there. The device tries it in turn
 * with the one it knows, and keeps it only when a hub there has proved the same territory and welcomed it: a wrong word
 * costs some dials and never the way back. Where nobody has proved the territory at the known place for long, the one
 * before is tried in turn with it, under the same rule: a backup may have come back there. A place with weaker
 * protection than the known one is not tried at all, nor one in a local network by the word of a hub that is in none.
 */
import { AGENT_LIMITS } from './limits.ts';
import { whyNotSent } from './local-hosts.ts';

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
  next(nowMs: number): Place;
  /** Whether the place of the last dial is only being tried. */
  isTrial(): boolean;
  /** Returns why the place is not to be tried, or `undefined`. */
  tell(place: Place): string | undefined;
  /** A hub has proved the territory at the place of the last dial. */
  proved(): void;
  /** A hub of the territory welcomed the device at the place of the last dial. Returns it if it is a new one. */
  settle(): Place | undefined;
}

export function createPlaces(known: Place, before?: Place): Places {
  let home = known;
  let left = before;
  let told: Place | undefined;
  let current: Place | undefined;
  /** Since the first dial home after which nobody has proved the territory there. */
  let silentSinceMs: number | undefined;

  const isDue = (nowMs: number): boolean =>
    silentSinceMs !== undefined && nowMs - silentSinceMs >= AGENT_LIMITS.homeSilentMs;
  const candidates = (nowMs: number): Place[] => {
    const places = [home];
    if (told !== undefined) places.push(told);
    if (left !== undefined && isDue(nowMs) && (isTls(left.url) || !isTls(home.url))) places.push(left);
    return places;
  };
  return {
    next(nowMs) {
      const places = candidates(nowMs);
      const next = places[(current === undefined ? 0 : places.indexOf(current) + 1) % places.length] ?? home;
      if (next === home) silentSinceMs ??= nowMs;
      current = next;
      return next;
    },
    isTrial: () => current !== undefined && current !== home,
    tell(place) {
      if (!isUrl(place.url) || (isTls(home.url) && !isTls(place.url))) return 'it is not protected, or no address';
      const why = whyNotSent(home.url, place.url);
      if (why === undefined) told = place;
      return why;
    },
    proved() {
      if (current === home) silentSinceMs = undefined;
    },
    settle() {
      const settled = current === home ? undefined : current;
      if (settled !== undefined) [left, home] = [home, settled];
      told = undefined;
      silentSinceMs = undefined;
      return settled;
    },
  };
}

const isTls = (url: string): boolean => /^https:/i.test(url);
/** Nothing that shows another address to a person than it is, or that steers a terminal. */
const isUrl = (url: string): boolean => /^https?:\/\/[^/?#@\\\s\p{C}]+\/?$/iu.test(url);
