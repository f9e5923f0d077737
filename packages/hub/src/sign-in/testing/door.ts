/** A hub behind its HTTP door with a steward's key, and browsers of people whom the steward invited. */
import type { openTestDoor, TestDoor } from '../../testing/test-door.ts';
import { createTestBrowser, type TestBrowser } from './browser.ts';

export interface SignInTestDoor extends TestDoor {
  asSteward(method: string, path: string, body?: unknown): Promise<Response>;
  /** A code. */
  invitation(name?: string, role?: string): Promise<string>;
  /** At `localhost`, where passkeys work. */
  newBrowser(): TestBrowser;
  signedIn(name: string, role?: string): Promise<TestBrowser>;
}

export async function openSignInDoor(
  open: typeof openTestDoor,
  fetch: typeof globalThis.fetch,
): Promise<SignInTestDoor> {
  const door = await open('jacobean');
  const { key } = await door.hub.keys.create({ territory: door.hub.territory.id, role: 'steward', actor: 'test' });
  const asSteward: SignInTestDoor['asSteward'] = (method, path, body) =>
    fetch(door.url + path, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const newBrowser = (): TestBrowser => createTestBrowser(door.url.replace('127.0.0.1', 'localhost'), fetch);
  const invitation: SignInTestDoor['invitation'] = async (name, role = 'member') => {
    const order = { role, ...(name === undefined ? {} : { name }) };
    const made = await asSteward('POST', '/api/people/invitations', order);
    const { code, url } = (await made.json()) as { code: string; url: string };
    if (made.status !== 201 || url !== `${door.url}/sign-in#code=${code}`) throw new Error(`no invitation: ${url}`);
    return code;
  };
  return {
    ...door,
    asSteward,
    invitation,
    newBrowser,
    async signedIn(name, role) {
      const browser = newBrowser();
      const { status } = await browser.submit('/sign-in/code', { code: await invitation(name, role) });
      if (status !== 303) throw new Error(`${name} was not let in: ${status}`);
      return browser;
    },
  };
}
