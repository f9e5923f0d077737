/**
 * The cookies of signing in: one with a session, one for each step of a sign-in that is under way.
 *
 * Their names hold the territory, for several may stand behind one host, and carry `__Host-` wherever the hub is
 * reached over TLS: then no other host, no other path and no plain connection can set or see them (RFC 6265bis,
 * 4.1.3). Scripts never see them. A hub on loopback has no TLS and no such names. Values are of an alphabet that needs
 * no quoting.
 */
export type CookieName = 'session' | 'passkey' | 'add-passkey' | 'provider' | 'join';

export interface Cookies {
  read(header: string | undefined, name: CookieName): string | undefined;
  /** Sessions of other territories behind the same host. */
  sessionsElsewhere(header: string | undefined): string[];
  /** Ids of those territories, also where the session is over by now. */
  territoriesElsewhere(header: string | undefined): string[];
  /** For `Set-Cookie`. */
  set(name: CookieName, value: string, maxAgeMs: number): string;
  clear(name: CookieName): string;
}

const SESSION = /^idlewild-(ter_[a-z0-9_]{1,60})-session$/;
const VALUE = /^[A-Za-z0-9_-]{1,3800}$/;
/** Of all cookies of a host; browsers send no more than that for one. */
const HEADER_CHARACTERS_MAX = 16_384;

export function createCookies(territory: string, isSecure: () => boolean): Cookies {
  const fullName = (name: CookieName): string => `${isSecure() ? '__Host-' : ''}idlewild-${territory}-${name}`;
  const attributes = (): string => `Path=/; HttpOnly; SameSite=Lax${isSecure() ? '; Secure' : ''}`;
  /** By name. Two of one name: one of them is from somewhere else, and nobody can tell which. */
  function readAll(header: string | undefined): Map<string, string> {
    const all = new Map<string, string>();
    if (header === undefined || header.length > HEADER_CHARACTERS_MAX) return all;
    const twice = new Set<string>();
    for (const part of header.split(';')) {
      const [name = '', ...rest] = part.trim().split('=');
      if (all.has(name)) twice.add(name);
      all.set(name, rest.join('='));
    }
    for (const [name, value] of all) if (twice.has(name) || !VALUE.test(value)) all.delete(name);
    return all;
  }

  function elsewhere(header: string | undefined): { readonly id: string; readonly token: string }[] {
    const prefix = isSecure() ? '__Host-' : '';
    return [...readAll(header)].flatMap(([name, token]) => {
      const [, id] = (name.startsWith(prefix) && SESSION.exec(name.slice(prefix.length))) || [];
      return id === undefined || id === territory ? [] : [{ id, token }];
    });
  }

  return {
    read: (header, name) => readAll(header).get(fullName(name)),
    sessionsElsewhere: (header) => elsewhere(header).map(({ token }) => token),
    territoriesElsewhere: (header) => elsewhere(header).map(({ id }) => id),
    set(name, value, maxAgeMs) {
      if (!VALUE.test(value)) throw new Error(`a value of the cookie ${name} that would need quoting`);
      return `${fullName(name)}=${value}; Max-Age=${Math.max(0, Math.floor(maxAgeMs / 1_000))}; ${attributes()}`;
    },
    clear: (name) => `${fullName(name)}=; Max-Age=0; ${attributes()}`,
  };
}
