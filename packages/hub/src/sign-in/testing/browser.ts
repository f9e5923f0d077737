/** As much of a browser as signing in needs, for tests: it keeps cookies and says where its requests come from. */
export interface TestBrowser {
  readonly origin: string;
  get(path: string): Promise<Response>;
  /** A form of a page of the hub. */
  submit(path: string, fields: Readonly<Record<string, string>>): Promise<Response>;
  /** A script of a page of the hub. */
  script(method: string, path: string, body?: unknown): Promise<Response>;
  /** With the cookies, and these headers only. */
  raw(method: string, path: string, headers?: Readonly<Record<string, string>>, body?: string): Promise<Response>;
  /** Follows redirects by GET, to whatever site, until one answers otherwise or `until` says so. */
  follow(
    url: string,
    until?: (url: URL) => boolean,
  ): Promise<{ readonly url: URL; readonly answer: Response | undefined }>;
  cookies(): string;
  session(): string | undefined;
  plant(cookies: string): void;
  lastSetCookies(): string[];
}

const HOPS_MAX = 12;

/** `fetch` is handed in by whoever may touch the network. */
export function createTestBrowser(url: string, fetch: typeof globalThis.fetch): TestBrowser {
  const { origin } = new URL(url);
  /** By host; a cookie does not know ports. */
  const jars = new Map<string, Map<string, string>>();
  let last: string[] = [];
  const jarOf = (host: string): Map<string, string> => {
    const jar = jars.get(host) ?? new Map<string, string>();
    jars.set(host, jar);
    return jar;
  };
  const cookiesFor = (host: string): string => [...jarOf(host)].map(([name, value]) => `${name}=${value}`).join('; ');

  async function send(to: URL, init: RequestInit): Promise<Response> {
    const cookie = cookiesFor(to.hostname);
    const headers = { ...(init.headers as Record<string, string>), ...(cookie === '' ? {} : { cookie }) };
    const answer = await fetch(to, { ...init, headers, redirect: 'manual' });
    last = answer.headers.getSetCookie();
    for (const text of last) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(text) ?? [];
      if (value === '' || /Max-Age=0\b|expires=Thu, 01 Jan 1970/i.test(text)) jarOf(to.hostname).delete(name);
      else jarOf(to.hostname).set(name, value);
    }
    return answer;
  }
  const at = (path: string): URL => new URL(path, origin);
  const { hostname } = new URL(origin);

  return {
    origin,
    get: (path) => send(at(path), { headers: { 'sec-fetch-site': 'none' } }),
    submit: (path, fields) =>
      send(at(path), {
        method: 'POST',
        headers: { origin, 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams(fields).toString(),
      }),
    script: (method, path, body) =>
      send(at(path), {
        method,
        headers: {
          origin,
          'sec-fetch-site': 'same-origin',
          'x-idlewild-request': '1',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    raw: (method, path, headers = {}, body) =>
      send(at(path), { method, headers, ...(body === undefined ? {} : { body }) }),
    async follow(first, until = () => false) {
      let next = at(first);
      for (let hop = 0; hop < HOPS_MAX; hop++) {
        if (until(next)) return { url: next, answer: undefined };
        const answer = await send(next, { headers: { 'sec-fetch-site': 'cross-site' } });
        const location = answer.headers.get('location');
        if (location === null) return { url: next, answer };
        next = new URL(location, next);
      }
      throw new Error(`more than ${HOPS_MAX} redirects, at last to ${next.href}`);
    },
    cookies: () => cookiesFor(hostname),
    session: () => [...jarOf(hostname)].find(([name]) => name.endsWith('-session'))?.[1],
    plant(cookies) {
      for (const part of cookies.split('; ')) {
        const [name = '', value = ''] = part.split('=');
        jarOf(hostname).set(name, value);
      }
    },
    lastSetCookies: () => last,
  };
}
